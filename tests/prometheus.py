"""A real Prometheus (Debian: `prometheus`) that scrapes what a test tells it to."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.servers import free_port, wait_until

START_TIMEOUT_S = 30.0


class Prometheus:
    """Listens on a port of its own between `start` and `stop`; asks its targets five times a second.

    Args:
        directory: for its configuration and data.
        rules: file with alerts.
    """

    def __init__(self, directory: Path, rules: Path) -> None:
        self._directory = directory
        self._rules = rules
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self, *targets: int) -> None:
        """Scrape these ports of this machine. Raises `RuntimeError` when it isn't installed or won't start."""
        binary = shutil.which("prometheus")
        if binary is None:
            raise RuntimeError("there is no prometheus (apt: prometheus)")
        job = {"job_name": "t", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}]}
        times = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
        config = {"global": times, "rule_files": [str(self._rules)], "scrape_configs": [job]}
        (self._directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.port = free_port()
        with (self._directory / "prometheus.log").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    binary,
                    f"--config.file={self._directory}/prometheus.yml",
                    f"--storage.tsdb.path={self._directory}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if not wait_until(self._process, self._ready, START_TIMEOUT_S):
            self.stop()
            raise RuntimeError((self._directory / "prometheus.log").read_text()[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The values of an expression now."""
        found: list[dict[str, Any]] = self._ask("query?" + urllib.parse.urlencode({"query": expression}))[
            "result"
        ]
        return found

    def up(self) -> int:
        """How many targets it reaches."""
        return sum(target["health"] == "up" for target in self._ask("targets")["activeTargets"])

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that fire, or are about to."""
        found: list[dict[str, Any]] = self._ask("alerts")["alerts"]
        return found

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10):
                return True
        except OSError:
            return False

    def _ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{what}", timeout=10) as answer:
            return json.load(answer)["data"]
