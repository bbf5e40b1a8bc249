"""Objects as files and back, by type; never by pickle.

| kind | from | stored as |
|---|---|---|
| file | a path | the file itself |
| folder | a path | one .zip |
| bytes | bytes | .bin |
| json | dict, list, number, bool, None | .json |
| numpy | numpy.ndarray | .npy |
| dataframe | pandas.DataFrame | .csv.gz |
| figure | matplotlib's Figure | .png |
| image | PIL's Image | .png |
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from worker.artifacts.names import safe_name
from worker.protocol.errors import ArtifactError

_WORDS = "a path, bytes, a dict or list, a numpy array, a DataFrame, a matplotlib figure or a PIL image"


def to_file(name: str, source: object, folder: Path) -> tuple[Path, str]:
    """A file with what `source` holds.

    Args:
        name: of the artifact; gives the file its name.
        folder: scratch folder to write in; a file given by its path is used where it lies.

    Returns:
        The file, and the kind.

    Raises:
        ArtifactError: there is no such file, or `source` is of no supported type.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            return _zip(path, folder / f"{safe_name(path.name or name)}.zip"), "folder"
        if not path.is_file():
            raise ArtifactError(f"artifact {name!r}: no such file: {path.absolute()}")
        return path, "file"
    base = folder / safe_name(name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        path = base if base.suffix else base.with_name(base.name + ".bin")
        path.write_bytes(source)
        return path, "bytes"
    if _is(source, "numpy", "ndarray"):
        path = _suffixed(base, ".npy")
        import numpy

        try:
            numpy.save(path, source, allow_pickle=False)  # type: ignore[arg-type]
        except ValueError as error:
            raise ArtifactError(f"artifact {name!r}: an array of objects can't be stored: {error}") from error
        return path, "numpy"
    if _is(source, "pandas", "DataFrame"):
        path = _suffixed(base, ".csv.gz")
        source.to_csv(path, compression="gzip")  # type: ignore[attr-defined]
        return path, "dataframe"
    if _is(source, "matplotlib", "Figure"):
        path = _suffixed(base, ".png")
        source.savefig(path)  # type: ignore[attr-defined]
        return path, "figure"
    if _is(source, "PIL", "Image"):
        path = _suffixed(base, ".png")
        source.save(path)  # type: ignore[attr-defined]
        return path, "image"
    if source is None or isinstance(source, (dict, list, tuple, int, float, bool)):
        path = _suffixed(base, ".json")
        try:
            path.write_text(json.dumps(source, indent=1, default=_number), encoding="utf-8")
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"artifact {name!r}: {error}; store {_WORDS}") from error
        return path, "json"
    raise ArtifactError(f"artifact {name!r}: a {type(source).__name__} can't be stored; store {_WORDS}")


def from_file(path: Path, kind: str) -> Any:
    """The object that `to_file` wrote; the path itself for files, folders (as .zip), figures and images."""
    if kind == "json":
        return json.loads(path.read_text(encoding="utf-8"))
    if kind == "bytes":
        return path.read_bytes()
    if kind == "numpy":
        import numpy

        return numpy.load(path, allow_pickle=False)
    if kind == "dataframe":
        import pandas

        return pandas.read_csv(path, index_col=0)
    return path


def _is(source: object, package: str, class_name: str) -> bool:
    """Whether it is an instance of that class or a subclass, without importing the package."""
    if package not in sys.modules:
        return False
    return any(
        base.__name__ == class_name and base.__module__.split(".")[0] == package
        for base in type(source).__mro__
    )


def _suffixed(path: Path, suffix: str) -> Path:
    return path if path.name.endswith(suffix) else path.with_name(path.name + suffix)


def _number(value: object) -> object:
    item = getattr(value, "item", None)
    if callable(item):
        return item()  # a numpy scalar
    raise TypeError(f"a {type(value).__name__} inside it can't be written as JSON")


def _zip(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    return target
