"""Seals and opens values with HPKE (RFC 9180), single-shot base mode, as ``cryptography`` implements it.

The suite is MLKEM768-X25519 (draft-ietf-hpke-pq), HKDF-SHA256, AES-256-GCM: a git history is public for as long as
anyone keeps a copy, so what is sealed today must also withstand a quantum computer. The name of the secret and of
the cloud are the ``info``: moved to another name or cloud, a value does not open. Values are padded to 64 bytes
(ISO/IEC 7816-4), so that the length of a password does not show.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import PrivateKey, PublicKey
from automator67.schemas.armor import ArmorError
from automator67.schemas.sealed import MAX_SEALED_BYTES, SealedFile, read_sealed, write_sealed

MAX_VALUE_BYTES = 700_000
"""The longest value; sealed and armoured it stays below the limit of a sealed file."""

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_BLOCK = 64


def seal(key: PublicKey, cloud: str, name: str, value: bytes) -> str:
    """Return the text of the sealed file of a value. Raises SecretError for a value that is empty or too long."""
    if not value:
        raise SecretError("the value is empty")
    if len(value) > MAX_VALUE_BYTES:
        raise SecretError(f"the value has {len(value)} bytes, more than {MAX_VALUE_BYTES}")
    box = _SUITE.encrypt(_padded(value), key.hpke, _info(cloud, name))
    text = write_sealed(SealedFile(name, cloud, key.id, box))
    assert len(text) <= MAX_SEALED_BYTES
    return text


def read_sealed_file(path: str, data: bytes) -> SealedFile:
    """Return what a sealed file says. Raises SecretError with its place."""
    try:
        return read_sealed(data)
    except ArmorError as error:
        raise SecretError(f"{path}:{error.line}:1: {error}; seal the value again") from error


def open_sealed(key: PrivateKey, file: SealedFile, cloud: str, name: str, path: str) -> bytes:
    """Return the value of a sealed file that is to be secret ``name`` of ``cloud``. Raises SecretError."""
    again = f"seal the value again: automator67 seal {name}"
    if file.name != name:
        raise SecretError(f"{path}: this value was sealed as secret {file.name}, not as {name}; {again}")
    if file.cloud != cloud:
        raise SecretError(f"{path}: this value was sealed for cloud {file.cloud}, not for {cloud}; {again}")
    try:
        return _unpadded(_SUITE.decrypt(file.box, key.hpke, _info(cloud, name)))
    except (InvalidTag, ValueError):
        raise SecretError(f"{path}: it does not open: it was changed since it was sealed; {again}") from None


def _info(cloud: str, name: str) -> bytes:
    return b"automator67 secret 1\0" + cloud.encode() + b"\0" + name.encode()


def _padded(value: bytes) -> bytes:
    marked = value + b"\x80"
    return marked + b"\0" * (-len(marked) % _BLOCK)


def _unpadded(padded: bytes) -> bytes:
    value, mark, rest = padded.rpartition(b"\x80")
    if not mark or rest.strip(b"\0"):
        raise ValueError("the padding is wrong")
    return value
