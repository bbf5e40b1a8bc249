"""`controller report`, and `[study] report` at a study's end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.report.writing import is_report
from tests.e2e.cli import Cli, folder_of

OBJECTIVES = """
def f(task, x):
    for i in range(3):
        task.report_scalar("loss", "", x + 2 - i, i)
    if x > 0.6:
        raise ValueError("too much")
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A study that has ended, with its report."""
    with folder_of(tmp_path_factory.mktemp("report"), OBJECTIVES) as found:
        sweep = found.sweep(
            study={"name": "s", "metric": {"name": "loss", "goal": "minimize"}, "report": "out/end.html"},
            objective={"function": "obj:f"},
            budget={"max_trials": 8},
        )
        done = found.start(sweep, workers=1)
        assert done.returncode == 0, done.stderr
        assert "report written to out/end.html, and kept as artifact end.html" in done.stdout
        assert found("export").returncode == 0
        whole = (found.folder / "s.study.gz").read_bytes()
        (found.folder / "cut.gz").write_bytes(whole[: len(whole) // 2])
        yield found


def test_the_report_at_the_end(cli: Cli) -> None:
    page = (cli.folder / "out" / "end.html").read_text()
    assert is_report(cli.folder / "out" / "end.html")
    for part in ("all 8 trials created", ">optuna</th>", ">python</th>", "ValueError: too much"):
        assert part in page, part
    (listed,) = cli.json("artifacts", "list")
    assert (listed["name"], listed["mimetype"]) == ("end.html", "text/html")
    assert Path(listed["url"].removeprefix("file://")).read_text() == page


def test_a_report_of_the_store_and_of_the_file(cli: Cli) -> None:
    stored = cli("report", "--format", "md")
    assert stored.returncode == 0, stored.stderr
    assert stored.stdout.startswith("## Study `s`\n\n- **completed** (`all 8 trials created`): 8 trials")
    assert "1 slot, optuna-rq" in stored.stdout
    # Neither Redis nor a storage is there.
    nowhere = {"REDIS_URL": "redis://127.0.0.1:1", "OPTUNA_STORAGE": "sqlite:////nowhere/x.db"}
    done = cli("report", "s.study.gz", "-o", "new/file.md", **nowhere)
    assert done.stdout == "study s: report written to new/file.md\n", done.stderr
    assert (cli.folder / "new" / "file.md").read_text() == stored.stdout
    assert cli("report", "s").stdout == "study s: report written to s.html\n"
    assert is_report(cli.folder / "s.html")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "no study 'nosuch' in this Redis; there are: s"),
        (["team/nosuch"], "no study 'team/nosuch' in this Redis; there are: s"),
        (["nosuch.study.gz"], "nosuch.study.gz: No such file or directory"),
        (["./sweep.yaml"], "sweep.yaml: not a file that `controller export` has written, or damaged"),
        (["cut.gz"], "cut.gz: cut short; export or copy it again"),
        (
            ["s", "-o", "sweep.yaml"],
            "sweep.yaml exists, and is no report: name another file, or replace it with --force",
        ),
        (["s", "--format", "pdf"], "'pdf' is not one of 'html', 'md'"),
    ],
)
def test_bad_input(cli: Cli, arguments: list[str], said: str) -> None:
    before = (cli.folder / "sweep.yaml").read_bytes()
    done = cli("report", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert (cli.folder / "sweep.yaml").read_bytes() == before


def test_a_report_that_cannot_be_written_is_a_note(cli: Cli) -> None:
    (cli.folder / "thesis.html").write_text("mine")
    sweep = cli.sweep(
        "other.yaml",
        study={"name": "t", "metric": {"name": "loss", "goal": "minimize"}, "report": "thesis.html"},
        objective={"function": "obj:f"},
        budget={"max_trials": 1},
    )
    done = cli.start(sweep, "--format", "json", workers=1)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (note,) = [event["text"] for event in events if event["event"] == "note"]
    assert note.startswith("no report: ")
    assert "thesis.html exists, and is no report" in note
    assert note.endswith("; `controller report t -o FILE` writes one")
    assert events[-1]["event"] == "end"
    assert (cli.folder / "thesis.html").read_text() == "mine"
