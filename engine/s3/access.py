"""Who may do what: access keys, the buckets they open, and how far. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from automator67.engine.buckets.rules import Access, Rules
from automator67.engine.s3.errors import S3Error, denied

Need = Literal["read", "write"]
_GRANT = "a67-"


class AccessProblem(Exception):
    """Access keys are declared in a way that has no meaning; one line for a person."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an access key: its secret key, and what it opens, by the name of the bucket."""

    secret: str
    opens: Mapping[str, tuple[Access, ...]]

    def allow(self, bucket: str, need: Need, name: str) -> None:
        """Raise S3Error unless the object of that name may be read or written."""
        if not any(_fits(access, need) and name.startswith(access.prefix) for access in self.opens.get(bucket, ())):
            raise denied()

    def enter(self, bucket: str) -> None:
        """Raise S3Error unless the key opens something of a bucket."""
        if bucket not in self.opens:
            raise denied()


def holders(rules: Iterable[Rules], secrets: Mapping[str, str]) -> dict[str, Holder]:
    """Return who may come in, by the id of the access key; ``secrets``: values by name. Raises AccessProblem."""
    found: dict[str, Holder] = {}
    for bucket in rules:
        for access in bucket.access:
            secret, known = secrets[access.secret].strip(), found.get(access.id)
            if not secret:
                raise AccessProblem(f"bucket {bucket.name}: the secret {access.secret} is empty")
            if known is not None and known.secret != secret:
                raise AccessProblem(f"access key {access.id} has two different secret keys: one id, one secret")
            opens = dict(known.opens) if known else {}
            opens[bucket.name] = (*opens.get(bucket.name, ()), access)
            found[access.id] = Holder(secret, opens)
    return found


def grant(bucket: str, prefix: str, key: str) -> tuple[str, str]:
    """Return an access key for what begins with ``prefix`` in a bucket, and its secret.

    The id itself says what it opens, and the secret is HMAC-SHA256 over it under ``key``, which is the bucket's: so
    whoever has ``key`` knows all grants without a list of them.
    """
    id_ = _GRANT + base64.urlsafe_b64encode(f"{bucket}/{prefix}".encode()).decode().rstrip("=")
    made = hmac.new(key.encode(), f"automator67 grant 1\0{id_}".encode(), hashlib.sha256).digest()
    return id_, base64.urlsafe_b64encode(made).decode().rstrip("=")


def granted(id_: str, key: str) -> Holder:
    """Return who has an access key that was granted under ``key``. Raises S3Error."""
    text = id_.removeprefix(_GRANT)
    try:
        bucket, _, prefix = (
            base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode().partition("/")
        )
    except ValueError:
        raise unknown_key() from None
    again, secret = grant(bucket, prefix, key)
    if again != id_ or not prefix:
        raise unknown_key()
    return Holder(secret, {bucket: (Access(id_, "", prefix=prefix),)})


def unknown_key() -> S3Error:
    """Return the refusal of an access key that nobody declared."""
    return S3Error("InvalidAccessKeyId", "There is no such access key")


def holder_of(key: str, known: Mapping[str, Holder]) -> Holder:
    """Return who has an access key. Raises S3Error."""
    if key not in known:
        raise unknown_key()
    return known[key]


def _fits(access: Access, need: Need) -> bool:
    return access.allow in (need, "read-write")
