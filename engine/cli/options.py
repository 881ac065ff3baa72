"""The options that ``engine`` and ``up`` share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from automator67.engine.cli.common import state_option
from automator67.engine.options import OptionError, Options, is_local, metrics_token_from, secrets_from, token_from
from automator67.schemas.units import seconds

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = [
    click.option("--repo", "repository", required=True, envvar="A67_REPO", help="The config repository: URL or path."),
    click.option("--branch", default="main", show_default=True, envvar="A67_BRANCH", help="The branch to follow."),
    click.option("--path", default="", envvar="A67_PATH", help="The folder in the repository; default: its root."),
    click.option("--listen", default="0.0.0.0:6767", show_default=True, envvar="A67_LISTEN", help="For agents (TLS)."),
    click.option("--name", "names", multiple=True, envvar="A67_NAMES", help="A name or address agents reach us by."),
    click.option("--web", default="127.0.0.1:6780", show_default=True, envvar="A67_WEB", help="Page and webhooks."),
    click.option("--poll", default="", envvar="A67_POLL", help="Look this often; default 60s, 1s for a local path."),
    click.option("--forge-url", default="", envvar="A67_FORGE_URL",
                 help="API of a forge of your own: https://HOST/api/v1 (Gitea, Forgejo), v3 (GitHub), v4 (GitLab)."),
    click.option("--trusted-proxies", type=click.IntRange(0, 10), default=0, envvar="A67_TRUSTED_PROXIES",
                 help="How many reverse proxies stand before --web; their X-Forwarded-For is believed."),
    click.option("--git-user", default="", envvar="A67_GIT_USER", help="User name for https; default: a token's."),
    click.option("--ssh-key", type=click.Path(path_type=Path, exists=True, dir_okay=False), envvar="A67_SSH_KEY"),
    click.option("--age-key", type=click.Path(path_type=Path, dir_okay=False), envvar="A67_AGE_KEY",
                 help="age identities that open secrets/*.sops.yaml; default: secrets/age.txt in --state."),
    click.option(
        "--signers", type=click.Path(path_type=Path, exists=True, dir_okay=False), envvar="A67_SIGNERS",
        help="Require the tip to be signed by a key of this file (ssh allowed_signers or GPG public keys).",
    ),
]  # fmt: skip


def engine_options(f: _F) -> _F:
    """Add every option of the engine; the function gets them as keyword arguments for ``options_of``."""
    for option in reversed(_OPTIONS):
        f = option(f)
    return state_option(f)


def options_of(**given: Any) -> Options:
    """Return the options, with secrets from the environment. Raises click.ClickException for a bad one."""
    poll = given.pop("poll")
    try:
        every = seconds(poll) if poll else 1.0 if is_local(given["repository"]) else 60.0
        if every < 0.2:
            raise click.ClickException(f"--poll {poll}: look at most five times a second")
        if is_local(given["repository"]) and not given["repository"].startswith("file://"):
            given["repository"] = str(Path(given["repository"]).expanduser().resolve())
        return Options(
            **given,
            poll=every,
            store=os.environ.get("A67_STORE", ""),
            forge_token=token_from(os.environ),
            webhook_secrets=secrets_from(os.environ),
            metrics_token=metrics_token_from(os.environ),
        )
    except (ValueError, OptionError) as error:
        raise click.ClickException(str(error)) from error


def argv_of(options: Options) -> list[str]:
    """Return the arguments that give a child process the same options. Secrets stay in the environment."""
    argv = ["--repo", options.repository, "--branch", options.branch, "--listen", options.listen, "--web", options.web]
    argv += ["--state", str(options.state), "--poll", f"{round(options.poll * 1000)}ms"]
    for flag, value in (("--path", options.path), ("--forge-url", options.forge_url), ("--git-user", options.git_user)):
        argv += [flag, value] if value else []
    for flag, file in (("--ssh-key", options.ssh_key), ("--signers", options.signers), ("--age-key", options.age_key)):
        argv += [flag, str(file)] if file else []
    argv += ["--trusted-proxies", str(options.trusted_proxies)]
    return argv + [part for name in options.names for part in ("--name", name)]
