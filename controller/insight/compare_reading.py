"""The studies to compare: by name, by a pattern of names, or from files of `controller export`."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

from controller.results.study_data import StudyData, read_study
from worker.protocol import Store
from worker.protocol.errors import BadInput

MOST = 50
"""Studies on one side."""


def named(store: Store, text: str) -> list[str]:
    """Names of the studies that a name or a pattern (``tpe-*``) means. Raises `BadInput` for none."""
    if store.studies.find(text) is not None or not set("*?[") & set(text):
        return [store.studies.get(text).name]
    found = [name for name in store.studies.names() if fnmatch.fnmatchcase(name, text)]
    if not found:
        raise BadInput(f"no study is called {text!r:.200}; `controller status` and the page list them")
    return sorted(found)


def read_side(
    texts: Sequence[str],
    opened: Callable[[], Store],
    from_file: Callable[[str], StudyData | None],
    read: Callable[[Store, str], StudyData] = read_study,
) -> list[StudyData]:
    """The studies of one side, each once.

    Args:
        texts: names, patterns of names, or files.
        opened: gives the store; called only where a name needs it.
        from_file: the study in the file that a text names; None where it is a name.
        read: how a study is read from the store.

    Raises:
        BadInput: there is no such study or file, or there are more than `MOST`.
    """
    found: list[StudyData] = []
    names: list[str] = []
    for text in texts:
        data = from_file(text)
        if data is None:
            names += named(opened(), text)
        else:
            found.append(data)
    names = list(dict.fromkeys(names))
    if len(names) + len(found) > MOST:
        raise BadInput(f"{len(names) + len(found)} studies on one side; {MOST} are the most")
    return [*(read(opened(), name) for name in names), *found]
