"""Connection strings of databases that were provisioned: one sealed file each, in the engine's state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from automator67.engine.apis.client import ApiError
from automator67.engine.durable import replace
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.sealing import open_sealed, read_sealed_file, seal


class ProvisionedUrls:
    """What is in a directory, sealed to the engine's own key; ``learn`` is told every value, so that it never shows."""

    def __init__(
        self, directory: Path, keyring: Keyring, cloud: Callable[[], str], learn: Callable[[str, bytes], None]
    ) -> None:
        self._directory, self._keyring, self._cloud, self._learn = directory, keyring, cloud, learn

    def get(self, name: str) -> str:
        """Return a connection string, empty when there is none. Raises ApiError when it cannot be opened."""
        path = self._directory / f"{name}.sealed"
        try:
            file = read_sealed_file(str(path), path.read_bytes())
            key = self._keyring.find(file.key_id)
            if key is None:
                return ""  # Sealed to a key that was dropped: it is asked for anew.
            url = open_sealed(key, file, self._cloud(), name, str(path))
        except FileNotFoundError:
            return ""
        except (OSError, SecretError) as error:
            raise ApiError(f"where database {name} is cannot be read: {error}") from None
        self._learn(name, url)
        return url.decode()

    def put(self, name: str, url: str) -> None:
        """Keep a connection string, whole or not at all. Raises ApiError when it cannot be written."""
        self._learn(name, url.encode())
        try:
            text = seal(self._keyring.ensure().public, self._cloud(), name, url.encode())
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(self._directory / f"{name}.sealed", text.encode())
        except (OSError, SecretError) as error:
            raise ApiError(f"where database {name} is cannot be written: {error}") from None
