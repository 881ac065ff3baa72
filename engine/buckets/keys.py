"""Keys of a bucket and how its data is sealed. The formats are in docs/formats.md; tests/vectors has examples.

bucket key (a secret) ─HKDF-SHA256─▶ wrapping key, log key
wrapping key ─AES-256-GCM─▶ data key of each content (random, used for that content alone)
data key ─AES-256-GCM─▶ chunks; the nonce is the chunk's index, so it never repeats under a key

The associated data of a chunk holds the bucket's id, the content's id, the index and whether it is the last one (as in
STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, 2015): no chunk can be swapped, moved, left out or cut off.
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from automator67.engine.buckets.errors import Corrupt, KeyProblem

TAG_BYTES = 16
_NONCE_BYTES = 12
_MAKE = "make one: openssl rand -base64 32"


@dataclass(frozen=True)
class BucketKey:
    """What is derived from one bucket key."""

    wrapping: bytes
    log: bytes


@dataclass(frozen=True)
class Keys:
    """The bucket's id with its keys: the first seals, all of them open (older ones, until everything is re-wrapped)."""

    bucket: bytes
    ring: tuple[BucketKey, ...]

    def wrap(self, content: str, data_key: bytes) -> bytes:
        """Return a content's data key sealed with the present bucket key: nonce, then ciphertext."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.ring[0].wrapping).encrypt(nonce, data_key, self._wrap_about(content))

    def unwrap(self, content: str, wrapped: bytes) -> bytes:
        """Return a content's data key. Raises KeyProblem."""
        for key in self.ring:
            try:
                return AESGCM(key.wrapping).decrypt(wrapped[:12], wrapped[12:], self._wrap_about(content))
            except InvalidTag:
                continue
        raise KeyProblem(
            "the bucket's key does not open this object; was the key replaced? put the old one below the new"
        )

    def seal_chunk(self, content: str, data_key: bytes, index: int, last: bool, plain: bytes | memoryview) -> bytes:
        """Return a chunk sealed; ``TAG_BYTES`` longer than ``plain``."""
        return AESGCM(data_key).encrypt(_counter(index), plain, self._chunk_about(content, index, last))

    def open_chunk(self, content: str, data_key: bytes, index: int, last: bool, sealed: bytes) -> bytes:
        """Return what was sealed. Raises Corrupt when it is not this chunk of this content as it was sealed."""
        try:
            return AESGCM(data_key).decrypt(_counter(index), sealed, self._chunk_about(content, index, last))
        except InvalidTag:
            raise Corrupt(f"chunk {index} of content {content} is not as it was written") from None

    def seal_named(self, name: str, plain: bytes) -> bytes:
        """Seal a piece of the log or of a snapshot; ``name`` must be new, since the key is derived from it."""
        return AESGCM(_named_key(self.ring[0].log, name)).encrypt(_counter(0), plain, self._named_about(name))

    def open_named(self, name: str, sealed: bytes) -> bytes:
        """Return what was sealed under ``name``. Raises Corrupt."""
        for key in self.ring:
            try:
                return AESGCM(_named_key(key.log, name)).decrypt(_counter(0), sealed, self._named_about(name))
            except InvalidTag:
                continue
        raise Corrupt(f"{name} is not as it was written, or sealed with another key")

    def _wrap_about(self, content: str) -> bytes:
        return b"automator67 data key 1\0" + self.bucket + bytes.fromhex(content)

    def _chunk_about(self, content: str, index: int, last: bool) -> bytes:
        return b"automator67 chunk 1\0" + self.bucket + bytes.fromhex(content) + struct.pack(">Q?", index, last)

    def _named_about(self, name: str) -> bytes:
        return b"automator67 log 1\0" + self.bucket + name.encode()


def read_ring(secret: bytes, bucket: str) -> tuple[BucketKey, ...]:
    """Return the keys in the value of a bucket's secret: one in Base64 (32 bytes) a line, the present one first.

    Raises KeyProblem.
    """
    ring = []
    for number, line in enumerate(secret.split(), start=1):
        try:
            raw = base64.b64decode(line, validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != 32:
            raise KeyProblem(f"line {number} of the key of bucket {bucket} is not 32 bytes in Base64; {_MAKE}")
        ring.append(BucketKey(_derive(raw, b"wrap"), _derive(raw, b"log")))
    if not ring:
        raise KeyProblem(f"the key of bucket {bucket} is empty; {_MAKE}")
    return tuple(ring)


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, b"", b"automator67 bucket 1\0" + purpose).derive(key)


def _named_key(log_key: bytes, name: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, b"", b"automator67 name 1\0" + name.encode()).derive(log_key)


def _counter(index: int) -> bytes:
    return index.to_bytes(_NONCE_BYTES, "big")
