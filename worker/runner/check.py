"""Checks an objective in Python in a process of its own, for the controller's preflight."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from worker.protocol.errors import BadInput, ObjectiveLoadError, ServerAway
from worker.protocol.urls import redact
from worker.runner.objective import check_script, check_signature, load_function, script_path

CHECK = "import sys; sys.path[:] = [p for p in sys.path if p]; from worker.runner.check import main; main()"
"""Python that answers one question on its standard input."""


def check(question: dict[str, Any]) -> dict[str, Any]:
    """``{"objective", "parameters", "optional", "folder"}`` or ``{"storage": URL}`` → ``{"ok", "message",
    "missing_module"}``."""
    if "storage" in question:
        from worker.trials.storage import check_storage  # noqa: PLC0415 - Optuna, for its objectives only

        try:
            check_storage(question["storage"])
        except BadInput as error:
            away = isinstance(error, ServerAway)
            return {"ok": False, "message": str(error), "away": away, "exit_code": error.exit_code}
        return {"ok": True}
    objective, folder = question["objective"], Path(question["folder"])
    try:
        if objective["kind"] == "script":
            if "path" in objective:
                check_script(script_path(objective, folder))
        else:
            function = load_function(objective["target"], folder)
            if objective["kind"] == "optuna":
                from worker.trials.trial import check_objective  # noqa: PLC0415 - Optuna, for its objectives only

                check_objective(function, objective["target"])
            else:
                check_signature(function, objective["target"], question["parameters"], question["optional"])
    except ObjectiveLoadError as error:
        return {"ok": False, "message": str(error), "missing_module": error.missing_module}
    return {"ok": True}


def check_storage(url: str) -> None:
    """Prove that Optuna's storage is reached from here, in a process of its own: a worker needs no Optuna
    for most objectives, and the memory it takes is its programs'. Raises `BadInput` or `ServerAway`.
    """
    answer = subprocess.run(
        [sys.executable, "-c", CHECK],
        input=json.dumps({"storage": url}).encode(),
        capture_output=True,
        check=False,
    )
    lines = answer.stdout.decode(errors="replace").strip().splitlines()
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        last = said[-1] if said else f"exit code {answer.returncode}"
        raise BadInput(f"storage {redact(url)}: checking it ends the process: {last}") from None
    if not found["ok"]:
        message = str(found["message"])
        if found.get("away"):
            raise ServerAway(message, input_is_wrong=found.get("exit_code") == 2)
        raise BadInput(message)


def main() -> None:
    """The question as JSON on standard input; the answer is the last line on standard output."""
    question = json.loads(sys.stdin.buffer.read())
    # What the user's module prints while it is imported must not mix with the answer.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    answer = check(question)
    os.write(answer_to, b"\n" + json.dumps(answer).encode() + b"\n")
    # No trial has run: the user's code has nothing to end, and its threads nothing to wait for.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(0)
