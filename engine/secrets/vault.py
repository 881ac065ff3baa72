"""The secrets of one commit: opened when they are asked for, remembered by the content of their file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from automator67.engine.desired import Origin
from automator67.engine.remote_errors import RemoteError
from automator67.engine.secrets.errors import SecretError

if TYPE_CHECKING:
    from automator67.engine.secrets.keys import Keyring

ReadBlob = Callable[[str], bytes]
Learn = Callable[[str, bytes], None]


class Opener:
    """Opens secrets with the keys of a directory; for all commits, and from any thread.

    ``learn(name, value)`` is called with every value that becomes known, before anyone gets it.
    """

    def __init__(
        self, keyring: Keyring, learn: Learn = lambda _name, _value: None, age_key: Path | None = None
    ) -> None:
        """``age_key``: the file with the age identities for SOPS; by default ``age.txt`` beside the keys."""
        self.keyring = keyring
        self._age_key = age_key or keyring.directory / "age.txt"
        self._learn = learn
        self._lock = threading.Lock()
        self._values: dict[tuple[str, str, str], bytes] = {}
        self._documents: dict[str, dict[str, bytes]] = {}

    def value(self, cloud: str, name: str, origin: Origin, read_blob: ReadBlob) -> bytes:
        """Return the value of a secret that is written in ``origin``. Raises SecretError."""
        key = (cloud, name, origin.blob)
        with self._lock:
            if key not in self._values:
                try:
                    value = self._open(cloud, name, origin, read_blob)
                except RemoteError as error:
                    raise SecretError(f"{origin.path}: what it said then cannot be read: {error}") from error
                self._learn(name, value)
                self._values[key] = value
            return self._values[key]

    def _open(self, cloud: str, name: str, origin: Origin, read_blob: ReadBlob) -> bytes:
        if not origin.path.endswith(".sealed"):
            return self._open_sops(name, origin, read_blob)
        # Only who opens something pays for loading the cryptography.
        from automator67.engine.secrets.sealing import open_sealed, read_sealed_file

        file = read_sealed_file(origin.path, read_blob(origin.blob))
        key = self.keyring.find(file.key_id)
        if key is None:
            raise SecretError(
                f"{origin.path}: it is sealed to the key {file.key_id}, which this engine does not have; "
                f"seal the value again with the key in the repository: automator67 seal {name}"
            )
        return open_sealed(key, file, cloud, name, origin.path)

    def _open_sops(self, name: str, origin: Origin, read_blob: ReadBlob) -> bytes:
        from automator67.engine.secrets.sops import open_document, read_identities

        if origin.blob not in self._documents:
            identities = read_identities(self._age_key)
            self._documents[origin.blob] = open_document(origin.path, read_blob(origin.blob), identities)
        if name not in self._documents[origin.blob]:
            raise SecretError(f"{origin.path}: there is no encrypted key for secret {name} in it")
        return self._documents[origin.blob][name]


class Vault:
    """The secrets of one commit of one cloud. Without an ``opener`` only their names are known."""

    def __init__(
        self, cloud: str, places: Mapping[str, Origin], read_blob: ReadBlob, opener: Opener | None = None
    ) -> None:
        self.cloud = cloud
        self.places = places
        self._read_blob = read_blob
        self._opener = opener

    @property
    def opens(self) -> bool:
        """Whether values can be had at all: keys are at hand."""
        return self._opener is not None

    def value(self, name: str) -> bytes:
        """Return the value of a secret, as it was sealed. Raises SecretError."""
        if name not in self.places:
            raise SecretError(f"there is no secret {name}; make it: automator67 seal {name}")
        return self.value_at(name, self.places[name])

    def text(self, name: str) -> str:
        """Return the value of a secret as text (UTF-8), without a newline at its end. Raises SecretError."""
        try:
            return self.value(name).decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise SecretError(f"secret {name} is not text; a token or URL must be") from None

    def value_at(self, name: str, origin: Origin) -> bytes:
        """Return the value a secret had in a file of this or an earlier commit. Raises SecretError."""
        if self._opener is None:
            raise SecretError(f"secret {name} cannot be opened here: only the engine has the key")
        return self._opener.value(self.cloud, name, origin, self._read_blob)

    def fingerprint(self, name: str) -> str:
        """Return what changes when the value does, and tells nothing else. Raises SecretError."""
        value = self.value(name)
        assert self._opener is not None
        return self._opener.keyring.fingerprint(name, value)

    def troubles_of(self, uses: Iterable[Mapping[str, str]]) -> list[str]:
        """Return why secrets of a stored revision (name, path, blob) cannot be had, those that cannot."""
        found = []
        for use in uses:
            try:
                self.value_at(use["name"], Origin(use["path"], use["blob"]))
            except SecretError as error:
                found.append(str(error))
        return found

    def troubles(self, names: Iterable[str]) -> list[str]:
        """Return why each of ``names`` that cannot be had cannot be had."""
        found = []
        for name in names:
            try:
                self.value(name)
            except SecretError as error:
                found.append(str(error))
        return found
