"""The command ``automator67``: one module per subcommand, imported only when it is called."""

from __future__ import annotations

import sys
from importlib import import_module, metadata

import click

COMMANDS = {
    "up": "up:command",
    "demo": "demo:command",
    "init": "init:command",
    "import": "import_:command",
    "validate": "validate:command",
    "explain": "explain:command",
    "plan": "plan:command",
    "sync": "sync:command",
    "status": "status:command",
    "history": "history:command",
    "uptime": "uptime:command",
    "quotas": "quotas:command",
    "inspect": "inspect:command",
    "logs": "logs:command",
    "exec": "exec:command",
    "run": "run:command",
    "runs": "runs:command",
    "backup": "backup:command",
    "alerts": "alerts:command",
    "promote": "promote:command",
    "revisions": "revisions:command",
    "rollback": "rollback:command",
    "node": "node:command",
    "seal": "seal:command",
    "keys": "keys:command",
    "rekey": "rekey:command",
    "secrets": "secrets:command",
    "ca": "ca:command",
    "doctor": "doctor:command",
    "engine": "engine:command",
    "web": "web:command",
    "agent": "agent:command",
    "bucket": "bucket:command",
    "s3": "s3:command",
    "sql": "sql:command",
    "completion": "completion:command",
}
"""Subcommands in the order of ``--help``: name to ``module:attribute`` in this folder."""

ERROR = 255
"""The exit code when a command cannot do its work; the other codes are documented per command."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands, in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(f"automator67.engine.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown name say which one was probably meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from automator67.schemas.near import near_hint

            raise click.UsageError(
                f"there is no command {args[0]}{near_hint(args[0], COMMANDS, 'see automator67 --help')}"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(metadata.version("automator67"), prog_name="automator67")
def root() -> None:
    """A personal cloud that lives in a git repository.

    Write YAML, push it, and it runs. Start with `automator67 demo`, or point `automator67 up` at your repository.
    """


def main() -> None:
    """Run the command line; every error is one line on stderr and exit code 255."""
    try:
        code = root.main(prog_name="automator67", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.Abort:
        sys.stderr.write("interrupted\n")
        code = 130
    except click.ClickException as error:
        sys.stderr.write(f"automator67: {error.format_message()}\n")
        code = ERROR
    except BrokenPipeError:
        # Whoever read our output has gone (`automator67 logs | head`): not an error.
        sys.stderr.close()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
