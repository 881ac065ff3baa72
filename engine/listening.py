"""Where a program listens: its address, and what encrypts the connections."""

from __future__ import annotations

import ssl
from pathlib import Path

LOCAL = ("127.0.0.1", "::1", "localhost")


class ListenError(Exception):
    """It cannot listen as it was asked to; one line for a person."""


def host_and_port(listen: str, what: str, *, encrypted: bool) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``. ``what`` goes over the network. Raises ListenError."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit():
        raise ListenError(f"--listen {listen}: write HOST:PORT")
    if not encrypted and host not in LOCAL:
        raise ListenError(f"to listen on {host} give --certificate and --key: {what} would go over the network in "
                          "clear text")  # fmt: skip
    return host, int(port)


def certificates(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return what encrypts connections of clients, None without a certificate. Raises OSError (ssl.SSLError)."""
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context
