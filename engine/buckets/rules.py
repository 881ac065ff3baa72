"""What buckets/NAME.yaml says, as a typed value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from automator67.schemas.units import seconds, size_bytes


@dataclass(frozen=True, slots=True)
class Share:
    """A provider of a bucket: its node, its weight, and the bytes it may hold of this bucket (None: no limit)."""

    node: str
    weight: float = 1.0
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """An access key of the S3 endpoint; ``secret`` is the name of the secret that holds its secret key."""

    id: str
    secret: str
    allow: Literal["read", "write", "read-write"] = "read-write"
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Expiry:
    """Files below ``prefix`` are deleted ``after`` so many seconds."""

    prefix: str
    after: float


@dataclass(frozen=True, slots=True)
class Rules:
    """A bucket as declared. Sizes in bytes, times in seconds; ``scrub``: the share checked per day (0 to 1)."""

    name: str
    providers: tuple[Share, ...]
    replicas: int = 2
    chunk: int = 5_000_000
    quota: int | None = None
    keep_deleted: float = 30 * 86400.0
    versions: bool = False
    cache: int = 500_000_000
    key: str = ""
    access: tuple[Access, ...] = ()
    expire: tuple[Expiry, ...] = ()
    cors: tuple[str, ...] = ()
    """Origins of web pages that may use the S3 endpoint."""
    scrub: float = 0.01


def rules_of(name: str, document: Mapping[str, Any]) -> Rules:
    """Return what a validated buckets/NAME.yaml says."""
    return Rules(
        name,
        tuple(_share(e) for e in document["providers"]),
        replicas=int(document.get("replicas", 2)),
        chunk=size_bytes(document.get("chunk", "5MB")),
        quota=size_bytes(document["quota"]) if "quota" in document else None,
        keep_deleted=seconds(document.get("keep_deleted", "30d")),
        versions=bool(document.get("versions", False)),
        cache=size_bytes(document.get("cache", "500MB")),
        key=document.get("key", {}).get("secret", ""),
        access=tuple(
            Access(a["id"], a["secret"]["secret"], a.get("allow", "read-write"), a.get("prefix", ""))
            for a in document.get("access", ())
        ),
        expire=tuple(Expiry(e.get("prefix", ""), seconds(e["after"])) for e in document.get("expire", ())),
        cors=tuple(document.get("cors", ())),
        scrub=float(document.get("scrub", {}).get("share", 1)) / 100,
    )


def _share(entry: str | Mapping[str, Any]) -> Share:
    if isinstance(entry, str):
        return Share(entry)
    return Share(entry["node"], float(entry.get("weight", 1)), size_bytes(entry["quota"]) if "quota" in entry else None)
