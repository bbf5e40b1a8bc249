"""Checks a function or script objective in a process of its own, for the controller's preflight."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from worker.objective import check_script, check_signature, load_function, script_path
from worker.protocol.errors import ObjectiveLoadError


def check(question: dict[str, Any]) -> dict[str, Any]:
    """``{"objective", "parameters", "optional", "folder"}`` → ``{"ok", "message", "missing_module"}``."""
    objective, folder = question["objective"], Path(question["folder"])
    try:
        if objective["kind"] == "script":
            if "path" in objective:
                check_script(script_path(objective, folder))
        else:
            function = load_function(objective["target"], folder)
            check_signature(function, objective["target"], question["parameters"], question["optional"])
    except ObjectiveLoadError as error:
        return {"ok": False, "message": str(error), "missing_module": error.missing_module}
    return {"ok": True}


def main() -> None:
    """The question as JSON on standard input; the answer is the last line on standard output."""
    question = json.loads(sys.stdin.buffer.read())
    # What the user's module prints while it is imported must not mix with the answer.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    answer = check(question)
    os.write(answer_to, b"\n" + json.dumps(answer).encode() + b"\n")
