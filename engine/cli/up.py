"""``automator67 up``: engine and web page on one machine, supervised."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

import click

from automator67.engine.cli.options import argv_of, engine_options, options_of
from automator67.engine.logs import setup_logging
from automator67.engine.supervise import Supervisor, own_command
from automator67.engine.webconfig import write_web_config


@click.command("up", short_help="Run everything on this machine: engine, page, webhooks.")
@engine_options
def command(**given: Any) -> None:
    """Run the engine and the web page, and start again what ends. Ctrl-C stops both; apps keep running."""
    options = options_of(**given)
    setup_logging()
    options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_web_config(options)
    page = own_command("web", "--state", str(options.state), "--listen", options.web)
    supervisor = Supervisor([("engine", own_command("engine", *argv_of(options))), ("web", page)])
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    click.echo(f"page and webhooks on http://{options.web}, agents on https://{options.listen}", err=True)
    try:
        while not stopping:
            supervisor.tick()
            time.sleep(0.2)
    finally:
        supervisor.stop()
    os.write(2, b"stopped; apps keep running on their nodes\n")
