"""``automator67 engine``: the engine process alone."""

from __future__ import annotations

from typing import Any

import click

from automator67.engine.cli.options import engine_options, options_of


@click.command("engine", short_help="Run the engine alone (up runs it with the page).")
@engine_options
def command(**given: Any) -> None:
    """Run the engine: follow the repository, plan, apply, talk to agents.

    Secrets come from the environment or files: A67_FORGE_TOKEN[_FILE], A67_WEBHOOK_SECRET[_FORGE][_FILE],
    A67_METRICS_TOKEN[_FILE].
    """
    options = options_of(**given)
    from automator67.engine.logs import setup_logging
    from automator67.engine.only_one import EngineError
    from automator67.engine.process import run_engine

    setup_logging()
    try:
        run_engine(options)
    except EngineError as error:
        raise click.ClickException(str(error)) from error
