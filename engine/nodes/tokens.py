"""Join tokens: one node, one use, an hour; stored only as a hash."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from automator67.engine.nodes.certificates import same_secret
from automator67.engine.store.tables import join_tokens

TTL_SECONDS = 3600.0
NODE_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")


class TokenRefused(Exception):
    """The token is wrong, used or expired. Which of these is not told to the other side."""


@dataclass(frozen=True, slots=True)
class Token:
    """A new token as it is printed once: ``text`` is what the join command takes."""

    text: str
    node: str
    expires: float


def make_token(tx: Connection, node: str, fingerprint: str, now: float, ttl: float = TTL_SECONDS) -> Token:
    """Record a new token for a node and return it. Raises ValueError for what cannot be a node's name."""
    if not NODE_NAME.match(node):
        raise ValueError(f"{node!r} cannot be a node's name: use lower-case letters, digits and inner hyphens")
    tx.execute(delete(join_tokens).where(join_tokens.c.expires_at < now - 86400))
    token_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    tx.execute(
        insert(join_tokens).values(
            id=token_id, secret_hash=_hash(secret), node=node, created_at=now, expires_at=now + ttl
        )
    )
    return Token(f"a67.{fingerprint}.{token_id}.{secret}", node, now + ttl)


def use_token(tx: Connection, text: str, now: float) -> str:
    """Use up a token (``ID.SECRET``) and return its node. Raises TokenRefused; then it may still be used by another."""
    token_id, _, secret = text.partition(".")
    row = tx.execute(select(join_tokens).where(join_tokens.c.id == token_id)).one_or_none()
    known = row.secret_hash if row is not None else _hash("")
    right = same_secret(known, _hash(secret))
    if row is None or not right or row.used_at is not None or row.expires_at < now:
        raise TokenRefused("the token is wrong, was used before, or has expired")
    once = update(join_tokens).where(join_tokens.c.id == token_id, join_tokens.c.used_at.is_(None))
    if tx.execute(once.values(used_at=now)).rowcount != 1:
        raise TokenRefused("the token is wrong, was used before, or has expired")
    return str(row.node)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
