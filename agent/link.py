"""The way to the engine: TLS 1.3 with this node's certificate, and what went wrong said in words."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading
import time
from typing import Any, Literal, NamedTuple

from automator67.agent.http1 import Connection, EndOfStream, HttpError, Reply

Trouble = Literal["unreachable", "refused", "untrusted", "clock", "revoked", "answer"]

_CONNECT = 10.0
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the ssl module has no name for.
_NO_CHECK_TIME = 0x200000
_NOT_YET_VALID, _EXPIRED = 9, 10


class LinkError(OSError):
    """The engine cannot be talked to. ``trouble``: it is not there, it refuses our certificate, it is not the engine
    we joined, a clock is wrong, this node is revoked, or its answer is an error (``status``)."""

    def __init__(self, trouble: Trouble, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.trouble: Trouble = trouble
        self.status = status


class Place(NamedTuple):
    """Where the engine is."""

    host: str
    port: int


def place_of(url: str) -> Place:
    """Return host and port of ``https://HOST:PORT``. Raises ValueError saying what is wrong."""
    scheme, found, rest = url.partition("://")
    if not found or scheme != "https":
        raise ValueError(f"{url!r} is not an https:// address of an engine")
    host, _, port = rest.rstrip("/").rpartition(":")
    if not url.isascii():
        raise ValueError(f"{url!r} has letters that a host name cannot have; write it in its xn-- form")
    if not host or "/" in rest.rstrip("/") or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{url!r} is not of the form https://HOST:PORT")
    return Place(host.strip("[]"), int(port))


