"""Objects as files and back, by type; never by pickle.

| kind | from | stored as |
|---|---|---|
| file | a path (a str is always one) | the file itself |
| folder | a path | one .zip, see `worker.artifacts.archive` |
| bytes | bytes | .bin |
| json | dict, list, tuple (comes back a list), number, bool, None | .json |
| numpy | numpy.ndarray | .npy |
| arrays | dict of name → numpy.ndarray | .npz |
| dataframe | pandas.DataFrame | .csv.gz |
| figure | matplotlib's Figure | .png |
| image | PIL's Image (comes back one) | .png |
| plotly | plotly's Figure (comes back a dict) | .plotly.json |
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from worker.artifacts.archive import zip_folder
from worker.artifacts.names import MAX_BYTES, safe_name
from worker.artifacts.protocol import not_written
from worker.protocol.errors import ArtifactError

_WORDS = (
    "a path, bytes, a dict or list, a number, a numpy array or a dict of them, a DataFrame, a matplotlib "
    "or plotly figure, or a PIL image"
)


def to_file(name: str, source: object, folder: Path) -> tuple[Path, str]:
    """A file with what `source` holds.

    Args:
        name: of the artifact; gives the file its name.
        folder: scratch folder to write in; a file given by its path is used where it lies.

    Returns:
        The file, and the kind.

    Raises:
        ArtifactError: there is no such file, or `source` is of no supported type or can't be written;
            `ArtifactStoreUnavailable` where that may pass, as with a full disk.
    """
    try:
        if isinstance(source, (str, os.PathLike)):
            return _from_path(name, os.fspath(source), folder)
        return _from_object(name, _described(source), folder)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise not_written(f"artifact {name!r}: {error.strerror or error}{place}", error) from error


def from_file(path: Path, kind: str) -> Any:
    """The object that `to_file` wrote; the path itself for files, folders (as .zip) and figures.

    Raises:
        ArtifactError: it can't be read, or the package it needs is not installed here.
    """
    try:
        if kind in ("json", "plotly"):
            return json.loads(path.read_text(encoding="utf-8"))
        if kind == "bytes":
            return path.read_bytes()
        if kind == "numpy":
            import numpy  # noqa: PLC0415 - an optional package

            return numpy.load(path, allow_pickle=False)
        if kind == "arrays":
            import numpy  # noqa: PLC0415 - an optional package

            with numpy.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        if kind == "image":
            from PIL import Image  # noqa: PLC0415 - an optional package

            with Image.open(path) as image:
                image.load()
                return image
        if kind == "dataframe":
            import pandas  # noqa: PLC0415 - an optional package

            return pandas.read_csv(path, index_col=0)
    except ImportError as error:
        raise ArtifactError(f"{path.name} is a {kind}: install {error.name} here to read it") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path.name} can't be read as {kind}: {error}") from error
    return path


def _from_path(name: str, given: str | bytes, folder: Path) -> tuple[Path, str]:
    text = os.fsdecode(given)
    if not text.strip():
        # Path("") is the current folder, and nobody means that.
        raise ArtifactError(f"artifact {name!r}: the path is empty")
    path = Path(text)
    too_long = any(len(os.fsencode(part)) > MAX_BYTES for part in path.parts)
    if too_long or not path.exists():
        if too_long or "\n" in text:
            raise ArtifactError(
                f"artifact {name!r}: a str is a path, and there is no file {text[:40] + '…'!r}; to store "
                "text, give bytes or a dict"
            )
        raise ArtifactError(f"artifact {name!r}: no such file: {path.absolute()}")
    if path.is_dir():
        own_name = path.resolve().name if path.name in ("", "..") else path.name
        target = folder / safe_name(own_name or name, ".zip")
        try:
            return zip_folder(path, target), "folder"
        except (ValueError, zipfile.LargeZipFile) as error:
            raise ArtifactError(f"artifact {name!r}: {path} can't be archived: {error}") from error
    if not path.is_file():
        raise ArtifactError(f"artifact {name!r}: {path} is a device or pipe, not a file or folder")
    return path, "file"


def _from_object(name: str, source: Any, folder: Path) -> tuple[Path, str]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        path = folder / safe_name(name, "" if Path(safe_name(name)).suffix else ".bin")
        path.write_bytes(source)
        return path, "bytes"
    if _is(source, "numpy", "ndarray"):
        import numpy  # noqa: PLC0415 - an optional package

        path = folder / safe_name(name, ".npy")
        with _plain_arrays(name):
            numpy.save(path, source, allow_pickle=False)
        return path, "numpy"
    if (
        isinstance(source, dict)
        and source
        and all(_is(value, "numpy", "ndarray") for value in source.values())
    ):
        path = folder / safe_name(name, ".npz")
        _write_arrays(name, source, path)
        return path, "arrays"
    if _is(source, "pandas", "DataFrame"):
        path = folder / safe_name(name, ".csv.gz")
        source.to_csv(path, compression="gzip")
        return path, "dataframe"
    if _is(source, "matplotlib", "Figure"):
        path = folder / safe_name(name, ".png")
        source.savefig(path)
        return path, "figure"
    if _is(source, "plotly", "BaseFigure"):
        path = folder / safe_name(name, ".plotly.json")
        path.write_text(source.to_json(), encoding="utf-8")
        return path, "plotly"
    if _is(source, "PIL", "Image"):
        path = folder / safe_name(name, ".png")
        source.save(path)
        return path, "image"
    is_json = source is None or isinstance(source, (dict, list, tuple, int, float))
    if is_json or _is(source, "numpy", "generic"):
        path = folder / safe_name(name, ".json")
        try:
            path.write_text(json.dumps(source, indent=1, default=_number), encoding="utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            raise ArtifactError(f"artifact {name!r}: {error}; store {_WORDS}") from error
        return path, "json"
    raise ArtifactError(f"artifact {name!r}: a {type(source).__name__} can't be stored; store {_WORDS}")


def _is(source: object, package: str, class_name: str) -> bool:
    """Whether it is an instance of that class or a subclass, without importing the package."""
    if package not in sys.modules:
        return False
    return any(
        base.__name__ == class_name and base.__module__.split(".")[0] == package
        for base in type(source).__mro__
    )


class _plain_arrays:
    """Says which artifact holds an array of Python objects, which only pickle could store."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, ValueError):
            raise ArtifactError(
                f"artifact {self._name!r}: an array of objects can't be stored: {error}"
            ) from error


def _write_arrays(name: str, arrays: dict[Any, Any], path: Path) -> None:
    # Not by numpy.savez: an array called "file" or "allow_pickle" would collide with its arguments.
    from numpy.lib import format as npy  # noqa: PLC0415 - an optional package

    with zipfile.ZipFile(path, "w") as archive, _plain_arrays(name):
        for key, array in arrays.items():
            if not isinstance(key, str):
                raise ArtifactError(f"artifact {name!r}: the name of an array must be a str, not {key!r}")
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def _described(value: object) -> object:
    """A task's description; all else as it is."""
    describe = getattr(value, "as_artifact", None)
    return describe() if callable(describe) else value


def _number(value: object) -> object:
    described = _described(value)
    if described is not value:
        return described  # a task, as in the list that get_top_experiments gives
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return item()  # a scalar of numpy's, or of another library like it
    raise TypeError(f"a {type(value).__name__} inside it can't be written as JSON")
