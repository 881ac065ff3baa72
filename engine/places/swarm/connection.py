"""Connections to a Swarm manager's Engine API: a Unix socket, or TCP with a client certificate from the secrets.

Certificates and keys never touch a disk: OpenSSL reads them from anonymous files in memory.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import DockerException
from requests.adapters import HTTPAdapter

from automator67.engine.places.protocol import PlaceError

TIMEOUT_SECONDS = 10.0
API_VERSION = "1.41"
"""Docker Engine 20.10 and later; older ones do not tell of jobs and of ports as we read them."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM texts: whom to trust, and who we are."""

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)


class _TlsAdapter(HTTPAdapter):
    """Sends requests with a TLS context of our own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)


def connect(url: str, credentials: Credentials | None, timeout: float = TIMEOUT_SECONDS) -> docker.APIClient:
    """Return a client of the manager at ``unix:///PATH`` or ``tcp://HOST:PORT``; nothing is sent yet.

    Raises PlaceError when the credentials cannot be used.
    """
    if url.startswith("tcp://") and credentials is not None:
        client = docker.APIClient(base_url="https://" + url.removeprefix("tcp://"), version=API_VERSION,
                                  timeout=int(timeout), tls=True)  # fmt: skip
        client.mount("https://", _TlsAdapter(_context(credentials)))
    else:
        try:
            client = docker.APIClient(base_url=url, version=API_VERSION, timeout=int(timeout))
        except DockerException as error:
            raise PlaceError(f"{url} cannot be used: {error}") from None
    # Proxies of the environment are for the outside world.
    client.trust_env = False
    return client


def host_of(url: str) -> str:
    """Return the host that a manager is reached at; the loopback address for a Unix socket."""
    return urlsplit(url).hostname or "127.0.0.1"


def _context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=credentials.ca.decode("ascii"))
        with _in_memory(credentials.certificate) as certificate, _in_memory(credentials.key) as key:
            context.load_cert_chain(certificate, key)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "not PEM"
        raise PlaceError(f"tls: certificate, key and ca do not fit together: {reason}") from None
    return context


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    handle = os.memfd_create("a67", os.MFD_CLOEXEC)
    try:
        os.write(handle, content)
        os.lseek(handle, 0, os.SEEK_SET)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def unreachable(url: str, error: Exception) -> PlaceError:
    """Return in one line why a manager did not answer."""
    at = f"the manager at {url}"
    if isinstance(error, requests.exceptions.Timeout):
        return PlaceError(f"{at} does not answer in time")
    text = str(error)
    for sign, words in (
        ("certificate verify failed", "has a certificate that tls.ca does not vouch for"),
        ("alert", "refuses our certificate"),
        ("Connection refused", "refuses connections"),
        ("Permission denied", "may not be opened by the engine's user"),
        ("No such file", "is not there"),
        ("Name or service not known", "has a name that cannot be resolved"),
    ):
        if sign in text:
            return PlaceError(f"{at} {words}")
    return PlaceError(f"{at} does not answer: {' '.join(text.split())[:160]}")
