"""What a bucket remembers of its objects, as plain values, and how it is written into the log. Pure.

Units: sizes in bytes, times in seconds since the epoch. Ids are 32 lower-case hex digits.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from automator67.engine.buckets.errors import BadRequest

MAX_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class About:
    """What an object says of itself: ``headers`` are the standard ones to be sent with it, by lower-case name."""

    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expect:
    """A condition on the present version of a key: ``etag`` is the one it must have, ``absent`` that there is none."""

    etag: str | None = None
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a sealed chunk lies: in the blob of that name, ``length`` bytes from ``offset``.

    An empty ``blob`` stands, in a record of the log, for the blob that holds the record itself, and ``offset`` counts
    from the beginning of that blob's data.
    """

    blob: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes under one data key: ``size`` of them, cut every ``cut`` bytes. ``key`` is the wrapped data key."""

    id: str
    size: int
    cut: int
    key: bytes
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object. ``order`` grows with every change of the bucket; ``marker``: it says "deleted".

    ``contents`` are the ids of what it consists of, in order; ``parts``: in how many parts it came (0: at once).
    """

    key: str
    id: str
    order: int
    size: int
    etag: str
    created: float
    about: About
    contents: tuple[str, ...] = ()
    parts: int = 0
    marker: bool = False
    latest: bool = True
    replaced_at: float | None = None
    """Since when a newer version is the present one."""
    deleted_at: float | None = None
    """Since when this very version counts as deleted; it can be restored for a while."""


@dataclass(frozen=True, slots=True)
class Put:
    """Make a version the present one. ``new`` are the contents that the log does not know yet.

    ``expect`` and ``upload`` (the upload that ends with it) count only when it happens, and are not logged.
    """

    version: Version
    new: tuple[Content, ...] = ()
    expect: Expect | None = None
    upload: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """``hide``: count a version as deleted; ``purge``: forget it; ``show``: take a ``hide`` back."""

    key: str
    version: str
    how: Literal["hide", "purge", "show"]
    at: float


@dataclass(frozen=True, slots=True)
class Tag:
    """Give a version other tags."""

    key: str
    version: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rewrap:
    """The data key of a content, wrapped with another bucket key."""

    content: str
    key: bytes


Change = Put | Drop | Tag | Rewrap
"""One step in the life of a bucket, as the log has it."""


def check_key(key: str) -> None:
    """Raise BadRequest unless ``key`` can name an object: 1 to 1024 bytes of UTF-8."""
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise BadRequest("the name of an object must be valid UTF-8") from None
    if not 1 <= length <= MAX_KEY_BYTES:
        raise BadRequest(f"the name of an object has 1 to {MAX_KEY_BYTES} bytes, not {length}")


def about_text(about: About) -> str:
    """Return what an object says of itself as JSON, without what is usual."""
    parts = {"c": about.content_type, "h": about.headers, "m": about.metadata, "t": about.tags}
    return json.dumps({k: v for k, v in parts.items() if v}, ensure_ascii=False, separators=(",", ":"), default=dict)


def about_of(text: str) -> About:
    """Return what ``about_text`` wrote."""
    data = json.loads(text)
    return About(data.get("c", ""), data.get("h", {}), data.get("m", {}), data.get("t", {}))


def log_text(changes: Iterable[Change]) -> bytes:
    """Return changes as they stand in the log: one line of JSON each."""
    return b"\n".join(
        json.dumps(_data(c), ensure_ascii=False, separators=(",", ":")).encode() for c in changes
    )  # fmt: skip


def changes_of(text: bytes) -> list[Change]:
    """Return the changes that ``log_text`` wrote."""
    return [_change(json.loads(line)) for line in text.split(b"\n") if line]


def _data(change: Change) -> dict[str, Any]:
    match change:
        case Put(version=v):
            return {
                "do": "put", "key": v.key, "id": v.id, "size": v.size, "etag": v.etag, "at": v.created,
                "about": about_text(v.about), "of": v.contents, "parts": v.parts, "marker": v.marker,
                "new": [_content_data(c) for c in change.new],
            }  # fmt: skip
        case Drop():
            return {"do": change.how, "key": change.key, "id": change.version, "at": change.at}
        case Tag():
            return {"do": "tag", "key": change.key, "id": change.version, "tags": dict(change.tags)}
        case Rewrap():
            return {"do": "rewrap", "id": change.content, "wrapped": base64.b64encode(change.key).decode()}


def _content_data(content: Content) -> list[Any]:
    wrapped = base64.b64encode(content.key).decode()
    return [content.id, content.size, content.cut, wrapped, [[c.blob, c.offset, c.length] for c in content.chunks]]


def _change(data: Mapping[str, Any]) -> Change:
    if data["do"] == "put":
        new = tuple(
            Content(id_, size, cut, base64.b64decode(key), tuple(Chunk(*chunk) for chunk in chunks))
            for id_, size, cut, key, chunks in data["new"]
        )
        version = Version(
            data["key"], data["id"], 0, data["size"], data["etag"], data["at"], about_of(data["about"]),
            tuple(data["of"]), data["parts"], data["marker"],
        )  # fmt: skip
        return Put(version, new)
    if data["do"] == "tag":
        return Tag(data["key"], data["id"], data["tags"])
    if data["do"] == "rewrap":
        return Rewrap(data["id"], base64.b64decode(data["wrapped"]))
    return Drop(data["key"], data["id"], data["do"], data["at"])
