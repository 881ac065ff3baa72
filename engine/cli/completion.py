"""``automator67 completion``: shell completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion", short_help="Print the shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL; for bash: `automator67 completion bash > ~/.bash_completion.d/a67`."""
    from automator67.engine.cli.main import root

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"no completion for {shell}")
    for name in ("automator67", "a67"):
        click.echo(kind(root, {}, name, f"_{name.upper()}_COMPLETE").source())
