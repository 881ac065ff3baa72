"""The engine's keys for secrets: made once, kept in its state directory, several while one replaces another.

    STATE/secrets/key-0001      a private key, mode 0600; the highest number is the present one
    STATE/secrets/fingerprint   the key under which values are fingerprinted; it stays when keys are replaced
    STATE/secrets/backups       what the passwords of backups are made of for which none is named; it stays, too
    STATE/secrets/databases     the same for databases that providers make
    STATE/secrets/buckets       and for the access keys with which nodes put snapshots into buckets
    STATE/secrets/age.txt       age identities for SOPS files, put there by a person

A file appears complete or not at all, and under a name that only one process can give: a crash at any instant, or
two commands at once, leave one valid key.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from automator67.engine.durable import once
from automator67.engine.secrets.errors import SecretError
from automator67.schemas.armor import ArmorError
from automator67.schemas.sealed import PRIVATE, PUBLIC_BYTES, KeyFile, read_key, write_key

_MLKEM_SEED, _MLKEM_PUBLIC = 64, 1184
_FILE = re.compile(r"key-([0-9]{4})\Z")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What values are sealed to: 1184 bytes of ML-KEM-768 and 32 of X25519. ``id`` is its fingerprint."""

    raw: bytes
    id: str
    hpke: MLKEM768X25519PublicKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: bytes) -> PublicKey:
        """Return the key with these bytes. Raises SecretError."""
        try:
            if len(raw) != PUBLIC_BYTES:
                raise ValueError
            mlkem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC])
            x25519 = X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:])
        except ValueError:
            raise SecretError("this is not a public key of MLKEM768-X25519") from None
        return cls(raw, key_id(raw), MLKEM768X25519PublicKey(mlkem, x25519))

    def text(self) -> str:
        """Return the key as the file that belongs into the repository."""
        return write_key(KeyFile(self.id, self.raw))


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What opens values: the 64-byte seed of ML-KEM-768 and 32 bytes of X25519."""

    public: PublicKey
    raw: bytes = field(repr=False)
    hpke: MLKEM768X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: bytes) -> PrivateKey:
        """Return the key with these bytes. Raises ValueError."""
        mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED])
        x25519 = X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED:])
        public = PublicKey.of(mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw())
        return cls(public, raw, MLKEM768X25519PrivateKey(mlkem, x25519))

    @classmethod
    def new(cls) -> PrivateKey:
        """Return a new key."""
        seed = MLKEM768PrivateKey.generate().private_bytes_raw()
        x25519 = X25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return cls.of(seed + x25519)


def key_id(public: bytes) -> str:
    """Return a public key's fingerprint: the first 32 hex digits of SHA-256 over a prefix and its bytes."""
    return hashlib.sha256(b"automator67 key 1\0" + public).hexdigest()[:32]


def read_public_key(path: Path) -> PublicKey:
    """Return the key in a public key file. Raises SecretError."""
    try:
        key = read_key(path.read_bytes())
    except FileNotFoundError:
        raise SecretError(
            f"{path} is missing: on the engine's machine run automator67 keys export, and commit the file"
        ) from None
    except OSError as error:
        raise SecretError(f"{path} cannot be read: {error.strerror}") from error
    except ArmorError as error:
        raise SecretError(f"{path}:{error.line}:1: {error}") from error
    public = PublicKey.of(key.raw)
    if public.id != key.key_id:
        raise SecretError(f"{path}: its key is {public.id}, not {key.key_id} as it says; export it again")
    return public


