"""A swarm's manager over TCP with TLS: certificates made for a test, and a way into the swarm's own network."""

from __future__ import annotations

import datetime as dt
import ipaddress
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

RELAY = """
import asyncio, os, sys
def opened(spec, server=None):
    kind, _, rest = spec.partition(":")
    host, _, port = rest.rpartition(":")
    if server is None:
        return asyncio.open_unix_connection(rest) if kind == "unix" else asyncio.open_connection(host, int(port))
    return asyncio.start_unix_server(server, rest) if kind == "unix" else asyncio.start_server(server, host, int(port))
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def serve(reader, writer):
    try:
        up_reader, up_writer = await opened(sys.argv[2])
    except OSError:
        writer.close()
        return
    await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
async def main():
    server = await opened(sys.argv[1], serve)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates for a test."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        made = self._builder(self._name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.pem = made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def sign(self, name: str, *, server: bool) -> Signed:
        """Return a certificate for 127.0.0.1 as a server, or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        made = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key())
        made = made.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = made.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return Signed(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(hours=2))
        )


def dockerd_options(directory: Path, authority: Authority, port: int) -> list[str]:
    """Write a manager's certificate and return what makes a Docker Engine ask for a client's on TCP."""
    own = authority.sign("manager", server=True)
    files = {"ca": authority.pem, "cert": own.certificate, "key": own.key}
    for name, content in files.items():
        (directory / f"tls-{name}.pem").write_bytes(content)
    options = ["-H", f"tcp://127.0.0.1:{port}", "--tlsverify"]
    return options + [f"--tls{'cacert' if name == 'ca' else name}={directory}/tls-{name}.pem" for name in files]


def relay(listen: str, connect: str, *prefix: str) -> subprocess.Popen[str]:
    """Start a relay between ``tcp:HOST:PORT`` and ``unix:PATH``; it is ready when this returns."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", RELAY, listen, connect], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
