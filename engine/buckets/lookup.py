"""Finds objects in the metadata: one, its versions, pages of many, where their chunks are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from automator67.engine.buckets.changes import split_ids
from automator67.engine.buckets.records import About, Chunk, Content, Version, about_of

_SELECT = (
    "SELECT key, id, ord, size, etag, created, about, contents, parts, marker, latest, replaced_at, deleted_at"
    " FROM versions"
)
_PRESENT = "latest AND NOT marker AND deleted_at IS NULL"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing: versions and common prefixes, both sorted; ``next``: what to go on after, "" at the end."""

    versions: tuple[Version, ...]
    prefixes: tuple[str, ...] = ()
    next: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """A chunk and the providers where it should be."""

    chunk: Chunk
    providers: tuple[str, ...]


def newest(db: sqlite3.Connection, key: str) -> Version | None:
    """Return the present version, which may be a marker; None when there is none."""
    row = db.execute(f"{_SELECT} WHERE key = ? AND latest ORDER BY ord DESC LIMIT 1", (key,)).fetchone()
    return _version(row) if row else None


def present(db: sqlite3.Connection, key: str) -> Version | None:
    """Return the present version of an object, None when it does not exist (any more)."""
    found = newest(db, key)
    return None if found is None or found.marker else found


def version(db: sqlite3.Connection, key: str, id_: str) -> Version | None:
    """Return a version of an object, deleted or not."""
    try:
        wanted = bytes.fromhex(id_)
    except ValueError:
        return None
    row = db.execute(f"{_SELECT} WHERE key = ? AND id = ?", (key, wanted)).fetchone()
    return _version(row) if row else None


def history(db: sqlite3.Connection, key: str) -> list[Version]:
    """Return every version of an object, deleted ones too, the newest first."""
    rows = db.execute(f"{_SELECT} WHERE key = ? ORDER BY ord DESC", (key,))
    return [_version(row) for row in rows]


def page(db: sqlite3.Connection, prefix: str, delimiter: str, after: str, limit: int) -> Page:
    """Return present objects whose names begin with ``prefix`` and come after ``after``, sorted by their UTF-8 bytes.

    Names that have ``delimiter`` behind the prefix are rolled up into common prefixes, each found by one look.
    """
    versions: list[Version] = []
    prefixes: list[str] = []
    end = after_prefix(prefix)
    low, strict = (after, True) if after >= prefix and after else (prefix, False)
    if delimiter and after.startswith(prefix) and rolled_up(after, prefix, delimiter) == after:
        low, strict = after_prefix(after), False
    while len(versions) + len(prefixes) < limit + 1:
        room = limit + 1 - len(versions) - len(prefixes)
        skip = ""
        for row in _range(db, low, strict, end, room):
            name = row[0]
            if rolled := rolled_up(name, prefix, delimiter):
                prefixes.append(rolled)
                skip = after_prefix(rolled)
                break
            versions.append(_version(row))
        if not skip:
            break
        low, strict = skip, False
    if len(versions) + len(prefixes) <= limit:
        return Page(tuple(versions), tuple(prefixes))
    # Python compares text by code points, which is the order of the UTF-8 bytes.
    names = sorted([*(v.key for v in versions), *prefixes])[:limit]
    last = names[-1] if names else ""
    kept = set(names)
    return Page(tuple(v for v in versions if v.key in kept), tuple(p for p in prefixes if p in kept), last or after)


def all_versions(
    db: sqlite3.Connection, prefix: str, after: tuple[str, int] | None, limit: int, *, deleted: bool = False
) -> list[Version]:
    """Return versions and markers by name and then the newest first, with ``deleted`` also those that are deleted.

    ``after`` is the name and order of the last one that is known.
    """
    where, values = ["key >= ?"] if deleted else ["key >= ?", "deleted_at IS NULL"], [prefix]
    if end := after_prefix(prefix):
        where.append("key < ?")
        values.append(end)
    more: tuple[object, ...] = ()
    if after is not None:
        where.append("(key > ? OR (key = ? AND ord < ?))")
        more = (after[0], after[0], after[1])
    rows = db.execute(
        f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY key, ord DESC LIMIT ?",
        (*values, *more, limit),
    )
    return [_version(row) for row in rows]


