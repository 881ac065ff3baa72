"""GitHub's commit statuses, on github.com or an Enterprise server, one request for each.

API: ``POST /repos/{owner}/{repo}/statuses/{sha}``, version 2022-11-28; rate limits as in GitHub's "Rate limits for
the REST API" and "Best practices for using the REST API": requests one after the other, none while we are told to
wait.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx

from automator67.engine.breaker import Breaker, BreakerOpen
from automator67.engine.forges.remote import GITHUB
from automator67.engine.forges.reporter import PostFailed
from automator67.engine.forges.statuses import Due
from automator67.engine.retry_after import retry_after

HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
"""What says which version of the API is spoken."""
TIMEOUT_SECONDS = 10.0
_MAX_ANSWER_BYTES = 64 * 2**10
_REDIRECTS = (301, 302, 307, 308)
_MAX_HOPS = 2
_SECONDARY_SECONDS = 60.0
_LONGEST_WAIT = 3600.0


class _Trouble(Exception):
    """GitHub answers that it failed; one line."""


class GitHub:
    """Posts commit statuses to one repository.

    ``token`` is asked for with every batch, so it may be replaced while running. ``link`` gives the page that a
    status leads to, or None. ``api`` is ``https://api.github.com`` or ``https://HOST/api/v3``. Raises ValueError for
    an API that is not encrypted, unless it is on this machine.
    """

    def __init__(
        self,
        owner: str,
        repo: str,
        token: Callable[[], str],
        *,
        api: str = GITHUB,
        link: Callable[[Due], str | None] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
        breaker: Breaker | None = None,
    ) -> None:
        self._base = httpx.URL(api.rstrip("/") + "/")
        if self._base.scheme != "https" and self._base.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"the token would go unencrypted to {self._base.host}: write https:// for the API")
        self._path = f"repos/{owner}/{repo}/statuses/"
        self._name = f"{owner}/{repo}"
        self._token = token
        self._link = link
        self._clock = clock
        self._timeout = timeout
        self._quiet_until = 0.0
        self._breaker = breaker or Breaker("GitHub")
        self._client = httpx.Client(
            timeout=timeout,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60.0),
            headers={**HEADERS, "User-Agent": "automator67"},
        )

    def post(self, batch: Sequence[Due]) -> Iterator[tuple[Due, PostFailed | None]]:
        """Post one after the other. When GitHub asks to wait, the rest is not tried."""
        try:
            token = self._token().strip()
        except OSError as error:
            token, missing = "", f"the GitHub token cannot be read: {error.strerror}"
        else:
            missing = "the GitHub token is empty or has characters that no token has"
        usable = token.isascii() and token.isprintable() and " " not in token and token != ""
        for item in batch:
            yield item, self._try(item, token) if usable else PostFailed(missing, permanent=True)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _try(self, item: Due, token: str) -> PostFailed | None:
        wait = self._quiet_until - self._clock()
        if wait > 0:
            return PostFailed("GitHub asks to wait; trying again later", retry_after=wait)
        try:
            with self._breaker.call(lambda error: isinstance(error, (httpx.HTTPError, _Trouble))):
                failure = self._send(item, token)
        except BreakerOpen as error:
            return PostFailed(str(error), retry_after=error.wait)
        except _Trouble as error:
            return PostFailed(str(error))
        except httpx.TimeoutException:
            return PostFailed(f"GitHub did not answer within {self._timeout:.0f} s; trying again later")
        except httpx.HTTPError as error:
            return PostFailed(f"GitHub cannot be reached: {_line(str(error), token)}; trying again later")
        except httpx.InvalidURL:
            return PostFailed("GitHub sends us on to something that is no URL", permanent=True)
        if failure is not None and failure.retry_after is not None:
            self._quiet_until = self._clock() + failure.retry_after
        return failure

    def _send(self, item: Due, token: str) -> PostFailed | None:
        body: dict[str, Any] = {"state": item.status.state, "context": item.status.context}
        body["description"] = item.status.description
        link = self._link(item) if self._link else None
        if link:
            body["target_url"] = link
        url = self._base.join(self._path + item.commit)
        for _ in range(_MAX_HOPS + 1):
            response, content = self._exchange(url, body, token)
            if response.status_code not in _REDIRECTS or not response.has_redirect_location:
                return None if response.status_code == 201 else self._explain(response, content, item, token)
            url = url.join(response.headers["Location"])
            if _origin(url) != _origin(self._base):
                return PostFailed(
                    f"GitHub sends us on to {url.host}, where the token does not belong; has {self._name} moved?",
                    permanent=True,
                )
        return PostFailed(f"GitHub sends us round in circles for {self._name}", permanent=True)

    def _exchange(self, url: httpx.URL, body: dict[str, Any], token: str) -> tuple[httpx.Response, bytes]:
        end = time.monotonic() + 3 * self._timeout
        headers = {"Authorization": f"Bearer {token}"}
        with self._client.stream("POST", url, json=body, headers=headers) as response:
            content = b""
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > _MAX_ANSWER_BYTES or time.monotonic() > end:
                    break
            return response, content

    def _explain(self, response: httpx.Response, content: bytes, item: Due, token: str) -> PostFailed:
        """Say what a refusal means and what to do about it."""
        said = _line(_message(content), token)
        status, headers = response.status_code, response.headers
        wait = self._asked_to_wait(status, headers, said)
        if wait is not None:
            return PostFailed(f"GitHub's rate limit is used up ({said or status}); waiting", retry_after=wait)
        if status == 401:
            text = "GitHub does not accept the token: it is wrong, expired or revoked; make a new one"
        elif status == 403 and "x-github-sso" in headers:
            text = f"the organisation of {self._name} wants the token authorised for single sign-on first"
        elif status == 403:
            text = (
                f"the token may not write commit statuses of {self._name}: give it 'Commit statuses: write'"
                f" (classic tokens: repo:status) ({said})"
            )
        elif status == 404:
            text = (
                f"GitHub knows no repository {self._name}, or the token may not see it: check the name, and that the"
                " token has 'Commit statuses: write' there"
            )
        elif status == 422 and "no commit found" in said.lower():
            return PostFailed(f"{self._name} at GitHub has no commit {item.commit[:12]} (yet); trying again later")
        elif status >= 500:
            raise _Trouble(f"GitHub has trouble of its own ({status}); trying again later")
        else:
            text = f"GitHub refuses status {item.status.context!r} of {item.commit[:12]}: {status} {said}"
        return PostFailed(text, permanent=True)

    def _asked_to_wait(self, status: int, headers: httpx.Headers, said: str) -> float | None:
        if status not in (403, 429):
            return None
        now = self._clock()
        wait = retry_after(headers.get("Retry-After", ""), now)
        if wait is None and headers.get("X-RateLimit-Remaining") == "0":
            wait = _number(headers.get("X-RateLimit-Reset", ""), now + _SECONDARY_SECONDS) - now
        if wait is None and (status == 429 or "rate limit" in said.lower()):
            wait = _SECONDARY_SECONDS
        return None if wait is None else min(max(wait, 1.0), _LONGEST_WAIT)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _number(text: str, otherwise: float) -> float:
    return float(text) if text.isascii() and text.isdigit() else otherwise


def _message(content: bytes) -> str:
    """Return the message and the first error of GitHub's JSON, or nothing."""
    try:
        answer = json.loads(content)
    except ValueError:
        return ""
    if not isinstance(answer, dict):
        return ""
    errors = answer.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else ""
    detail = first.get("message", "") if isinstance(first, dict) else first
    return ": ".join(str(part) for part in (answer.get("message", ""), detail) if part)


def _line(text: str, token: str) -> str:
    safe = text.replace(token, "***") if token else text
    return " ".join("".join(c if c.isprintable() else " " for c in safe).split())[:200]
