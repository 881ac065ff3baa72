"""One HTTP client for the JSON APIs of providers: limits, waiting, retries, sizes and words for what went wrong.

A call that only reads is repeated after a fault, with growing pauses and jitter ("Exponential Backoff And Jitter",
AWS Architecture Blog, 2015: full jitter). One that writes is not: whether it was carried out is unknown, and the next
look at the provider tells. A 429 was not carried out, so any call is repeated after it, if the wait is short.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx

from automator67.engine.apis.limits import Allowance, Limit
from automator67.engine.breaker import Breaker, BreakerOpen
from automator67.engine.retry_after import retry_after

TIMEOUT = httpx.Timeout(20.0, connect=10.0)
MAX_ANSWER_BYTES = 16 * 2**20
TRIES = 3
PAUSES = (0.5, 4.0)
"""The first pause between tries and the longest, seconds."""
PATIENCE = 5.0
"""A longer wait than this is told instead of waited for: whoever asked comes back."""
LONGEST_QUIET = 3600.0
LOCAL = ("127.0.0.1", "::1", "localhost")

Query = Mapping[str, str | int | Sequence[str]]


Parts = Mapping[str, tuple[str, str]]
"""The parts of a form by name: text and media type."""


class Content(NamedTuple):
    """The bytes of a request, and the headers that say what they are."""

    data: bytes | None
    headers: Mapping[str, str]


class ApiError(Exception):
    """The API did not do or answer something; one line for a person. ``status`` is 0 where there was no answer.

    ``retry_after``: seconds that it asked us to wait.
    """

    def __init__(self, text: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after

    @property
    def missing(self) -> bool:
        """Whether the thing that was asked for is not there."""
        return self.status in (404, 410)


class Paused(ApiError):
    """The breaker lets no call out now."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What the client has to know of a provider. ``said`` finds the reason in the body of a refusal.

    ``limits`` are the documented ones, with where they are from beside them.
    """

    name: str
    base: str
    limits: tuple[Limit, ...] = ()
    said: tuple[str, ...] = ("message",)


class Client:
    """Speaks to one account of a provider; may be used from several threads, one call at a time.

    ``authorize`` gives the headers that let us in, and is asked for every call. ``base`` replaces the provider's own
    URL. Raises ApiError for a URL that is not encrypted, unless it is on this machine.
    """

    def __init__(
        self,
        provider: Provider,
        authorize: Callable[[], Mapping[str, str]],
        *,
        base: str = "",
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        timeout: httpx.Timeout = TIMEOUT,
        tries: int = TRIES,
        breaker: Breaker | None = None,
    ) -> None:
        """``breaker`` stands before the account; without one, the client has one of its own."""
        self._provider = provider
        self._base = httpx.URL((base or provider.base).rstrip("/"))
        if self._base.scheme != "https" and self._base.host not in LOCAL:
            raise ApiError(f"the token would go unencrypted to {self._base.host}: write https:// for the endpoint")
        self._authorize = authorize
        self._clock = clock
        self._tries = tries
        self._allowance = Allowance(provider.limits)
        self._breaker = breaker or Breaker(provider.name)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._http = httpx.Client(
            timeout=timeout, follow_redirects=False, trust_env=False, transport=transport,
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=60.0),
            headers={"User-Agent": "automator67", "Accept": "application/json"},
        )  # fmt: skip

    def get(self, path: str, query: Query | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """Return what is there. Raises ApiError."""
        return self.call("GET", path, query=query, headers=headers)

    def text(self, path: str, query: Query) -> str:
        """Return what an API of plain text answers to a GET. Raises ApiError."""
        return str(self.call("GET", path, query=query, plain=True))

    def delete(self, path: str, body: Any = None) -> None:
        """See to it that something is not there, also when it was not. Raises ApiError."""
        try:
            self.call("DELETE", path, body=body)
        except ApiError as error:
            if not error.missing:
                raise

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        parts: Parts | None = None,
        headers: Mapping[str, str] | None = None,
        plain: bool = False,
    ) -> Any:
        """Send a request below the base; return the answer as data, None for an empty one. Raises ApiError.

        ``parts`` go as a form (RFC 7578) in place of a JSON ``body``. ``plain``: the answer is text.
        """
        with self._lock:
            for left in reversed(range(self._tries)):
                try:
                    data = self._once(method, path, query, _content(body, parts), headers or {})
                    return data.decode(errors="replace") if plain else self._read(method, path, data)
                except ApiError as error:
                    pause = self._pause(method, error, self._tries - left)
                    if not left or pause is None or self._closed.wait(pause):
                        raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End a wait, and close the connection."""
        self._closed.set()
        self._http.close()

    def _pause(self, method: str, error: ApiError, tried: int) -> float | None:
        """Return how long to wait before the next try, None when there is none."""
        if isinstance(error, Paused):
            return None
        if error.status == 429:
            wait = error.retry_after if error.retry_after is not None else PATIENCE
            return wait if wait <= PATIENCE else None
        if method != "GET" or (0 < error.status < 500):
            return None
        return random.uniform(0, min(PAUSES[1], PAUSES[0] * 2.0**tried))  # noqa: S311

    def _once(self, method: str, path: str, query: Query | None, content: Content, headers: Mapping[str, str]) -> bytes:
        name = self._provider.name
        wait, why = self._allowance.wait(method, path, self._clock())
        if wait > PATIENCE:
            raise ApiError(f"{name}: no more calls for {wait:.0f} s: {why}", 429, wait)
        if wait and self._closed.wait(wait):
            raise ApiError(f"{name}: closed")
        try:
            with self._breaker.call(_in_trouble):
                return self._exchange(method, path, query, content, headers)
        except BreakerOpen as error:
            raise Paused(str(error), retry_after=error.wait) from None

    def _exchange(
        self, method: str, path: str, query: Query | None, content: Content, headers: Mapping[str, str]
    ) -> bytes:
        name = self._provider.name
        self._allowance.spend(method, path, self._clock())
        url = self._base.copy_with(raw_path=(self._base.raw_path.rstrip(b"/") + path.encode()))
        sent = {**content.headers, **self._authorize(), **headers}
        try:
            with self._http.stream(
                method, url, params=dict(query or {}) or None, content=content.data, headers=sent
            ) as answer:
                data = _body(answer)
                self._check(answer, data)
                return data
        except httpx.TimeoutException:
            raise ApiError(f"{name} does not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            raise ApiError(f"{name} cannot be reached: {' '.join(str(error).split())[:160]}") from None

    def _check(self, answer: httpx.Response, data: bytes) -> None:
        name, status = self._provider.name, answer.status_code
        if status >= 300:
            wait = _retry_after(answer)
            if status == 429:
                self._allowance.quiet(self._clock() + (PATIENCE if wait is None else wait))
            raise ApiError(
                f"{name} {_word(status)}: {_said(data, self._provider.said) or f'HTTP {status}'}", status, wait
            )

    def _read(self, method: str, path: str, data: bytes) -> Any:
        try:
            return json.loads(data) if data else None
        except (ValueError, RecursionError):
            name = self._provider.name
            raise ApiError(f"{name} answers {method} {path} with something that is not JSON", 200) from None


def _content(body: Any, parts: Parts | None) -> Content:
    if parts:
        form = {name: (name, text.encode(), kind) for name, (text, kind) in parts.items()}
        encoded = httpx.Request("POST", "http://localhost", files=form)
        return Content(encoded.read(), {"Content-Type": encoded.headers["Content-Type"]})
    if body is None:
        return Content(None, {})
    return Content(json.dumps(body, ensure_ascii=False).encode(), {"Content-Type": "application/json"})


def _in_trouble(error: Exception) -> bool:
    """Whether the provider failed; what it refuses, it has answered."""
    return isinstance(error, ApiError) and (error.status == 0 or error.status >= 500)


def _word(status: int) -> str:
    if status in (401, 403):
        return "does not let us in" if status == 401 else "does not allow this"
    if status in (404, 410):
        return "does not have it"
    return {409: "has a conflict", 429: "asks to wait"}.get(status, "is in trouble" if status >= 500 else "refused")


def _body(answer: httpx.Response) -> bytes:
    found = bytearray()
    for part in answer.iter_bytes():
        found += part
        if len(found) > MAX_ANSWER_BYTES:
            raise httpx.ReadError(f"the answer has more than {MAX_ANSWER_BYTES >> 20} MiB")
    return bytes(found)


def _said(data: bytes, keys: Iterable[str]) -> str:
    """Return the reason in a refusal's body: the first text at one of the paths (``error.message``)."""
    try:
        doc = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    for key in keys:
        found: Any = doc
        for part in key.split("."):
            found = found[0] if isinstance(found, list) and found else found
            found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, str) and found:
            return " ".join(found.split())[:200]
    return ""


def _retry_after(answer: httpx.Response) -> float | None:
    """Return the seconds in Retry-After or in Ratelimit-Reset."""
    text = answer.headers.get("retry-after") or answer.headers.get("ratelimit-reset", "")
    found = retry_after(text, time.time())
    return None if found is None else min(LONGEST_QUIET, found)
