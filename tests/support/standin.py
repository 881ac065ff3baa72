"""Stand-ins for providers' APIs: programs with a memory, held to the published description on both sides.

Every request is checked before it is answered, and every answer before it leaves; what breaks the description is kept
in ``broken`` and answered with 599, so that no test that made it can pass. ``Reached`` puts a stand-in in the place of
an HTTP transport, ``served`` behind a real socket.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from automator67.engine.apis.limits import Limit
from tests.support.openapi import ContractBroken, Described


@dataclass
class Call:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    data: bytes
    at: float

    @property
    def body(self) -> Any:
        """The body as data."""
        return json.loads(self.data) if self.data else None

    def asked(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return self.query.get(name, [default])[0]


class Refused(Exception):
    """What a handler raises for an answer that is a refusal."""

    def __init__(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, dict(headers or {})


class HungUp(Exception):
    """What a fault raises to break the connection, or (``silent``) never to answer."""

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__()
        self.silent = silent


Answer = tuple[int, Any]
Handler = Callable[[Call], Answer]


def below(base: str, limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """Return limits for whole paths of those for the paths below an API's base."""
    return tuple(replace(limit, path=base + limit.path if limit.path else "") for limit in limits)


@dataclass
class StandIn:
    """A provider. ``answer`` is its own behaviour, ``fault`` comes before it and may raise Refused or HungUp."""

    described: Described | None
    answer: Handler
    limits: tuple[Limit, ...] = ()
    token: str = ""
    lets_in: str = "authorization"
    scheme: str = "Bearer "
    """The header that holds the token, and what stands before it."""
    refusal: Callable[[int], Any] = lambda status: {"message": f"refused with {status}"}
    calls: list[Call] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    fault: Callable[[Call], None] = lambda call: None
    afterwards: Callable[[Call], None] = lambda call: None
    """As ``fault``, but when the request has been carried out."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[Limit, list[float]] = defaultdict(list)

    def take(self, method: str, url: str, headers: Mapping[str, str], data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Answer a request. Raises HungUp."""
        parts = urlsplit(url)
        lower = {k.lower(): v for k, v in headers.items()}
        query = parse_qs(parts.query, keep_blank_values=True)
        with self._lock:
            call = Call(method, parts.path, query, lower, data, self.clock())
            self.calls.append(call)
            try:
                self._check(call)
                status, body, more = self._answered(call)
                content = b"" if body is None else json.dumps(body).encode()
                if self.described is not None:
                    self.described.check_answer(method, call.path, status, content)
            except ContractBroken as error:
                self.broken.append(str(error))
                return 599, {}, str(error).encode()
            return status, {"Content-Type": "application/json", **more}, content

    def writes(self) -> list[Call]:
        """The calls that may change something."""
        return [c for c in self.calls if c.method != "GET"]

    def _check(self, call: Call) -> None:
        if self.described is not None:
            kind = call.headers.get("content-type", "").partition(";")[0]
            self.described.check_request(call.method, call.path, call.query, kind, call.data)
        if not call.headers.get("user-agent"):
            raise ContractBroken("no User-Agent")
        for limit in self.limits:
            if limit.covers(call.method, call.path):
                recent = [at for at in self._sent[limit] if at > call.at - limit.seconds]
                if len(recent) >= limit.count:
                    raise ContractBroken(f"{call.method} {call.path}: more than {limit.text}")
                self._sent[limit] = [*recent, call.at]

    def _answered(self, call: Call) -> tuple[int, Any, dict[str, str]]:
        try:
            self.fault(call)
            if self.token and call.headers.get(self.lets_in) != f"{self.scheme}{self.token}":
                raise Refused(401)
            status, body = self.answer(call)
            self.afterwards(call)
            return status, body, {}
        except Refused as error:
            return error.status, error.body if error.body is not None else self.refusal(error.status), error.headers


class Reached(httpx.BaseTransport):
    """The way to a stand-in without a socket."""

    def __init__(self, standin: StandIn) -> None:
        self._standin = standin

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the request on."""
        try:
            status, headers, body = self._standin.take(
                request.method, str(request.url), dict(request.headers), request.read()
            )
        except HungUp as error:
            if error.silent:
                raise httpx.ReadTimeout("silent", request=request) from None
            raise httpx.RemoteProtocolError("the connection was broken off", request=request) from None
        return httpx.Response(status, headers=headers, content=body, request=request)


@contextlib.contextmanager
def served(standin: StandIn) -> Iterator[str]:
    """Serve a stand-in on the loopback interface; give its URL."""

    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            try:
                status, headers, body = standin.take(self.command, self.path, dict(self.headers.items()), data)
            except HungUp as error:
                if error.silent:
                    time.sleep(60)
                self.close_connection = True
                return
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


FAULTS: Mapping[str, Callable[[], Exception]] = {
    **{str(code): lambda code=code: Refused(code) for code in (401, 403, 404, 409, 422, 500)},
    "429": lambda: Refused(429, headers={"Retry-After": "90"}),
    "silent": lambda: HungUp(silent=True), "half-open": HungUp,
}  # fmt: skip
"""Ways of not being answered, by name."""
