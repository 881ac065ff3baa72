"""Carries changes out in the metadata: the same for what is new and for what is read back from the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from automator67.engine.buckets.records import About, Change, Content, Drop, Put, Rewrap, Tag, about_of, about_text


def apply(tx: sqlite3.Connection, changes: Iterable[Change], blob: str, base: int) -> None:
    """Carry changes out that stand in ``blob``, whose data begin ``base`` bytes after its beginning."""
    for change in changes:
        match change:
            case Put():
                _put(tx, change, blob, base)
            case Drop(how="purge"):
                _purge(tx, change)
            case Drop():
                at = change.at if change.how == "hide" else None
                tx.execute("UPDATE versions SET deleted_at = ? WHERE key = ? AND id = ?",
                           (at, change.key, bytes.fromhex(change.version)))  # fmt: skip
                _settle(tx, change.key, change.at)
            case Tag():
                _tag(tx, change)
            case Rewrap():
                tx.execute("UPDATE contents SET key = ? WHERE id = ?", (change.key, bytes.fromhex(change.content)))


def add_content(tx: sqlite3.Connection, content: Content, blob: str, base: int) -> None:
    """Note a content and where its chunks are, if it is new; their blobs count as live from now on."""
    id_ = bytes.fromhex(content.id)
    made = tx.execute("INSERT OR IGNORE INTO contents VALUES (?, ?, ?, ?, 0)",
                      (id_, content.size, content.cut, content.key))  # fmt: skip
    if not made.rowcount:
        return
    for n, chunk in enumerate(content.chunks):
        name, offset = (chunk.blob, chunk.offset) if chunk.blob else (blob, base + chunk.offset)
        # Where the metadata are rebuilt, blobs become known by what refers to them.
        tx.execute(
            "INSERT INTO blobs (name, size, state, at, session, live) VALUES (?, ?, 'live', 0, '', 1)"
            " ON CONFLICT (name) DO UPDATE SET state = 'live', live = live + 1",
            (name, chunk.length),
        )
        tx.execute("INSERT INTO chunks SELECT ?, ?, id, ?, ? FROM blobs WHERE name = ?",
                   (id_, n, offset, chunk.length, name))  # fmt: skip


def drop_content(tx: sqlite3.Connection, content: bytes) -> None:
    """Let one go who needed a content; with the last one, its chunks are needed no more."""
    tx.execute("UPDATE contents SET refs = refs - 1 WHERE id = ?", (content,))
    row = tx.execute("SELECT refs FROM contents WHERE id = ?", (content,)).fetchone()
    if row is None or row[0] > 0:
        return
    tx.execute(
        "UPDATE blobs SET live = live - (SELECT count(*) FROM chunks WHERE content = ? AND blob = blobs.id)"
        " WHERE id IN (SELECT blob FROM chunks WHERE content = ?)",
        (content, content),
    )
    tx.execute("DELETE FROM chunks WHERE content = ?", (content,))
    tx.execute("DELETE FROM contents WHERE id = ?", (content,))


def split_ids(joined: bytes) -> list[bytes]:
    """Return the ids of contents that stand one after the other."""
    return [joined[i : i + 16] for i in range(0, len(joined), 16)]


def _put(tx: sqlite3.Connection, change: Put, blob: str, base: int) -> None:
    v = change.version
    for content in change.new:
        add_content(tx, content, blob, base)
    ids = [bytes.fromhex(c) for c in v.contents]
    if change.upload:
        for (part,) in tx.execute("SELECT content FROM upload_parts WHERE upload = ?", (change.upload,)).fetchall():
            if part not in ids:
                drop_content(tx, part)
        tx.execute("DELETE FROM uploads WHERE id = ?", (change.upload,))
        tx.execute("DELETE FROM upload_parts WHERE upload = ?", (change.upload,))
    for id_ in ids:
        tx.execute("UPDATE contents SET refs = refs + 1 WHERE id = ?", (id_,))
    tx.execute("UPDATE versions SET latest = 0, replaced_at = ? WHERE key = ? AND latest", (v.created, v.key))
    tx.execute(
        "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, NULL, NULL)",
        (v.key, v.order, bytes.fromhex(v.id), v.size, v.etag, v.created, about_text(v.about), b"".join(ids), v.parts,
         v.marker),
    )  # fmt: skip


def _purge(tx: sqlite3.Connection, change: Drop) -> None:
    which = (change.key, bytes.fromhex(change.version))
    row = tx.execute("SELECT contents FROM versions WHERE key = ? AND id = ?", which).fetchone()
    if row is None:
        return
    tx.execute("DELETE FROM versions WHERE key = ? AND id = ?", which)
    for content in split_ids(row[0]):
        drop_content(tx, content)
    _settle(tx, change.key, change.at)


def _settle(tx: sqlite3.Connection, key: str, at: float) -> None:
    """The newest version that is not deleted is the present one."""
    row = tx.execute("SELECT max(ord) FROM versions WHERE key = ? AND deleted_at IS NULL", (key,)).fetchone()
    tx.execute("UPDATE versions SET latest = 0, replaced_at = coalesce(replaced_at, ?) WHERE key = ? AND latest"
               " AND ord IS NOT ?", (at, key, row[0]))  # fmt: skip
    tx.execute("UPDATE versions SET latest = 1, replaced_at = NULL WHERE key = ? AND ord = ?", (key, row[0]))


def _tag(tx: sqlite3.Connection, change: Tag) -> None:
    which = (change.key, bytes.fromhex(change.version))
    row = tx.execute("SELECT about FROM versions WHERE key = ? AND id = ?", which).fetchone()
    if row is not None:
        old = about_of(row[0])
        about = About(old.content_type, old.headers, old.metadata, change.tags)
        tx.execute("UPDATE versions SET about = ? WHERE key = ? AND id = ?", (about_text(about), *which))
