"""What we show to the remote to be let in, and to nobody else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pygit2 import Keypair, Username, UserPass
from pygit2.enums import CredentialType

from automator67.engine.remote_errors import RemoteRefused
from automator67.engine.repo.address import Address, origin


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token (HTTPS) or a private key file (SSH); neither is ever printed.

    ``username`` goes with the token where a forge wants a certain one; most take any. ``passphrase`` opens the key.
    """

    token: str = field(default="", repr=False)
    username: str = "x-access-token"
    ssh_key: Path | None = None
    passphrase: str = field(default="", repr=False)

    def secrets(self) -> tuple[str, ...]:
        """The values that must not appear in any text."""
        return tuple(s for s in (self.token, self.passphrase) if s)


class Gatekeeper:
    """Answers libgit2 when a server asks who we are: once, and only the server of the configured address."""

    def __init__(self, address: Address, credentials: Credentials | None) -> None:
        self._address = address
        self._credentials = credentials
        self._shown = False

    def answer(self, url: str, allowed: CredentialType) -> UserPass | Keypair | Username:
        """Return what to show. Raises RemoteRefused when there is nothing (more) to show, or someone else asks."""
        here, given = self._address, self._credentials
        if here.is_web and origin(url) != origin(here.url):
            scheme, host, port = origin(url)
            raise RemoteRefused(
                f"{here.url} sends us on to {scheme}://{host}:{port}, which asks for credentials; they are for"
                f" {here.host} only. If the repository has moved, put its new URL into the settings"
            )
        if allowed & CredentialType.USERNAME and not allowed & CredentialType.SSH_KEY:
            return Username(here.user)
        if self._shown:
            what = "SSH key" if here.scheme == "ssh" else "token"
            raise RemoteRefused(
                f"{here.url} does not accept the {what}: check that it is valid and may read the repository"
            )
        self._shown = True
        if here.scheme == "ssh":
            return self._key(given)
        if given and given.token:
            return UserPass(given.username, given.token)
        if here.secret:
            return UserPass(here.user or "x-access-token", here.secret)
        raise RemoteRefused(f"{here.url} asks for credentials and there are none: give it a token that may read it")

    def _key(self, given: Credentials | None) -> Keypair:
        if given is None or given.ssh_key is None:
            raise RemoteRefused(f"{self._address.url} asks for an SSH key and there is none: name a key file")
        try:
            given.ssh_key.read_bytes()
        except OSError as error:
            raise RemoteRefused(f"the SSH key {given.ssh_key} cannot be read: {error.strerror}") from None
        return Keypair(self._address.user, None, str(given.ssh_key), given.passphrase)
