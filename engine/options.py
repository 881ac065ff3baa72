"""What the engine is started with: settings that no commit can change. Read from the command line and environment.

Secrets come from files or the environment, never from arguments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FORGES = ("github", "gitea", "forgejo", "gitlab", "generic")


class OptionError(Exception):
    """An option cannot be used; one line that says what to write instead."""


@dataclass(frozen=True, slots=True)
class Options:
    """Everything ``automator67 engine`` and ``up`` need to know.

    ``poll`` is in seconds; ``webhook_secrets`` maps a forge to the secrets it may sign with (several during a
    rotation).
    """

    state: Path
    repository: str
    branch: str = "main"
    path: str = ""
    listen: str = "0.0.0.0:6767"
    names: tuple[str, ...] = ()
    web: str = "127.0.0.1:6780"
    store: str = ""
    poll: float = 60.0
    forge_token: str = ""
    forge_url: str = ""
    git_user: str = ""
    ssh_key: Path | None = None
    age_key: Path | None = None
    signers: Path | None = None
    trusted_proxies: int = 0
    metrics_token: str = ""
    webhook_secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def store_url(self) -> str | Path:
        """Where the store is."""
        return self.store or self.state / "store.db"

    @property
    def keys(self) -> Path:
        """Where the engine's keys for secrets are."""
        return self.state / "secrets"


def secrets_from(environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the webhook secrets of ``A67_WEBHOOK_SECRET_GITHUB`` and so on (or ``..._FILE``, one secret a line).

    ``A67_WEBHOOK_SECRET`` without a forge is for all of them. Raises OptionError when a file cannot be read or a
    secret is too short to protect anything.
    """
    everywhere = _secrets(environ, "A67_WEBHOOK_SECRET")
    found = {forge: everywhere + _secrets(environ, f"A67_WEBHOOK_SECRET_{forge.upper()}") for forge in FORGES}
    return {forge: secrets for forge, secrets in found.items() if secrets}


def token_from(environ: Mapping[str, str]) -> str:
    """Return the forge token of ``A67_FORGE_TOKEN`` or ``A67_FORGE_TOKEN_FILE``, or nothing. Raises OptionError."""
    tokens = _lines(environ, "A67_FORGE_TOKEN")
    return tokens[0] if tokens else ""


def metrics_token_from(environ: Mapping[str, str]) -> str:
    """Return the token of ``A67_METRICS_TOKEN`` (or ``..._FILE``), or nothing. Raises OptionError for a short one."""
    tokens = _secrets(environ, "A67_METRICS_TOKEN")
    return tokens[0] if tokens else ""


def _secrets(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    secrets = _lines(environ, name)
    for secret in secrets:
        if len(secret) < 16:
            raise OptionError(f"{name}: it needs at least 16 characters; make one: openssl rand -hex 32")
    return secrets


def _lines(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    if value := environ.get(name, "").strip():
        return (value,)
    file = environ.get(f"{name}_FILE", "")
    if not file:
        return ()
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{name}_FILE: {file} cannot be read: {os.strerror(error.errno or 0)}") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def host_and_port(listen: str) -> tuple[str, int]:
    """Return both parts of ``--listen``. Raises OptionError."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        raise OptionError(f"--listen {listen}: write HOST:PORT, such as 0.0.0.0:6767")
    return host.strip("[]"), int(port)


def is_local(repository: str) -> bool:
    """Whether the remote is on this machine's disk, where looking is cheap enough to do it every second."""
    return repository.startswith(("/", "./", "../", "file://", "~"))
