"""One exchange with the remote through libgit2: credentials, deadlines, and errors in words a person can use."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import pygit2
from pygit2.enums import CredentialType

from automator67.engine.remote_errors import (
    MirrorFailed,
    RemoteBroken,
    RemoteError,
    RemoteRefused,
    RemoteUnreachable,
)
from automator67.engine.repo.address import Address
from automator67.engine.repo.credentials import Credentials, Gatekeeper

SILENCE_SECONDS = 30.0
"""How long a remote may say nothing before it counts as unreachable."""

_SILENT = ("timed out", "timeout", "failed to connect", "failed to resolve address", "unreachable", "connection reset",
           "connection refused", "no route")  # fmt: skip
_STATUS = re.compile(r"http status code: ([0-9]{3})")
_OWN_DISK = ("no space left", "disk quota", "read-only file system", "permission denied")


def configure(silence: float = SILENCE_SECONDS) -> None:
    """Set for this whole process how long (seconds) libgit2 waits for a remote, and that what it writes is synced."""
    pygit2.settings.enable_fsync_gitdir(True)
    pygit2.settings.server_connect_timeout = int(min(silence, 15.0) * 1000)
    pygit2.settings.server_timeout = int(silence * 1000)


def open_bare(path: Path) -> pygit2.Repository:
    """Open a bare repository of ours, making it when there is none, with what an exchange needs in its settings."""
    exists = (path / "HEAD").exists()
    repository = pygit2.Repository(str(path)) if exists else pygit2.init_repository(str(path), bare=True)
    # What another host has is not what was configured. (On the same host libgit2 follows all the same; see Gatekeeper.)
    if "http.followRedirects" not in repository.config:
        repository.config["http.followRedirects"] = "false"
    return repository


class TooMuch(RemoteBroken):
    """More arrives than was allowed."""


class Transfer(pygit2.RemoteCallbacks):
    """The callbacks of one exchange. ``rejected`` holds, by ref, why a push was not accepted.

    ``most_bytes`` is how much may arrive, where that is limited.
    """

    def __init__(self, address: Address, credentials: Credentials | None, seconds: float) -> None:
        super().__init__()
        self._gate = Gatekeeper(address, credentials)
        self._address = address
        self._until = time.monotonic() + seconds
        self._seconds = seconds
        self.rejected: dict[str, str] = {}
        self.most_bytes: int | None = None

    def credentials(
        self,
        url: str,
        username_from_url: str | None,  # noqa: ARG002
        allowed_types: CredentialType,
    ) -> pygit2.UserPass | pygit2.Keypair | pygit2.Username:
        """Called by libgit2 when the server asks who we are."""
        return self._gate.answer(url, allowed_types)

    def certificate_check(self, certificate: None, valid: bool, host: bytes) -> bool:  # noqa: ARG002
        """Called by libgit2 with its verdict on the server's TLS certificate or SSH host key.

        Without this, pygit2 lets every SSH host key pass.
        """
        if not valid:
            raise _untrusted(self._address)
        return True

    def transfer_progress(self, stats: pygit2.remotes.TransferProgress) -> None:
        """Called by libgit2 as data arrives: a remote that only drips must end too."""
        self._check_deadline()
        if self.most_bytes is not None and stats.received_bytes > self.most_bytes:
            raise TooMuch(f"it brings more than {self.most_bytes >> 20} MiB; nothing of it was kept")

    def sideband_progress(self, string: str) -> None:  # noqa: ARG002
        """Called by libgit2 as the server tells how it gets on."""
        self._check_deadline()

    def push_update_reference(self, refname: str, message: str | None) -> None:
        """Called by libgit2 with the server's answer for each pushed ref."""
        if message is not None:
            self.rejected[refname] = message

    def _check_deadline(self) -> None:
        if time.monotonic() > self._until:
            raise RemoteUnreachable(f"{self._address.url} was not done after {self._seconds:.0f} s; gave up")


def explain(error: pygit2.GitError | KeyError, address: Address, secrets: Iterable[str] = ()) -> RemoteError:
    """Return the error of this module's family that says what libgit2's error means for a person."""
    text = redact(str(error), secrets)
    low = text.lower()
    where = address.url
    status = _STATUS.search(low)
    if status:
        return _http(int(status[1]), where)
    if any(words in low for words in _OWN_DISK) and address.scheme != "ssh":
        return MirrorFailed(f"the copy of {where} cannot be written here: {text}")
    if "not owned by current user" in low:
        return RemoteRefused(
            f"{where} belongs to another user, so git does not trust it: give it to this user, or add its path to"
            " safe.directory in the git configuration"
        )
    if isinstance(error, pygit2.errors.CertificateError) or "certificate" in low or "hostkey" in low:
        return _untrusted(address)
    if isinstance(error, pygit2.errors.AuthError) or "authenticat" in low:
        return RemoteRefused(f"{where} does not let us in: {text}")
    if "cannot redirect" in low:
        return RemoteRefused(
            f"{where} sends us to another host ({text}); put the repository's new URL into the settings"
        )
    if address.scheme == "file" and "repository not found" in low:
        return RemoteUnreachable(f"there is no git repository at {address.path}")
    if any(words in low for words in _SILENT):
        return RemoteUnreachable(f"{where} cannot be reached: {text}")
    return RemoteBroken(f"{where} sent something broken: {text}; nothing was changed")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return one printable line of text without the given values and without passwords in URLs."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
    text = re.sub(r"(?<=//)[^/@\s]*:[^/@\s]*@", "***@", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _http(status: int, where: str) -> RemoteError:
    if status in (401, 403):
        return RemoteRefused(f"{where} answers {status}: the token is missing, wrong or may not read the repository")
    if status in (404, 410):
        return RemoteRefused(f"{where} answers {status}: no such repository, or the token may not see it")
    if status == 429:
        return RemoteUnreachable(f"{where} answers 429: too many requests; trying again later")
    return RemoteBroken(f"{where} answers {status}: trouble of its own; trying again later")


def _untrusted(address: Address) -> RemoteError:
    if address.scheme == "ssh":
        return RemoteRefused(
            f"the SSH host key of {address.host} is not in ~/.ssh/known_hosts or has changed: compare it with the"
            f" published one, then run: ssh-keyscan -p {address.port} {address.host} >> ~/.ssh/known_hosts"
        )
    return RemoteRefused(
        f"the TLS certificate of {address.host} does not hold: expired, for another name, or from an authority that"
        " this machine does not trust"
    )