class Keyring:
    """The keys in a directory. Files that come while it is used are found when they are needed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: dict[str, PrivateKey] = {}
        self._numbers: dict[int, str] = {}
        self._mac_key = b""

    def present(self) -> PrivateKey | None:
        """Return the key that new values should be sealed to, None when there is none yet. Raises SecretError."""
        self._look()
        return self._known[self._numbers[max(self._numbers)]] if self._numbers else None

    def ids(self) -> list[str]:
        """Return the ids of all keys, oldest first. Raises SecretError."""
        self._look()
        return [self._numbers[n] for n in sorted(self._numbers)]

    def find(self, wanted: str) -> PrivateKey | None:
        """Return the key of an id, None when it is not here. Raises SecretError."""
        if wanted not in self._known:
            self._look()
        return self._known.get(wanted)

    def ensure(self) -> PrivateKey:
        """Return the present key; the first call ever makes it. Raises SecretError."""
        return self.present() or self._make(1)

    def add(self) -> PrivateKey:
        """Make a key that replaces the present one, which stays to open what is sealed to it. Raises SecretError."""
        self._look()
        return self._make(max(self._numbers, default=0) + 1)

    def drop(self, wanted: str) -> None:
        """Remove a key for good. Raises SecretError."""
        for number, known in list(self._numbers.items()):
            if known == wanted:
                (self.directory / f"key-{number:04}").unlink(missing_ok=True)
                del self._numbers[number], self._known[wanted]

    def stamp(self) -> tuple[tuple[str, int], ...]:
        """Return what changes when a key or identity is added, changed or removed."""
        found: list[tuple[str, int]] = []
        with contextlib.suppress(OSError), os.scandir(self.directory) as entries:
            found = [(e.name, e.stat().st_mtime_ns) for e in entries if not e.name.startswith(".")]
        return tuple(sorted(found))

    def fingerprint(self, name: str, value: bytes) -> str:
        """Return 32 hex digits that change when a value does, and say nothing about it without the engine's key.

        HMAC-SHA256 under a key that only this directory has, over the name too: equal values of two secrets do not
        show as equal. Raises SecretError.
        """
        if not self._mac_key:
            self._mac_key = self._once("fingerprint", secrets.token_bytes(32))
        return hmac.new(self._mac_key, name.encode() + b"\0" + value, hashlib.sha256).hexdigest()[:32]

    def backup_password(self, repository: str) -> str:
        """Return the password of a backup for which nobody named one: 43 characters, always the same for its name.

        HMAC-SHA256 under a key that only this directory has. Raises SecretError.
        """
        return self._password("backup", repository)

    def database_password(self, name: str) -> str:
        """Return the password of a database that a provider makes for us, made as that of a backup."""
        return self._password("database", name)

    def bucket_password(self, name: str) -> str:
        """Return what the access keys of a bucket are made of that the engine gives to nodes."""
        return self._password("bucket", name)

    def _password(self, what: str, name: str) -> str:
        key = self._once(f"{what}s", secrets.token_bytes(32))
        made = hmac.new(key, f"automator67 {what} 1\0{name}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).decode().rstrip("=")

    def _make(self, number: int) -> PrivateKey:
        key = PrivateKey.new()
        text = write_key(KeyFile(key.public.id, key.raw), PRIVATE)
        self._once(f"key-{number:04}", text.encode())
        self._look()
        return self._known[self._numbers[number]]

    def _look(self) -> None:
        numbers: dict[int, str] = {}
        by_number = dict(self._numbers)
        try:
            names = os.listdir(self.directory)  # noqa: PTH208
        except FileNotFoundError:
            names = []
        except OSError as error:
            raise SecretError(f"the keys in {self.directory} cannot be read: {error.strerror}") from error
        for found in filter(None, map(_FILE.match, names)):
            number = int(found[1])
            if number not in by_number:
                key = self._read(found[0])
                self._known[key.public.id] = key
                by_number[number] = key.public.id
            numbers[number] = by_number[number]
        self._numbers = numbers
        self._known = {known: self._known[known] for known in numbers.values()}

    def _read(self, name: str) -> PrivateKey:
        path = self.directory / name
        try:
            written = read_key(path.read_bytes(), PRIVATE)
            key = PrivateKey.of(written.raw)
        except OSError as error:
            raise SecretError(f"the key {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise SecretError(f"the key {path} cannot be used: {error}; put its backup in its place") from error
        if key.public.id != written.key_id:
            raise SecretError(f"the key {path} is not the key {written.key_id} it says it is")
        return key

    def _once(self, name: str, content: bytes) -> bytes:
        """Write a file that must not exist yet, and return its content, whoever wrote it first."""
        path = self.directory / name
        try:
            return once(path, content)
        except OSError as error:
            raise SecretError(f"{path} cannot be written: {error.strerror}") from error
