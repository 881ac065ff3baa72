"""Where a shard is and how to log in there: a PostgreSQL URL, read. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_LOCAL = ("localhost", "127.0.0.1", "::1")


class BadUrl(Exception):
    """A URL cannot be used; one line that never holds the password."""


@dataclass(frozen=True, slots=True)
class Address:
    """``host`` is a name, or the folder of a Unix socket. ``tls`` is libpq's sslmode; ``ca`` the file it trusts."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    tls: str
    ca: str = ""
    options: str = ""

    @property
    def socket(self) -> str:
        """The path of the Unix socket, or nothing."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else ""


def read_url(url: str) -> Address:
    """Read ``postgresql://user:password@host:port/database?sslmode=...``. Raises BadUrl.

    Without sslmode a connection to another machine must be TLS (libpq would also accept clear text).
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadUrl("the URL cannot be read; write postgresql://user:password@host:port/database") from None
    query = dict(parse_qsl(parts.query))
    host = query.get("host") or unquote(parts.hostname or "")
    user = unquote(parts.username or query.get("user", ""))
    if parts.scheme not in ("postgresql", "postgres") or not host or not user:
        raise BadUrl("the URL needs a user and a host: postgresql://user:password@host:port/database")
    local = host in _LOCAL or host.startswith("/")
    tls = query.get("sslmode", "prefer" if local else "require")
    if tls not in TLS_MODES:
        raise BadUrl(f"sslmode {tls} is not known; it is one of {', '.join(TLS_MODES)}")
    return Address(
        host, port or int(query.get("port", 5432)), user, unquote(parts.password or ""),
        unquote(parts.path.lstrip("/")) or user, tls, query.get("sslrootcert", ""), query.get("options", ""),
    )  # fmt: skip
