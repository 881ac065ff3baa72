"""``automator67 agent``: becomes the agent process, which never imports the engine."""

from __future__ import annotations

import os
import sys

import click


@click.command(
    "agent",
    short_help="Run the agent on this node (see also node join).",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run `python -m automator67.agent` with ARGUMENTS in place of this process (default: run)."""
    os.execv(sys.executable, [sys.executable, "-m", "automator67.agent", *(arguments or ("run",))])  # noqa: S606
