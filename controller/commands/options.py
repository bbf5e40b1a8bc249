"""Options and arguments that several commands of `controller` have."""

from __future__ import annotations

import click

redis_option = click.option(
    "--redis", "redis_url", metavar="URL", help="Redis. [env: REDIS_URL; default: embedded]"
)
storage_option = click.option(
    "--storage", "storage_url", metavar="URL", help="Optuna's storage. [env: OPTUNA_STORAGE]"
)
