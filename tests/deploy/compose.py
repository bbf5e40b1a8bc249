"""compose.yaml as compose reads it with nothing set, and the image's health check."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import yaml

from tests.deploy.commands import DEPLOY, OURS

DOCKER = DEPLOY / "docker"


def interpolated(text: str) -> str:
    """``${NAME:-default}`` is the default, ``$$`` a dollar."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


COMPOSE: dict[str, Any] = yaml.safe_load(interpolated((DOCKER / "compose.yaml").read_text()))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OUR_SERVICES = [name for name, service in SERVICES.items() if service["image"] == "optuna-rq"]
OUR_COMMANDS = [name for name in OUR_SERVICES if SERVICES[name]["command"][0] in OURS]


def health() -> Any:
    """The image's health check, as a module."""
    spec = importlib.util.spec_from_file_location("health", DOCKER / "health.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
