"""A file to a real S3 server and back: ours beside bare boto3 and beside Optuna's store.

Each transfer is made by a process of its own, whose memory is its own.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import Row
from tests.s3server import S3Server

MB = 1 << 20
BUCKET = "benchmark"
SIDES = ("boto3", "ours", "optuna")


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One transfer."""

    mb_per_s: float
    above_idle_mb: float
    """Peak memory over that of the same process just before, in MiB."""


@contextmanager
def bench(size_mb: int) -> Iterator[Callable[[str, str], Transfer]]:
    """Gives a function: (side, ``up`` or ``down``) → one transfer of a file of `size_mb`; up comes first."""
    with tempfile.TemporaryDirectory(prefix="orq-bench-") as name:
        folder = Path(name)
        with open(folder / "file", "wb") as file:
            for _ in range(size_mb):
                file.write(os.urandom(MB))
        (folder / "s3").mkdir()
        with S3Server(folder / "s3") as server:
            server.make_bucket(BUCKET)

            def measure(side: str, way: str) -> Transfer:
                if way == "up":
                    _forget(server.client(), side)
                else:
                    # rclone works out an object's ETag when it is first listed: seconds that are no client's.
                    server.client().list_objects_v2(Bucket=BUCKET)
                os.sync()
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.artifacts", side, way, name],
                    env={**os.environ, **server.env()},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    raise RuntimeError(f"{side} {way}: {done.stderr}")
                seconds, above_idle = json.loads(done.stdout)
                return Transfer(mb_per_s=size_mb / seconds, above_idle_mb=above_idle)

            yield measure


def _forget(client: Any, side: str) -> None:
    """Remove what a side has uploaded, so that each uploads what is not there yet."""
    for entry in client.list_objects_v2(Bucket=BUCKET, Prefix=side).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """A file of 1 GiB to S3 and back."""
    size_mb = 64 if quick else 1024
    found: dict[tuple[str, str], list[Transfer]] = {}
    with bench(size_mb) as measure:
        for number in range(runs):
            for way in ("up", "down"):
                # In turn, as each transfer finds the disk as the one before has left it.
                turn = number % len(SIDES)
                for side in (*SIDES[turn:], *SIDES[:turn]):
                    say(f"run {number + 1} of {runs}: {size_mb} MiB {way}, {side}")
                    found.setdefault((side, way), []).append(measure(side, way))

    def median(side: str, way: str, field: str) -> float:
        return statistics.median(getattr(one, field) for one in found[side, way])

    made = []
    for way, words in (("up", "to S3"), ("down", "from S3")):
        speed, memory = median("ours", way, "mb_per_s"), median("ours", way, "above_idle_mb")
        for side, peer in (("boto3", "bare boto3"), ("optuna", "Optuna's store")):
            name = f"{size_mb} MiB {words}, MiB/s (reference: {peer})"
            reference = median(side, way, "mb_per_s")
            made.append(Row(name=name, ours=speed, reference=reference, sense=">=", aim=0.9))
        name = f"{size_mb} MiB {words}, MiB of memory above idle (reference: the limit)"
        made.append(Row(name=name, ours=memory, reference=96.0, sense="<=", aim=1.0))
    # Of downloads, Optuna's streams into a file and takes next to nothing.
    name = f"{size_mb} MiB to S3, MiB of memory above idle (reference: Optuna's store)"
    memory, peer_memory = (median(side, "up", "above_idle_mb") for side in ("ours", "optuna"))
    made.append(Row(name=name, ours=memory, reference=peer_memory, sense="<=", aim=1.0))
    return made


def _boto3(way: str, folder: Path) -> Callable[[], object]:
    import boto3

    client = boto3.client("s3")
    client.list_objects_v2(Bucket=BUCKET, MaxKeys=1)
    if way == "up":
        return lambda: client.upload_file(str(folder / "file"), BUCKET, "boto3")
    return lambda: client.download_file(BUCKET, "boto3", str(folder / "boto3"))


def _ours(way: str, folder: Path) -> Callable[[], object]:
    from worker.artifacts import ArtifactMeta, fetch, open_store, save

    store = open_store(f"s3://{BUCKET}/ours")
    store.check()
    if way == "up":
        return lambda: (folder / "meta").write_text(save(store, "g", "file", folder / "file").to_json())
    meta = ArtifactMeta.from_json((folder / "meta").read_text())
    return lambda: fetch(meta, folder / "ours", store=store, overwrite=True)


def _optuna(way: str, folder: Path) -> Callable[[], object]:
    import boto3
    from optuna.artifacts import Boto3ArtifactStore, download_artifact

    client = boto3.client("s3")
    client.list_objects_v2(Bucket=BUCKET, MaxKeys=1)
    store = Boto3ArtifactStore(BUCKET, client)

    def up() -> None:
        with open(folder / "file", "rb") as file:
            store.write("optuna", file)

    if way == "up":
        return up
    target = str(folder / "optuna")
    return lambda: download_artifact(artifact_store=store, artifact_id="optuna", file_path=target)


def main() -> None:
    side, way, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    transfer = {"boto3": _boto3, "ours": _ours, "optuna": _optuna}[side](way, folder)
    if way == "down":
        (folder / side).unlink(missing_ok=True)
    idle = _memory_mb("VmRSS")
    begun = time.perf_counter()
    transfer()
    seconds = time.perf_counter() - begun
    print(json.dumps([seconds, max(0.0, _memory_mb("VmHWM") - idle)]))


def _memory_mb(field: str) -> float:
    """Of this process: resident now (``VmRSS``) or at most (``VmHWM``), in MiB."""
    # Not by getrusage: its peak is that of the process which started this one, if that was larger.
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
