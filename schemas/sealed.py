"""The two files that sealing knows: a sealed secret (``secrets/NAME.sealed``) and the public key it is sealed to. Pure.

Nothing is decrypted here. The content of a sealed secret is the encapsulated key and the ciphertext of HPKE (RFC 9180).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from automator67.schemas.armor import ArmorError, Block, read_block, write_block

PUBLIC_KEY_FILE = "secrets/engine.pub"
MAX_SEALED_BYTES = 2**20
SUITE = "MLKEM768-X25519, HKDF-SHA256, AES-256-GCM"
SEALED, PUBLIC, PRIVATE = "SEALED SECRET", "PUBLIC KEY", "PRIVATE KEY"
"""The labels of the three kinds of block."""

PUBLIC_BYTES = 1184 + 32
_OVERHEAD = 1088 + 32 + 16
_KEY_ID = re.compile(r"[0-9a-f]{32}\Z")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A sealed value as it is written: for which secret of which cloud, to which key, and the sealed bytes."""

    name: str
    cloud: str
    key_id: str
    box: bytes


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A public or private key as it is written."""

    key_id: str
    raw: bytes


def read_sealed(data: bytes) -> SealedFile:
    """Return what a sealed file says. Raises ArmorError."""
    if len(data) > MAX_SEALED_BYTES:
        raise ArmorError(1, f"the file has {len(data)} bytes, more than {MAX_SEALED_BYTES}")
    block = read_block(data, SEALED)
    name, cloud = _header(block, "Name", _NAME), _header(block, "Cloud", _NAME)
    key_id = _checked(block)
    if len(block.body) < _OVERHEAD:
        raise ArmorError(1, "the content is too short to be a sealed value")
    return SealedFile(name, cloud, key_id, block.body)


def sealed_key(data: bytes) -> str:
    """Return the id of the key that a ``.sealed`` file is sealed to; empty where it cannot be read."""
    try:
        return read_sealed(data).key_id
    except ArmorError:
        return ""


def write_sealed(file: SealedFile) -> str:
    """Return the text of a sealed file."""
    headers = {"Version": "1", "Name": file.name, "Cloud": file.cloud, "Key": file.key_id, "Suite": SUITE}
    return write_block(SEALED, headers, file.box)


def read_key(data: bytes, label: str = PUBLIC) -> KeyFile:
    """Return what a key file says. Raises ArmorError."""
    block = read_block(data[:65536], label)
    key_id = _checked(block)
    if label == PUBLIC and len(block.body) != PUBLIC_BYTES:
        raise ArmorError(1, "the content does not have the length of a public key")
    return KeyFile(key_id, block.body)


def write_key(key: KeyFile, label: str = PUBLIC) -> str:
    """Return the text of a key file."""
    remarks: tuple[str, ...] = ("The engine's private key for secrets: whoever has it can open all of them.",)
    if label == PUBLIC:
        remarks = (
            "The public key of this cloud's engine. It is no secret: with it anyone can seal a value",
            "(automator67 seal NAME), and only the engine can open it. It belongs into the repository.",
        )
    return write_block(label, {"Version": "1", "Key": key.key_id, "Suite": SUITE}, key.raw, remarks)


def _checked(block: Block) -> str:
    """Return the key id of a block of version 1 and our suite. Raises ArmorError."""
    version = _header(block, "Version", re.compile(r"[0-9]+\Z"))
    if version != "1":
        raise ArmorError(block.lines["Version"], f"version {version} is not known here; a newer automator67 wrote it")
    if _header(block, "Suite", re.compile(r".+\Z")) != SUITE:
        raise ArmorError(block.lines["Suite"], f"only the suite {SUITE} is known here")
    return _header(block, "Key", _KEY_ID)


def _header(block: Block, key: str, shape: re.Pattern[str]) -> str:
    if key not in block.headers:
        raise ArmorError(1, f"the header {key} is missing")
    if not shape.match(block.headers[key]):
        raise ArmorError(block.lines[key], f"{block.headers[key][:60]!r} cannot be the {key.lower()}")
    return block.headers[key]
