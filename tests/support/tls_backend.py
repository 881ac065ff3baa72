"""Web servers with a name and a certificate, as the URLs of providers are, on this machine."""

from __future__ import annotations

import os
import shutil
import ssl
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from automator67.engine.nodes.certificates import Authority
from tests.support.edge import Backend


class TlsBackend(Backend):
    """A web server of one word over HTTPS. ``names`` are those that clients asked for in the handshake (SNI)."""

    def __init__(self, name: str, authority: Authority, port: int = 0) -> None:
        super().__init__(name.partition(".")[0], port)
        self.names: list[str] = []
        self.remote = f"{name}:{self.port}"
        context = server_context(authority, name)
        context.sni_callback = lambda _socket, name, _context: self.names.append(name or "")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)


def behind_hosts(directory: Path, *names: str) -> list[str]:
    """Return what to put in front of a command so that these names mean this machine for it, and for it alone.

    Skips the test where that needs rights we do not have.
    """
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("names of one process alone need root and unshare")
    hosts = directory / "hosts"
    hosts.write_text(Path("/etc/hosts").read_text() + "".join(f"127.0.0.1 {name}\n" for name in names))
    return ["unshare", "--mount", "sh", "-c", f'mount --bind "{hosts}" /etc/hosts && exec "$@"', "sh"]


def server_context(authority: Authority, name: str) -> ssl.SSLContext:
    """Return a context for a server of a name that the authority vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = authority.sign_edge(request.public_bytes(serialization.Encoding.PEM).decode(), "home", "x", [name]).pem
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "both.pem"
        file.write_bytes(pem.encode() + secret)
        context.load_cert_chain(file)
    return context
