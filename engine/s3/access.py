"""Who may do what: access keys, the buckets they open, and how far. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from automator67.engine.buckets.rules import Access, Rules
from automator67.engine.s3.errors import S3Error, denied

Need = Literal["read", "write"]


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


def holder_of(key: str, known: Mapping[str, Holder]) -> Holder:
    """Return who has an access key. Raises S3Error."""
    if key not in known:
        raise S3Error("InvalidAccessKeyId", "There is no such access key")
    return known[key]


def _fits(access: Access, need: Need) -> bool:
    return access.allow in (need, "read-write")
