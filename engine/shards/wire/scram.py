"""SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it, both sides, without channel binding. Pure but for nonces.

The client's name in the SCRAM messages is empty: PostgreSQL takes it from the startup message.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass

MECHANISM = "SCRAM-SHA-256"
ITERATIONS = 4096


class ScramError(Exception):
    """The other side does not prove that it knows the password, or breaks the protocol."""


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a server keeps instead of a password."""

    salt: bytes
    stored: bytes
    server: bytes

    @classmethod
    def of(cls, password: str) -> Verifier:
        """Make the verifier of a password, with a new salt."""
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
        return cls(salt, hashlib.sha256(_hmac(salted, b"Client Key")).digest(), _hmac(salted, b"Server Key"))


class Server:
    """The server's side of one login."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def challenge(self, first: bytes) -> bytes:
        """Answer the client's first message. Raises ScramError."""
        parts = first.decode("ascii", "replace").split(",", 2)
        if len(parts) != 3 or parts[0] not in ("n", "y") or not (bare := parts[2]).startswith("n="):
            raise ScramError("malformed SCRAM message")
        fields = dict(f.split("=", 1) for f in bare.split(",") if "=" in f)
        if not fields.get("r"):
            raise ScramError("malformed SCRAM message")
        self._header = f"{parts[0]},{parts[1]},"
        self._nonce = fields["r"] + b64encode(secrets.token_bytes(18)).decode()
        self._start = f"{bare},r={self._nonce},s={b64encode(self._verifier.salt).decode()},i={ITERATIONS}"
        return self._start[len(bare) + 1 :].encode()

    def verify(self, last: bytes) -> bytes:
        """Check the client's proof and return ours. Raises ScramError."""
        bare, _, proof = last.decode("ascii", "replace").rpartition(",p=")
        fields = dict(f.split("=", 1) for f in bare.split(",") if "=" in f)
        said = b64encode(self._header.encode()).decode()
        auth = f"{self._start},{bare}".encode()
        try:
            key = _xor(b64decode(proof, validate=True), _hmac(self._verifier.stored, auth))
        except ValueError as trouble:
            raise ScramError("malformed SCRAM message") from trouble
        known = hmac.compare_digest(hashlib.sha256(key).digest(), self._verifier.stored)
        if not (known and fields.get("r") == self._nonce and fields.get("c") == said):
            raise ScramError("the password is wrong")
        return b"v=" + b64encode(_hmac(self._verifier.server, auth))


class Client:
    """The client's side of one login."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._bare = "n=,r=" + b64encode(secrets.token_bytes(18)).decode()

    def first(self) -> bytes:
        """Return the first message."""
        return f"n,,{self._bare}".encode()

    def prove(self, challenge: bytes) -> bytes:
        """Answer the server's challenge. Raises ScramError."""
        try:
            text = challenge.decode("ascii")
            fields = dict(f.split("=", 1) for f in text.split(","))
            salt, rounds, nonce = b64decode(fields["s"], validate=True), int(fields["i"]), fields["r"]
        except (ValueError, KeyError) as trouble:
            raise ScramError("malformed SCRAM message") from trouble
        if not nonce.startswith(self._bare[5:]) or len(nonce) == len(self._bare) - 5 or not 0 < rounds <= 1_000_000:
            raise ScramError("malformed SCRAM message")
        salted = hashlib.pbkdf2_hmac("sha256", self._password.encode(), salt, rounds)
        bare = f"c=biws,r={nonce}"
        auth = f"{self._bare},{text},{bare}".encode()
        key = _hmac(salted, b"Client Key")
        proof = _xor(key, _hmac(hashlib.sha256(key).digest(), auth))
        self._expected = b"v=" + b64encode(_hmac(_hmac(salted, b"Server Key"), auth))
        return f"{bare},p={b64encode(proof).decode()}".encode()

    def check(self, last: bytes) -> None:
        """Check the server's proof. Raises ScramError."""
        if not hmac.compare_digest(last, self._expected):
            raise ScramError("the server does not know the password")
