"""The cloud's own certificate authority: its CA, the endpoint's certificate, short-lived certificates for agents.

P-256 keys throughout. From a CSR only the public key is taken; names and uses are ours to decide. Certificates start
five minutes in the past, so that a node with a slow clock can use a fresh one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from automator67.engine import durable

AGENT_LIFE = timedelta(hours=24)
EDGE_LIFE = timedelta(days=365)
"""Proxies read theirs when they start: a new one means that every connection is made anew."""
SERVER_LIFE, CA_LIFE = timedelta(days=90), timedelta(days=3650)
BACKDATE = timedelta(minutes=5)
RENEW_GRACE = timedelta(days=7)
"""How long after its end a certificate may still be renewed by whoever holds its key."""
_SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
_IDENTITY = re.compile(r"^spiffe://automator67/(?P<cloud>[^/]+)/node/(?P<node>[a-z0-9-]+)$")


class CertificateError(Exception):
    """A certificate, CSR or key cannot be used; one line that says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate speaks for. ``expires`` in seconds since the epoch; ``key``: its public key (DER, SPKI)."""

    cloud: str
    node: str
    serial: str
    expires: float
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate in PEM with what is to be remembered of it."""

    pem: str
    serial: str
    expires: float


class Authority:
    """The CA in a directory. Open it with ``Authority.open``."""

    def __init__(self, directory: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._directory = directory
        self._key = key
        self._certificate = certificate
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()

    @classmethod
    def open(cls, directory: Path, now: datetime | None = None) -> Authority:
        """Load the CA, or make it. ``A67_CA_PASSPHRASE`` in the environment encrypts its key at rest.

        Raises CertificateError when the files there cannot be used.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        passphrase = os.environ.get("A67_CA_PASSPHRASE", "").encode() or None
        key_file, certificate_file = directory / "ca.key", directory / "ca.pem"
        if not certificate_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _self_signed(key, now or datetime.now(UTC))
            # The certificate is written last: without it the pair counts as not made, and is made again.
            durable.replace(key_file, _key_pem(key, passphrase))
            durable.replace(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
            return cls(directory, key, certificate)
        try:
            loaded = serialization.load_pem_private_key(key_file.read_bytes(), passphrase)
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise CertificateError(f"the CA in {directory} cannot be read: {error}") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != certificate.public_key():
            raise CertificateError(f"the CA in {directory} is not a matching pair of key and certificate")
        return cls(directory, loaded, certificate)

    @property
    def fingerprint(self) -> str:
        """The first 32 hex digits of the SHA-256 of the CA certificate in DER."""
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        return hashlib.sha256(der).hexdigest()[:32]

    def server_context(self, names: Sequence[str], now: datetime | None = None) -> ssl.SSLContext:
        """Return the endpoint's TLS context: 1.3 only, client certificates of this CA asked for but not required."""
        present = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(present, SERVER_LIFE, "automator67 engine", self._certificate.subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = self._directory / "server.pem"
        durable.replace(pem, _key_pem(key, None) + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(pem)
        context.load_verify_locations(cadata=self.pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        # Tickets would let a revoked node resume, and cost memory for every held connection.
        context.num_tickets = 0
        return context

    def sign(self, csr_pem: str, cloud: str, node: str, now: datetime | None = None) -> Issued:
        """Return a certificate for a node over the public key of its CSR. Raises CertificateError for a bad CSR."""
        uri = x509.UniformResourceIdentifier(f"spiffe://automator67/{cloud}/node/{node}")
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._sign(csr_pem, node, [uri], uses, AGENT_LIFE, now or datetime.now(UTC))

    def sign_edge(
        self, csr_pem: str, cloud: str, node: str, names: Sequence[str], now: datetime | None = None
    ) -> Issued:
        """Return a certificate for the proxies of a node, as server under ``names`` and as client.

        It names the node as an edge, not as an agent. Raises CertificateError for a bad CSR.
        """
        uri = x509.UniformResourceIdentifier(f"spiffe://automator67/{cloud}/edge/{node}")
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        general = [uri, *(_general_name(n) for n in names)]
        return self._sign(csr_pem, node, general, uses, EDGE_LIFE, now or datetime.now(UTC))

    def _sign(
        self,
        csr_pem: str,
        name: str,
        names: Sequence[x509.GeneralName],
        uses: Sequence[x509.ObjectIdentifier],
        life: timedelta,
        now: datetime,
    ) -> Issued:
        try:
            csr = x509.load_pem_x509_csr(csr_pem.encode())
            key = csr.public_key()
            sound = csr.is_signature_valid
        except (ValueError, TypeError) as error:
            raise CertificateError(f"the CSR cannot be read: {error}") from error
        if not sound:
            raise CertificateError("the CSR is not signed by its own key")
        if not isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
            raise CertificateError("the CSR's key is neither ECDSA nor Ed25519")
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name != "secp256r1":
            raise CertificateError(f"the CSR's curve is {key.curve.name}; use P-256")
        certificate = (
            _builder(now, life, name, self._certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            certificate.public_bytes(serialization.Encoding.PEM).decode(),
            f"{certificate.serial_number:x}",
            certificate.not_valid_after_utc.timestamp(),
        )

    def revocations(self) -> dict[str, float]:
        """Return the nodes that were refused, with when; kept beside the CA, so that a lost store lets nobody in."""
        try:
            data = json.loads((self._directory / "revoked.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise CertificateError(f"the list of revoked nodes in {self._directory} cannot be read: {error}") from error
        return {str(node): float(at) for node, at in data.items()}

    def set_revoked(self, node: str, at: float | None) -> None:
        """Remember that a node is refused since ``at`` (seconds since the epoch), or (None) that it is not any more."""
        known = self.revocations()
        if at is None and node not in known:
            return
        known.pop(node, None)
        if at is not None:
            known[node] = at
        durable.replace(self._directory / "revoked.json", json.dumps(known).encode())

    def check_renewal(self, certificate_pem: str, csr_pem: str, signature: str, now: datetime) -> Identity:
        """Return who asks for a renewal over a connection without a client certificate (theirs may have expired).

        ``signature`` is base64 of the old key's ECDSA/SHA-256 (or Ed25519) signature over the CSR's PEM bytes.
        Raises CertificateError when the certificate is not ours, is too old, or the signature is not its key's.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            certificate.verify_directly_issued_by(self._certificate)
            proof = base64.b64decode(signature, validate=True)
            key = certificate.public_key()
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(proof, csr_pem.encode(), ec.ECDSA(hashes.SHA256()))
            elif isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(proof, csr_pem.encode())
            else:
                raise CertificateError("the certificate's key is of an unknown kind")
        except (InvalidSignature, ValueError, TypeError) as error:
            raise CertificateError("the old certificate or the signature of its key is not valid") from error
        if now > certificate.not_valid_after_utc + RENEW_GRACE:
            raise CertificateError("the old certificate ended more than 7 days ago; join again with a new token")
        return _identity(certificate)


def identity_of(der: bytes) -> Identity:
    """Return whom a verified peer certificate speaks for. Raises CertificateError when it names no node."""
    return _identity(x509.load_der_x509_certificate(der))


def same_secret(a: str, b: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(a.encode(), b.encode())


def _identity(certificate: x509.Certificate) -> Identity:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    for uri in uris:
        if found := _IDENTITY.match(uri):
            expires, key = certificate.not_valid_after_utc.timestamp(), certificate.public_key().public_bytes(*_SPKI)
            return Identity(found["cloud"], found["node"], f"{certificate.serial_number:x}", expires, key)
    raise CertificateError("the certificate names no node")


def _builder(
    now: datetime,
    life: timedelta,
    name: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "automator67 CA")])
    uses = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(uses, critical=True)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