class Link:
    """Makes connections to one engine. ``interrupt`` and ``reload`` may be called from any thread."""

    def __init__(self, place: Place, ca: str, identity: str | None, context: ssl.SSLContext | None = None) -> None:
        self.place, self._ca, self._identity = place, ca, identity
        self._lock = threading.Lock()
        self._ignore_time = False
        self._context = context or self._make_context(self._identity)
        self.local_address = ""

    @property
    def clock_is_wrong(self) -> bool:
        """Whether the engine's certificate is out of its time by this node's clock."""
        return self._ignore_time

    def reload(self) -> None:
        """Take up a new certificate; connections made from now on show it."""
        with self._lock:
            self._ignore_time = False
            self._context = self._make_context(self._identity)

    def connect(self, anonymous: bool = False) -> Connection:
        """Connect and shake hands; ``anonymous``: without showing our certificate. Raises LinkError."""
        try:
            with self._lock:
                context = self._make_context(None) if anonymous else self._context
        except OSError as e:
            raise LinkError("untrusted", f"the CA or certificate of this node cannot be read: {_words(e)}") from None
        # As bytes: text would go through the IDNA codec, whose tables take a megabyte.
        host: Any = self.place.host.encode()
        try:
            sock = socket.create_connection((host, self.place.port), timeout=_CONNECT)
        except OSError as e:
            raise LinkError("unreachable", f"the engine at {self.where} does not answer: {_words(e)}") from None
        try:
            # A peer that vanished without a word is given up after 10 s of unacknowledged data.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.local_address = str(sock.getsockname()[0])
            return Connection(context.wrap_socket(sock, server_hostname=host), self.where)
        except ssl.SSLCertVerificationError as e:
            sock.close()
            raise self._not_trusted(e) from None
        except OSError as e:
            sock.close()
            raise LinkError("unreachable", f"no TLS connection to {self.where}: {_words(e)}") from None

    def request(self, conn: Connection, method: str, target: str, doc: object, timeout: float) -> Reply:
        """Send one request, with ``doc`` as JSON unless None. Raises LinkError; a 304 is an answer."""
        body = b"" if doc is None else json.dumps(doc, separators=(",", ":")).encode()
        try:
            reply = conn.request(method, target, body, timeout=timeout, limit=4 * 2**20)
        except (OSError, ssl.SSLError) as e:
            raise self.failure(e) from None
        if reply.status >= 400:
            raise _refusal(reply)
        return reply

    def once(self, method: str, target: str, doc: object, timeout: float, anonymous: bool = False) -> Any:
        """Send one request on a connection of its own and return the answer's JSON. Raises LinkError."""
        conn = self.connect(anonymous)
        try:
            return self.request(conn, method, target, doc, timeout).json()
        except HttpError as e:
            raise LinkError("answer", str(e)) from None
        finally:
            conn.close()

    def failure(self, e: Exception) -> LinkError:
        """Return what an error on an established connection means."""
        # With TLS 1.3 the client's handshake is done before the server has judged the client's certificate:
        # a refusal shows as an alert, or as the end of the connection, at the first read.
        alert = _alert(e)
        first_end = isinstance(e, EndOfStream) and e.first
        if alert or first_end or isinstance(e, ssl.SSLEOFError):
            why = f" ({alert})" if alert else ""
            return LinkError(
                "refused",
                f"the engine at {self.where} closed the connection right after the handshake{why}: it does not accept "
                "this node's certificate (expired, revoked, or of another cloud), or it is just stopping",
            )
        return LinkError("unreachable", f"no answer from the engine at {self.where}: {_words(e)}")

    @property
    def where(self) -> str:
        """Return HOST:PORT of the engine, as in a URL."""
        host = f"[{self.place.host}]" if ":" in self.place.host else self.place.host
        return f"{host}:{self.place.port}"

    def _make_context(self, identity: str | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # Our CA is pinned by its fingerprint and signs one server, the engine; node certificates are not valid for
        # a server. So the name under which a node reaches the engine (NAT, a bare address) need not be in it.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        if self._ignore_time:
            context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
        context.load_verify_locations(self._ca)
        if identity:
            context.load_cert_chain(identity)
        return context

    def _not_trusted(self, e: ssl.SSLCertVerificationError) -> LinkError:
        if e.verify_code in (_NOT_YET_VALID, _EXPIRED):
            # Clocks at boot are often wrong by years, and a node that trusted its clock here would stay away for
            # ever. The CA is still checked; the condition is reported.
            with self._lock:
                self._ignore_time = True
                self._context = self._make_context(self._identity)
            which = "not valid yet" if e.verify_code == _NOT_YET_VALID else "expired"
            return LinkError(
                "clock",
                f"by this machine's clock ({time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC) the engine's "
                f"certificate is {which}; check the clock here and there; connecting without regard to it",
            )
        return LinkError(
            "untrusted",
            f"what answers at {self.where} is not the engine this node joined ({e.verify_message}); nothing was sent "
            "to it; if the engine was set up anew, join again with a new token",
        )


def _refusal(reply: Reply) -> LinkError:
    text = ""
    with contextlib.suppress(HttpError, AttributeError):
        doc = reply.json()
        text = ": ".join(str(doc[k]) for k in ("error", "hint") if doc.get(k))
    if reply.status == 401:
        return LinkError("refused", f"the engine does not know this node's certificate: {text}", 401)
    if reply.status == 403:
        return LinkError("revoked", text or "the engine refuses this node", 403)
    return LinkError("answer", f"the engine answers {reply.status}: {text or 'no reason given'}", reply.status)


def _alert(e: Exception) -> str:
    """Return the words of a TLS alert that is about our certificate, such as ``certificate expired``."""
    if not isinstance(e, ssl.SSLError) or not e.reason or "ALERT" not in e.reason:
        return ""
    return e.reason.partition("ALERT_")[2].replace("_", " ").lower()


def _words(e: Exception) -> str:
    if isinstance(e, TimeoutError):
        return "no answer in time"
    if isinstance(e, OSError) and e.strerror:
        return os.strerror(e.errno) if e.errno and e.errno > 0 and not isinstance(e, ssl.SSLError) else e.strerror
    return str(e) or type(e).__name__
