"""Options and arguments that several commands of `controller` have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

redis_option = click.option(
    "--redis", "redis_url", metavar="URL", help="Redis. [env: REDIS_URL; default: embedded]"
)
storage_option = click.option(
    "--storage", "storage_url", metavar="URL", help="Optuna's storage. [env: OPTUNA_STORAGE]"
)

study_argument = click.argument("study", required=False)


def format_option(choices: tuple[str, ...], default: str) -> Callable[[Any], Any]:
    """`--format` with these choices, which a command takes as `output_format`."""
    return click.option(
        "--format", "output_format", type=click.Choice(choices), default=default, show_default=True,
        help="For people, or for programs.",
    )  # fmt: skip


table_option = format_option(("table", "json", "csv"), "table")
