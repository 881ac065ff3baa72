"""What the web process is told: ``web.json`` in the state directory, which the engine writes.

``{"repository": "ana/cloud", "branch": "main", "secrets": {"github": ["..."]}, "trusted_proxies": 0, "store": "",
"metrics_token_sha256": ""}``.
Several secrets for one forge are all valid, so that one can be changed without a gap.
"""

from __future__ import annotations

import difflib
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from automator67.webhooks.verify import SCHEMES, SIGNING_PREFIX, signing_key

_KEYS: Final = ("repository", "branch", "secrets", "trusted_proxies", "store", "metrics_token_sha256")

log = logging.getLogger("automator67.webhooks")


class SettingsError(Exception):
    """The settings cannot be used; the text says what is wrong and where, and shows no secret."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """``secrets`` has the forges that may deliver webhooks, with the secrets each may sign with.

    ``repository`` is the full name on the forge or the clone URL, ``trusted_proxies`` how many reverse proxies stand
    before us, ``store`` the URL of the store when it is not in the state directory, ``metrics_token_sha256`` (hex) of
    the token that lets people read metrics.
    """

    repository: str = ""
    branch: str = "main"
    secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trusted_proxies: int = 0
    store: str = ""
    metrics_token_sha256: str = ""

    def __repr__(self) -> str:
        return f"WebSettings(repository={self.repository!r}, branch={self.branch!r}, forges={sorted(self.secrets)})"


class SettingsFile:
    """The settings as the file has them now: it is read again when it has been replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._settings = load_settings(path)

    def current(self) -> WebSettings:
        """Return the present settings; while the file cannot be used, the last ones that could."""
        stamp = self._look()
        with self._lock:
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._settings = load_settings(self._path)
                    log.info("settings read again: %r", self._settings)
                except SettingsError as error:
                    log.warning("settings not taken: %s", error)
            return self._settings

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def load_settings(path: Path) -> WebSettings:
    """Read ``path``; without the file there are no webhooks. Raises SettingsError."""
    try:
        document = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as JSON: {type(error).__name__}") from None
    try:
        return parse_settings(document)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def parse_settings(document: Any) -> WebSettings:
    """Check the content of ``web.json``. Raises SettingsError."""
    if not isinstance(document, dict):
        raise SettingsError("must be an object")
    for key in document:
        if key not in _KEYS:
            raise SettingsError(f"unknown key {key!r}{_near(key, _KEYS)}")
    texts = (("repository", ""), ("branch", "main"), ("store", ""), ("metrics_token_sha256", ""))
    repository, branch, store, token = (document.get(k, d) for k, d in texts)
    proxies, given = document.get("trusted_proxies", 0), document.get("secrets", {})
    if not all(isinstance(value, str) for value in (repository, branch, store, token)) or not branch:
        raise SettingsError("repository, branch, store and metrics_token_sha256 must be texts")
    if not isinstance(proxies, int) or isinstance(proxies, bool) or not 0 <= proxies <= 10:
        raise SettingsError("trusted_proxies must be a number from 0 to 10")
    if not isinstance(given, dict):
        raise SettingsError("secrets must be an object of lists of texts, by forge")
    secrets = {forge: _secrets(forge, value) for forge, value in given.items()}
    secrets = {forge: values for forge, values in secrets.items() if values}
    if secrets and not repository:
        raise SettingsError("repository is missing: without it no delivery can be told from another's")
    return WebSettings(repository, branch, secrets, proxies, store, token)


def _secrets(forge: str, value: Any) -> tuple[str, ...]:
    where = f"secrets.{forge}"
    if forge not in SCHEMES:
        raise SettingsError(f"{where}: unknown forge; known: {', '.join(SCHEMES)}")
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise SettingsError(f"{where} must be a list of non-empty texts")
    if forge == "gitlab" and any(v.startswith(SIGNING_PREFIX) and not signing_key(v) for v in value):
        raise SettingsError(f"{where}: a signing token is whsec_ followed by base64; copy it whole")
    return tuple(value)


def _near(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
