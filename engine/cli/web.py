"""``automator67 web``: the page and the webhooks, in a process of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from automator67.engine.cli.common import state_option


@click.command("web", short_help="Serve the page and the webhooks.")
@state_option
@click.option("--listen", default="127.0.0.1:6780", show_default=True, envvar="A67_WEB", help="HOST:PORT.")
def command(state: Path, listen: str) -> None:
    """Serve the read-only page and receive webhooks.

    The process opens the store for reading and is given neither keys nor tokens.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The engine's secrets may be in the environment that `up` was started with; they end here.
    environment = {k: v for k, v in os.environ.items() if k == "A67_LOG" or not k.startswith("A67_")}
    argv = [sys.executable, "-m", "automator67.ui", "--state", str(state), "--listen", listen]
    os.execve(sys.executable, argv, environment)  # noqa: S606 - replaces this process: no shell, no child to tend
