"""Asks a registry what an image's tag means, by the distribution specification's HTTP API.

https://github.com/opencontainers/distribution-spec (manifests, tags) and Docker's token authentication
(``WWW-Authenticate: Bearer``). Nothing is downloaded. A registry that does not answer is not asked again for a while.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from threading import Lock
from urllib.parse import urljoin, urlsplit

import httpx

from automator67.engine.image_name import HUB, Reference, parse
from automator67.engine.registry_login import BadLogin, user_and_password

SECONDS = 3.0
SILENT_SECONDS = 600.0
"""How long a registry that did not answer is left alone."""
MOST_TAGS = 10_000
MOST_PAGES = 20
MAX_BODY = 4 * 2**20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MANIFESTS = ", ".join((
    "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
))  # fmt: skip
_FIELD = re.compile(r'([a-z]+)="([^"]*)"')
_HUB_HOST = "registry-1.docker.io"


class RegistryError(Exception):
    """The registry gave no answer that can be used; one line that says why."""


class RegistryClient:
    """For use from several threads. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = httpx.Client(timeout=httpx.Timeout(SECONDS), follow_redirects=False)
        self._clock = clock
        self._silent: dict[str, tuple[float, str]] = {}
        self._lock = Lock()

    def digest(self, image: str, login: str = "") -> str:
        """Return the digest that an image's tag means now; ``login`` is a secret's value. Raises RegistryError."""
        ref = parse(image)
        answer = self._get("HEAD", ref, f"/v2/{ref.repository}/manifests/{ref.tag}", login)
        digest: str = answer.headers.get("Docker-Content-Digest", "")
        if not _DIGEST.fullmatch(digest):
            raise RegistryError(f"{ref.registry} does not tell the digest of {image}")
        return digest

    def tags(self, image: str, login: str = "") -> list[str]:
        """Return the tags of an image's repository, at most ``MOST_TAGS``. Raises RegistryError."""
        ref = parse(image)
        found: list[str] = []
        target: str | None = f"/v2/{ref.repository}/tags/list?n=1000"
        for _ in range(MOST_PAGES):
            if target is None or len(found) >= MOST_TAGS:
                break
            answer = self._get("GET", ref, target, login)
            try:
                found += [str(tag) for tag in answer.json().get("tags") or ()]
            except (ValueError, AttributeError):
                raise RegistryError(f"{ref.registry} answers no list of tags") from None
            target = _next(answer, target)
        return found[:MOST_TAGS]

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _get(self, method: str, ref: Reference, target: str, login: str) -> httpx.Response:
        self._refuse_silent(ref.registry)
        base = _base(ref.registry)
        headers = {"Accept": _MANIFESTS}
        try:
            user = user_and_password(login, ref.registry) if login else None
        except BadLogin as error:
            raise RegistryError(f"the secret of {ref.registry} cannot be used: {error}") from None
        try:
            answer = self._http.request(method, base + target, headers=headers)
            if answer.status_code == 401:
                headers["Authorization"] = self._authorization(answer, ref, user)
                answer = self._http.request(method, base + target, headers=headers)
        except httpx.HTTPError as error:
            raise self._gone(ref.registry, error) from None
        if answer.status_code in (401, 403):
            what = "the login is not accepted" if user else "it asks for a login (registry: {secret: NAME})"
            raise RegistryError(f"{ref.registry} does not let us see {ref.repository}: {what}")
        if answer.status_code == 404:
            raise RegistryError(f"{ref.registry} has no {ref.repository}:{ref.tag}")
        if answer.status_code != 200:
            raise RegistryError(f"{ref.registry} answers {answer.status_code}")
        return answer

    def _authorization(self, answer: httpx.Response, ref: Reference, user: tuple[str, str] | None) -> str:
        """Return the header that the registry's challenge asks for."""
        scheme, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() == "basic":
            return _basic(user) if user else ""
        fields = dict(_FIELD.findall(rest))
        realm = fields.get("realm", "")
        if scheme.lower() != "bearer" or not _may_ask(realm, ref.registry):
            raise RegistryError(f"{ref.registry} asks for a login in a way that is not understood")
        query = {"service": fields.get("service", ""), "scope": f"repository:{ref.repository}:pull"}
        found = self._http.get(realm, params=query, headers={"Authorization": _basic(user)} if user else {})
        try:
            data = found.json() if found.status_code == 200 and len(found.content) <= MAX_BODY else {}
            return f"Bearer {data.get('token') or data['access_token']}"
        except (ValueError, KeyError, AttributeError):
            raise RegistryError(f"{ref.registry} gives no token for {ref.repository}: {found.status_code}") from None

    def _refuse_silent(self, registry: str) -> None:
        with self._lock:
            until, why = self._silent.get(registry, (0.0, ""))
        if self._clock() < until:
            raise RegistryError(why)

    def _gone(self, registry: str, error: httpx.HTTPError) -> RegistryError:
        what = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        why = f"{registry} cannot be reached: {what}"
        with self._lock:
            self._silent[registry] = (self._clock() + SILENT_SECONDS, why)
        return RegistryError(why)


def _base(registry: str) -> str:
    host = urlsplit(f"//{registry}").hostname or ""
    # As the Docker Engine does it: a registry on this machine may speak plain HTTP.
    plain = host == "localhost" or host.startswith("127.")
    return f"{'http' if plain else 'https'}://{_HUB_HOST if registry == HUB else registry}"


def _may_ask(realm: str, registry: str) -> bool:
    """Whether a login may be shown there: over TLS, or on this machine."""
    parts = urlsplit(realm)
    return parts.scheme == "https" or (parts.scheme == "http" and _base(registry).startswith("http://"))


def _basic(user: tuple[str, str] | None) -> str:
    return "Basic " + base64.b64encode(":".join(user).encode()).decode() if user else ""


def _next(answer: httpx.Response, target: str) -> str | None:
    link = re.match(r'<([^>]+)>;\s*rel="?next"?', answer.headers.get("Link", ""))
    if link is None:
        return None
    url = urlsplit(urljoin(target, link[1]))
    # Only the path: the registry does not send us elsewhere.
    return f"{url.path}?{url.query}"
