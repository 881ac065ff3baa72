"""Opens SOPS documents whose data key is encrypted with age.

Follows the format that SOPS 3 writes (https://getsops.io/docs/): a random data key, encrypted to each recipient; every
value ``ENC[AES256_GCM,data:..,iv:..,tag:..,type:..]`` under it, with its path (``a:b:``) as additional data; and a MAC,
SHA-512 over all values in the order of the document, itself encrypted with the time of the last change as additional
data. Only age recipients are understood, and only one group of keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyrage
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyrage.x25519 import Identity

from automator67.engine.secrets.errors import SecretError
from automator67.schemas.sops import ENCRYPTED, secret_keys
from automator67.schemas.source import read_yaml

_MAC_ONLY_ENCRYPTED = bytes.fromhex("8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69")
"""What the hash begins with where only encrypted values are in it, so that the two ways cannot be mistaken."""


def read_identities(path: Path) -> list[Identity]:
    """Return the identities of a file as age-keygen writes it. Raises SecretError."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except FileNotFoundError:
        raise SecretError(
            f"SOPS files need an age identity, and {path} is missing: put the one they are encrypted to there (0600)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"the age identities in {path} cannot be read") from error
    try:
        found = [Identity.from_str(line) for line in lines if line.startswith("AGE-SECRET-KEY-")]
    except pyrage.IdentityError:
        raise SecretError(f"{path} holds something that is no age identity") from None
    if not found:
        raise SecretError(f"{path} holds no age identity (a line AGE-SECRET-KEY-1...)")
    return found


def open_document(path: str, data: bytes, identities: Sequence[Identity]) -> dict[str, bytes]:
    """Return the values of a SOPS document by the names of their secrets, once its MAC is verified.

    Raises SecretError.
    """
    source = read_yaml(path, data)
    document = source.value
    if source.problems or not isinstance(document, dict) or not isinstance(document.get("sops"), dict):
        raise SecretError(f"{path}: this is not a document of SOPS")
    meta = document["sops"]
    try:
        cipher = AESGCM(_data_key(path, meta, identities))
        values = dict(_leaves({k: v for k, v in document.items() if k != "sops"}, ()))
        plain = {at: _opened(cipher, value, _about(at)) for at, value in values.items()}
        _verify(path, cipher, meta, values, plain)
    except (InvalidTag, binascii.Error, ValueError, KeyError, TypeError):
        raise SecretError(f"{path}: it was changed without sops, or is damaged; edit it with sops") from None
    return {name: _value(document[key], plain[(key,)]) for name, key in secret_keys(document).items()}


def _value(written: str, plain: bytes) -> bytes:
    """Return a value as an app gets it: ``true`` is spelt as everywhere else in the repository."""
    return plain.lower() if written.endswith(",type:bool]") else plain


def _data_key(path: str, meta: Mapping[str, Any], identities: Sequence[Identity]) -> bytes:
    if meta.get("key_groups") or meta.get("shamir_threshold"):
        raise SecretError(f"{path}: several groups of keys are not understood here; use one list of age recipients")
    recipients = meta.get("age") or []
    if not recipients:
        raise SecretError(f"{path}: it is not encrypted to an age recipient; only age is understood here")
    for recipient in recipients:
        armor = str(recipient["enc"])
        try:
            return bytes(pyrage.decrypt(_binary(armor), list(identities)))
        except pyrage.DecryptError:
            continue
    listed = ", ".join(str(r.get("recipient", "?"))[:70] for r in recipients)
    raise SecretError(f"{path}: it is encrypted to {listed}, and the engine's age identity is none of these")


def _binary(armor: str) -> bytes:
    """Return an age file without its armour (RFC 7468 with its own label)."""
    lines = armor.strip().splitlines()
    if len(lines) < 3 or "BEGIN AGE ENCRYPTED FILE" not in lines[0]:
        raise ValueError("no armour")
    return base64.b64decode("".join(lines[1:-1]), validate=True)


def _leaves(value: Any, at: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield every value with its path, in the order of the document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*at, str(key)))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _leaves(inner, (*at, n))
    else:
        yield at, value


def _about(at: tuple[str | int, ...]) -> bytes:
    """Return the additional data of a value: its path; places in lists do not count."""
    return "".join(f"{part}:" for part in at if isinstance(part, str)).encode()


def _opened(cipher: AESGCM, value: Any, about: bytes) -> bytes:
    found = ENCRYPTED.match(value) if isinstance(value, str) else None
    if found is None:
        return _bytes(value)
    data, nonce, tag = (base64.b64decode(part, validate=True) for part in found.groups()[:3])
    return cipher.decrypt(nonce, data + tag, about)


def _bytes(value: Any) -> bytes:
    """Return a value that is not encrypted as SOPS counts it."""
    if isinstance(value, bool):
        return b"True" if value else b"False"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").removesuffix(".0").encode()
    return b"" if value is None else str(value).encode()


def _verify(path: str, cipher: AESGCM, meta: Mapping[str, Any], values: Mapping[Any, Any], plain: Any) -> None:
    only_encrypted = bool(meta.get("mac_only_encrypted", False))
    digest = hashlib.sha512(_MAC_ONLY_ENCRYPTED if only_encrypted else b"")
    for at, value in values.items():
        if not only_encrypted or (isinstance(value, str) and ENCRYPTED.match(value)):
            digest.update(plain[at])
    mac = _opened(cipher, str(meta["mac"]), str(meta["lastmodified"]).encode())
    if not hmac.compare_digest(mac, digest.hexdigest().upper().encode()):
        raise SecretError(f"{path}: its MAC is wrong: it was changed without sops; edit it with sops")
