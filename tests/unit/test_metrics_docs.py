"""The table of metrics, the dashboard and the alerts say what is really exposed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from controller.health.metrics import Meter
from controller.loop.observer import Observer
from tests.servers import free_port
from worker.health.address import Address
from worker.health.attempts import DROPPED, LOST, REQUEUED
from worker.health.monitoring import Monitoring

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/metrics.md").read_text()
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/optuna-rq.json").read_text())
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def registries() -> list[CollectorRegistry]:
    """What a controller and a worker expose before they have begun."""
    meter = Meter(str(free_port()), "s", Observer())
    monitoring = Monitoring(Address("127.0.0.1", free_port()), "w", 1)
    meter.close()
    monitoring.close()
    return [meter.registry, monitoring.registry]


def exposed() -> dict[str, tuple[str, str]]:
    """Name → type and help, of all metrics."""
    families = [family for registry in registries() for family in registry.collect()]
    return {
        family.name + ("_total" if family.type == "counter" else ""): (family.type, family.documentation)
        for family in families
    }


def documented() -> dict[str, tuple[str, set[str], str]]:
    """Name → type, labels and meaning, of all rows of the page's tables."""
    rows = re.findall(r"^\| `(\w+)` \| (gauge|counter|histogram) \| (.*?) ?\| (.*) \|$", PAGE, re.MULTILINE)
    assert len({row[0] for row in rows}) == len(rows)
    return {
        name: (kind, {"worker" if name.startswith("optuna_rq_worker_") else "study", *re.findall(r"`(\w+)`", labels)}, text)
        for name, kind, labels, text in rows
    }  # fmt: skip


def expressions() -> list[str]:
    """All that the dashboard and the alerts ask."""
    found = [expression for panel in panels() for expression in filled(panel)]
    return found + [rule["expr"] for rule in alerts()]


def filled(panel: dict[str, Any], study: str = "digits", worker: str = ".*") -> list[str]:
    """What a panel asks, with Grafana's variables filled in."""
    variables = {"$__rate_interval": "1m", "$study": study, "$worker": worker}
    found = []
    for target in panel.get("targets", ()):
        expression = str(target["expr"])
        for name, value in variables.items():
            expression = expression.replace(name, value)
        assert "$" not in expression
        found.append(expression)
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = DASHBOARD["panels"]
    return found


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_the_table_is_what_is_exposed() -> None:
    ours = {name: about for name, about in exposed().items() if not name.startswith("process_")}
    assert {name: (kind, text) for name, (kind, _, text) in documented().items()} == ours


def test_names_follow_the_conventions_of_prometheus() -> None:
    for name, (kind, labels, _) in documented().items():
        assert name.startswith("optuna_rq_")
        assert name.endswith("_total") == (kind == "counter"), name
        assert name.endswith("_seconds") or kind != "histogram", name
        assert not labels & {"task", "task_id", "trial", "parameter"}, name


def test_the_ends_of_an_attempt_are_explained() -> None:
    for outcome in (REQUEUED, DROPPED, LOST):
        assert f"| `{outcome}` | " in PAGE


@pytest.mark.parametrize("expression", expressions())
def test_what_is_asked_exists(expression: str) -> None:
    about = documented()
    known = {
        f"{name.removesuffix('_total')}{s}": name
        for name, (kind, *_) in about.items()
        for s in SUFFIXES[kind]
    }
    known |= {name: "" for name in exposed() if name.startswith("process_")}
    names = re.findall(r"\b(?:optuna_rq|process)_\w+", expression)
    assert names
    assert set(names) <= set(known), set(names) - set(known)
    for name, matchers in re.findall(r"\b(optuna_rq_\w+)\{(.*?)\}", expression):
        used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))
        assert used <= about[known[name]][1], (name, used)