def content(db: sqlite3.Connection, id_: str) -> Content | None:
    """Return a content with its chunks; None when it is not known."""
    wanted, head = bytes.fromhex(id_), head_of_content(db, id_)
    if head is None:
        return None
    chunks = db.execute("SELECT b.name, c.off, c.len FROM chunks c JOIN blobs b ON b.id = c.blob WHERE c.content = ?"
                        " ORDER BY c.n", (wanted,))  # fmt: skip
    return Content(id_, *head, tuple(Chunk(*c) for c in chunks))


def head_of_content(db: sqlite3.Connection, id_: str) -> tuple[int, int, bytes] | None:
    """Return size, cut and wrapped key of a content."""
    row = db.execute("SELECT size, cut, key FROM contents WHERE id = ?", (bytes.fromhex(id_),)).fetchone()
    return (row[0], row[1], row[2]) if row else None


def copies_of(db: sqlite3.Connection, id_: str, index: int) -> Copy | None:
    """Return a chunk of a content and where it is."""
    rows = db.execute(
        "SELECT b.name, c.off, c.len, p.provider FROM chunks c JOIN blobs b ON b.id = c.blob"
        " LEFT JOIN copies p ON p.blob = b.id WHERE c.content = ? AND c.n = ? ORDER BY p.bad",
        (bytes.fromhex(id_), index),
    ).fetchall()
    if not rows:
        return None
    return Copy(Chunk(rows[0][0], rows[0][1], rows[0][2]), tuple(r[3] for r in rows if r[3] is not None))


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that is open."""

    id: str
    key: str
    about: About
    at: float


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload."""

    number: int
    content: str
    """"" for an empty part."""
    etag: str
    size: int
    at: float


def upload(db: sqlite3.Connection, id_: str) -> Upload | None:
    """Return an open upload."""
    row = db.execute("SELECT id, key, about, at FROM uploads WHERE id = ?", (id_,)).fetchone()
    return Upload(row[0], row[1], about_of(row[2]), row[3]) if row else None


def uploads(db: sqlite3.Connection, prefix: str, after: tuple[str, str], limit: int) -> list[Upload]:
    """Return open uploads of names that begin with ``prefix``, by name and id, from behind ``after`` (name and id)."""
    rows = db.execute(
        "SELECT id, key, about, at FROM uploads WHERE (key, id) > (?, ?) AND key >= ? AND substr(key, 1, ?) = ?"
        " ORDER BY key, id LIMIT ?",
        (*after, prefix, len(prefix), prefix, limit),
    )
    return [Upload(r[0], r[1], about_of(r[2]), r[3]) for r in rows]


def parts(db: sqlite3.Connection, upload_id: str, after: int = 0, limit: int = 10_000) -> list[Part]:
    """Return the parts of an upload that have come, by number."""
    rows = db.execute("SELECT number, content, etag, size, at FROM upload_parts WHERE upload = ? AND number > ?"
                      " ORDER BY number LIMIT ?", (upload_id, after, limit))  # fmt: skip
    return [Part(r[0], r[1].hex(), r[2], r[3], r[4]) for r in rows]


def _range(db: sqlite3.Connection, low: str, strict: bool, end: str, limit: int) -> Iterator[tuple]:  # type: ignore[type-arg]
    where = f"key {'>' if strict else '>='} ?" + (" AND key < ?" if end else "")
    return db.execute(
        f"{_SELECT} WHERE {where} AND {_PRESENT} ORDER BY key LIMIT ?",
        (low, *([end] if end else []), limit),
    )


def rolled_up(name: str, prefix: str, delimiter: str) -> str:
    """Return the common prefix under which a name is shown, "" where it is shown itself."""
    cut = name.find(delimiter, len(prefix)) if delimiter else -1
    return name[: cut + len(delimiter)] if cut >= 0 else ""


def after_prefix(prefix: str) -> str:
    """Return the least text that sorts after every one that begins with ``prefix``; "" where there is none."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return ""
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)


def _version(row: tuple) -> Version:  # type: ignore[type-arg]
    key, id_, order, size, etag, created, about, contents, parts, marker, latest, replaced, deleted = row
    return Version(
        key, id_.hex(), order, size, etag, created, about_of(about), tuple(c.hex() for c in split_ids(contents)),
        parts, bool(marker), bool(latest), replaced, deleted,
    )  # fmt: skip
