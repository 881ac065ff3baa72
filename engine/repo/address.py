"""Where a repository is: reads a person's URL, keeps what may be stored and shown apart from what may not."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

Scheme = Literal["https", "http", "ssh", "file"]

_SCP_LIKE = re.compile(
    r"(?P<user>[A-Za-z0-9_][\w.-]*)@(?P<host>[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\]):(?P<path>.+)", re.A
)
_HOST = re.compile(r"[A-Za-z0-9_][\w.-]*|[0-9A-Fa-f:.]+", re.A)
_PORTS = {"https": 443, "http": 80, "ssh": 22}


class BadAddress(ValueError):
    """A text that is not the address of a repository that may be used; says why and what to write."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a repository. ``url`` is what git takes; it carries no secret and may be stored and shown.

    ``host`` and ``port`` are empty and 0 for files. ``secret`` is what the person wrote as the password in the URL.
    """

    scheme: Scheme
    host: str
    port: int
    path: str
    user: str
    url: str
    secret: str = field(default="", repr=False)

    @property
    def is_web(self) -> bool:
        """Whether it is spoken to over HTTP or HTTPS."""
        return self.scheme in ("https", "http")


def parse(text: str, *, allow_http: bool = False) -> Address:
    """Read ``https://``, ``http://``, ``ssh://``, ``user@host:path``, ``file://`` or a plain path.

    Plain HTTP is for loopback only, unless ``allow_http``. Raises BadAddress.
    """
    if not text or text != text.strip() or re.search(r"[\x00-\x1f\x7f]", text):
        raise BadAddress("the repository's URL is empty or has blanks or control characters around it")
    if "://" not in text:
        scp = _SCP_LIKE.fullmatch(text)
        if scp:
            return Address("ssh", scp["host"].strip("[]").lower(), 22, scp["path"], scp["user"], text)
        return _plain_path(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadAddress(f"{_shown(text)!r} is not a URL: check the host and the port") from None
    scheme = parts.scheme.lower()
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise BadAddress(f"{_shown(text)!r} names the host {parts.netloc!r}; write file:///PATH")
        return _file(unquote(parts.path))
    if scheme not in _PORTS:
        raise BadAddress(
            f"{_shown(text)!r}: {scheme}:// is not supported; use https://, ssh://, git@HOST:PATH or file://"
        )
    if not _HOST.fullmatch(host):
        raise BadAddress(f"{_shown(text)!r} names no host")
    if not parts.path.strip("/"):
        raise BadAddress(f"{_shown(text)!r} names no repository on {host}")
    port = port or _PORTS[scheme]
    user = unquote(parts.username or "")
    if scheme == "ssh":
        return _ssh(user or "git", host, port, parts.path, text)
    if scheme == "http" and not (allow_http or is_loopback(host)):
        raise BadAddress(f"{_shown(text)!r} is not encrypted; use https://, or allow plain http explicitly")
    place = _place(host, port, scheme)
    query = f"?{parts.query}" if parts.query else ""
    url = f"{scheme}://{place}{parts.path}{query}"
    web: Literal["https", "http"] = "https" if scheme == "https" else "http"
    return Address(web, host.lower(), port, parts.path, user, url, unquote(parts.password or ""))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL, for asking whether two are the same party."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme, 0)


def _plain_path(text: str) -> Address:
    first, _, rest = text.partition("/")
    if ":" in first:
        raise BadAddress(f"{text!r} is neither a path nor a URL; for SSH write git@{first.split(':')[0]}:PATH")
    if "." in first.strip(".") and rest and not Path(text).exists():
        raise BadAddress(f"{text!r} is no path here; did you mean https://{text}?")
    return _file(text)


def _ssh(user: str, host: str, port: int, path: str, text: str) -> Address:
    if urlsplit(text).password:
        raise BadAddress(f"{_shown(text)!r}: SSH takes a key file, not a password in the URL")
    place = _place(host, port, "ssh")
    return Address("ssh", host.lower(), port, path, user, f"ssh://{quote(user)}@{place}{path}")


def _file(text: str) -> Address:
    path = str(Path(text).expanduser().absolute())
    return Address("file", "", 0, path, "", "file://" + quote(path))


def _place(host: str, port: int, scheme: str) -> str:
    named = f"[{host}]" if ":" in host else host
    return named if port == _PORTS[scheme] else f"{named}:{port}"


def _shown(text: str) -> str:
    """The text without what may be a user and a password."""
    return re.sub(r"//[^/@]*@", "//", text)