def test_the_dashboard_can_be_imported() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == variables == {"datasource", "study", "worker"}
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    asked = {name for expression in expressions() for name in re.findall(r"optuna_rq_\w+", expression)}
    for name, (kind, *_) in documented().items():
        shown = any(name.removesuffix("_total") + suffix in asked for suffix in SUFFIXES[kind])
        # Versions and uptime are for the eye that looks at a single process.
        left_out = name.endswith(("_info", "_uptime_seconds", "attempts_started_total"))
        assert shown or left_out, f"neither dashboard nor alerts use {name}"


def test_the_alerts_are_explained() -> None:
    assert [rule["alert"] for rule in alerts()] == re.findall(r"^\| `(OptunaRQ\w+)` \|", PAGE, re.MULTILINE)
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]


# Prometheus' own judgement


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' checker (Debian: `prometheus`); skipped without it, and failed where CI=true."""
    found = shutil.which("promtool")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "there is no promtool (apt: prometheus)"
        )
    assert found
    return found


def judged(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_configuration_and_the_alerts(promtool: str) -> None:
    said = judged(promtool, "check", "config", str(ROOT / "deploy/prometheus/prometheus.yml"))
    assert f"{len(alerts())} rules found" in said


def test_prometheus_parses_all_expressions(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"r{number}", "expr": text} for number, text in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    assert f"{len(rules)} rules found" in judged(promtool, "check", "rules", str(tmp_path / "rules.yml"))
    # What it refuses, so that this test can fail.
    (tmp_path / "bad.yml").write_text("groups: [{name: g, rules: [{record: r, expr: 'sum(x'}]}]")
    assert subprocess.run([promtool, "check", "rules", tmp_path / "bad.yml"], capture_output=True).returncode


def test_alerts_fire_when_they_should(promtool: str, tmp_path: Path) -> None:
    told, slots = 'optuna_rq_trials_told_total{study="s",status="%s",reason="%s"}', "optuna_rq_fleet_slots"

    def case(alert: str, at: str, fires: bool, **series: str) -> dict[str, Any]:
        rule = next(rule for rule in alerts() if rule["alert"] == alert)
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [],
            "alert_rule_test": [
                {"eval_time": at, "alertname": alert, "exp_alerts": [{"exp_labels": {"study": "s", **rule["labels"]}}] * fires}
            ],
        }  # fmt: skip

    acting = [
        'optuna_rq_controller_acting{study="s",instance="a"}',
        'optuna_rq_controller_acting{study="s",instance="b"}',
    ]
    waiting = 'optuna_rq_queue_length{study="s"}'
    completed, failed = told % ("completed", ""), told % ("failed", "objective_error")
    cases = [
        case("OptunaRQNobodyActs", "5m", True, **{acting[0]: "0x9", acting[1]: "0x9"}),
        case("OptunaRQNobodyActs", "5m", False, **{acting[0]: "0x9", acting[1]: "1x9"}),
        case("OptunaRQNoWorkers", "15m", True, **{waiting: "3x20", f'{slots}{{study="s"}}': "0x20"}),
        case("OptunaRQNoWorkers", "15m", False, **{waiting: "3x20", f'{slots}{{study="s"}}': "1x20"}),
        case("OptunaRQTrialsFail", "30m", True, **{completed: "0+1x40", failed: "0+2x40"}),
        case("OptunaRQTrialsFail", "30m", False, **{completed: "0+2x40", failed: "0+1x40"}),
        case("OptunaRQTrialsFail", "30m", False, **{completed: "0x40", failed: "0 0 1 2 3 3x40"}),
        case("OptunaRQStorageAway", "10m", True, **{'optuna_rq_storage_up{study="s"}': "1 0x20"}),
        case("OptunaRQStorageAway", "8m", False, **{'optuna_rq_storage_up{study="s"}': "1 1 1 1 0x20"}),
    ]
    # Without their texts, which would have to be spelled out for each case.
    bare = [{key: rule[key] for key in rule if key != "annotations"} for rule in alerts()]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": bare}]}))
    for number, each in enumerate(cases):
        (tmp_path / "t.yml").write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "tests": [each]}))
        done = subprocess.run([promtool, "test", "rules", tmp_path / "t.yml"], capture_output=True, text=True)
        assert done.returncode == 0, (number, each, done.stdout + done.stderr)
