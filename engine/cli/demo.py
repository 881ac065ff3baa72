"""``automator67 demo``: a whole cloud on localhost, gone after Ctrl-C."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from types import FrameType

import click

from automator67.engine.demo import Demo, DemoError


class _Stop(Exception):
    """The person asked to stop."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stop


@click.command("demo", short_help="A whole cloud on localhost, gone after Ctrl-C.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=Path("demo"), show_default=True,
              help="Where to put it; must not exist yet.")  # fmt: skip
@click.option("--runtime", type=click.Choice(["auto", "docker", "process"]), default="auto", show_default=True)
@click.option("--keep", is_flag=True, help="Keep the directory at the end (apps are removed all the same).")
@click.option("--until-healthy", is_flag=True, help="Stop as soon as every app is healthy, for scripts.")
def command(directory: Path, runtime: str, keep: bool, until_healthy: bool) -> None:
    """Set up a repository, an engine, a page and two nodes on this machine, and follow what happens.

    Exit code 0: stopped on request; 255: it could not be set up.
    """
    directory = directory.resolve()
    if directory.exists():
        raise click.ClickException(f"{directory} exists already; remove it or choose another with --dir")
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    demo = Demo(directory, runtime, click.echo)
    try:
        demo.prepare()
        demo.start()
        shown = False
        while True:
            demo.follow()
            if not shown and demo.healthy():
                shown = True
                demo.show_urls()
                if until_healthy:
                    break
            time.sleep(0.2)
    except _Stop:
        click.echo("\nstopping ...")
    except DemoError as error:
        raise click.ClickException(str(error)) from error
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        demo.stop()
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    click.echo("gone: processes, containers, files" if not keep else f"kept: {directory}")
