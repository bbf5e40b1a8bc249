"""What bucket stores share: a client a process, and downloads that continue."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from worker.artifacts.bucket import ProcessClient, ResumableDownloads


def test_a_client_that_was_given_is_used() -> None:
    clients = ProcessClient("given", lambda: pytest.fail("none is made"))
    assert (clients.get(), clients.current) == ("given", "given")


def test_each_process_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter(["mine", "the child's"])
    clients = ProcessClient(None, lambda: next(made))
    assert clients.current is None
    assert (clients.get(), clients.get(), clients.current) == ("mine", "mine", "mine")
    monkeypatch.setattr(os, "getpid", lambda: -1)  # after a fork
    assert clients.get() == "the child's"


class Broken:
    """A download that breaks off so often."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    def run(self, new_hasher: Any) -> str:
        if self._errors:
            raise self._errors.pop(0)
        return "checksum"


def test_a_download_that_broke_off_continues(tmp_path: Path) -> None:
    begun: list[Any] = []

    def begin() -> Any:
        begun.append(Broken(TimeoutError(), TimeoutError()))
        return begun[-1]

    downloads = ResumableDownloads(lambda error: isinstance(error, TimeoutError))
    for _ in range(2):
        with pytest.raises(TimeoutError):
            downloads.get("key", tmp_path / "a", begin, hashlib.sha256)
    assert downloads.get("key", tmp_path / "a", begin, hashlib.sha256) == "checksum"
    assert len(begun) == 1
    assert downloads.get("key", tmp_path / "a", lambda: Broken(), hashlib.sha256) == "checksum"  # type: ignore[arg-type,return-value]


def test_a_download_that_failed_for_good_begins_again(tmp_path: Path) -> None:
    begun = 0

    def begin() -> Any:
        nonlocal begun
        begun += 1
        return Broken(ValueError())

    downloads = ResumableDownloads(lambda error: isinstance(error, TimeoutError))
    for _ in range(2):
        with pytest.raises(ValueError):
            downloads.get("key", tmp_path / "a", begin, hashlib.sha256)
    assert begun == 2
