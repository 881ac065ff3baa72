"""The node's key and what is sealed with it. Runs in the worker and when joining, never in the resident process."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

from automator67.agent.box import Request
from automator67.agent.state import write_private

_MAGIC = b"a67 sealed 1\n"
_NONCE = 12


class SealError(Exception):
    """What was sealed cannot be opened with this node's key."""


def new_key() -> bytes:
    """Return a new P-256 private key as PEM (PKCS #8, not encrypted: the file's mode protects it)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_request(key_pem: bytes, name: str) -> str:
    """Return a certificate signing request (PKCS #10, PEM) for a key. The engine decides what the name will be."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64] or "node")])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(_key(key_pem), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


def renewal(identity_pem: bytes, name: str) -> dict[str, str]:
    """Return a renewal request: CSR, present certificate, and this key's signature over the CSR.

    The signature (ECDSA with SHA-256, base64) lets the engine renew a certificate that has expired, with which no
    TLS connection is to be had any more.
    """
    key = _private_part(identity_pem)
    csr = signing_request(key, name)
    signature = _key(key).sign(csr.encode(), ec.ECDSA(hashes.SHA256()))
    certificate = identity_pem[len(key) :].decode()
    return {"csr": csr, "certificate": certificate, "signature": base64.b64encode(signature).decode()}


def install(state: str, certificate: str, ca: str) -> tuple[float, float]:
    """Write a new certificate beside this node's key; return its validity in seconds since the epoch.

    Raises ValueError when it is not for this key, OSError when it cannot be written.
    """
    identity = Path(state, "identity.pem")
    key = _private_part(identity.read_bytes())
    write_private(str(identity), key + check(key, certificate))
    if ca:
        x509.load_pem_x509_certificates(ca.encode())
        if Path(state, "ca.pem").read_text() != ca:
            write_private(f"{state}/ca.pem", ca.encode())
    return validity(certificate.encode())


def edge_request(home: str, node: str) -> str:
    """Return a signing request for the proxies' own key in ``home``, which is made the first time. Raises OSError."""
    path = Path(home, "key.pem")
    if not path.exists():
        write_private(str(path), new_key())
    return signing_request(path.read_bytes(), node)


def check(key_pem: bytes, certificate: str) -> bytes:
    """Return a certificate's PEM after checking that it is for this key. Raises ValueError."""
    public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    found = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    if found.public_bytes(*public) != _key(key_pem).public_key().public_bytes(*public):
        raise ValueError("the engine's certificate is for another key")
    return certificate.encode()


def validity(pem: bytes) -> tuple[float, float]:
    """Return from when until when the certificate in a PEM file is valid, in seconds since the epoch."""
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def seal(identity_pem: bytes, plain: bytes, about: bytes) -> bytes:
    """Return ``plain`` sealed with AES-256-GCM under a key derived from this node's private key.

    ``about`` is bound to it: what was sealed as something else does not open.
    """
    nonce = os.urandom(_NONCE)
    return _MAGIC + nonce + AESGCM(_sealing_key(identity_pem)).encrypt(nonce, plain, about)


def unseal(identity_pem: bytes, sealed: bytes, about: bytes) -> bytes:
    """Return what was sealed. Raises SealError."""
    if not sealed.startswith(_MAGIC):
        raise SealError("it is not a sealed file of this version")
    rest = sealed[len(_MAGIC) :]
    try:
        return AESGCM(_sealing_key(identity_pem)).decrypt(rest[:_NONCE], rest[_NONCE:], about)
    except (InvalidTag, ValueError):
        raise SealError("it is damaged or was sealed with another key") from None


class Contents(NamedTuple):
    """The secrets of an instance: environment variables, files by path, user and password of its registry."""

    env: dict[str, str]
    files: tuple[tuple[str, bytes], ...]
    login: tuple[str, str] | None = None


def open_box(request: Request) -> Contents:
    """Return what the engine encrypted to this node's key for one instance (docs/protocol.md). Raises SealError.

    HPKE (RFC 9180), single-shot base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
    """
    about = "\0".join((request["cloud"], request["node"], request["instance"])).encode()
    doc = open_document(request["state"], request["box"], b"automator67 instance 1\0" + about)
    files = tuple((str(f["path"]), base64.b64decode(f["content"])) for f in doc["files"])
    login = (str(doc["login"][0]), str(doc["login"][1])) if doc.get("login") else None
    return Contents({str(k): str(v) for k, v in doc["env"].items()}, files, login)


def open_document(state: str, box: str, info: bytes, what: str = "instance") -> dict[str, Any]:
    """Return the JSON object in a box (base64) that was encrypted to this node's key with ``info``.

    ``what`` it is for, in a word. Raises SealError.
    """
    # Here, since only nodes with secrets need it.
    from cryptography.hazmat.primitives import hpke

    suite = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    key = _key(_private_part(Path(state, "identity.pem").read_bytes()))
    try:
        plain = suite.decrypt(base64.b64decode(box, validate=True), key, info)
    except (InvalidTag, ValueError):
        raise SealError(f"they are not for this {what}, or were encrypted to another key of this node") from None
    doc: dict[str, Any] = json.loads(plain)
    return doc


def _sealing_key(identity_pem: bytes) -> bytes:
    # The key stays the same over renewals of the certificate, so what was sealed before still opens.
    secret = _key(_private_part(identity_pem)).private_numbers().private_value.to_bytes(32, "big")
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"automator67 agent state").derive(secret)


def _private_part(identity_pem: bytes) -> bytes:
    end = b"-----END PRIVATE KEY-----\n"
    key, found, _ = identity_pem.partition(end)
    if not found:
        raise ValueError("identity.pem holds no private key")
    return key + found


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("identity.pem holds a key of another kind than P-256")
    return key
