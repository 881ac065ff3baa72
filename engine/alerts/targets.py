"""Sends a message to a target: by Apprise, or to a web hook of one's own as JSON.

Apprise (https://github.com/caronc/apprise) knows the services and their limits. A plain http:// or https:// URL that it
does not know as one of theirs gets the message as data, with its id in the header ``Idempotency-Key``
(draft-ietf-httpapi-idempotency-key-header). Whatever a failure says, no part of the URL is in it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import apprise
import httpx

from automator67.engine.retry_after import retry_after

TIMEOUT = 10.0
"""Seconds a web hook may take."""
_ASSET = apprise.AppriseAsset(
    app_id="automator67", app_desc="automator67", app_url="", async_mode=False, secure_logging=True
)
# What Apprise logs names targets; it is caught below and told without them.
logging.getLogger("apprise").propagate = False
_PLAIN = ("http://", "https://")
_KINDS = {
    "info": apprise.NotifyType.INFO,
    "warning": apprise.NotifyType.WARNING,
    "critical": apprise.NotifyType.FAILURE,
}


class SendFailed(Exception):
    """A target has not taken a message; one line. ``permanent``: a person must do something first."""

    def __init__(self, text: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.permanent, self.retry_after = permanent, retry_after


def send(url: str, message: Mapping[str, Any]) -> None:
    """Send a message (docs/alerts.md has its shape) to the target of a URL. Raises SendFailed."""
    try:
        plugin = apprise.Apprise.instantiate(url, asset=_ASSET)
    except TypeError:
        plugin = None
    if plugin is not None:
        _by_apprise(plugin, url, message)
    elif url.startswith(_PLAIN):
        _by_hook(url, message)
    else:
        raise SendFailed("it is neither a URL that Apprise knows nor a web hook", permanent=True)


def _by_apprise(plugin: Any, url: str, message: Mapping[str, Any]) -> None:
    # Mail and Apprise's own web hooks carry headers; a target that sees the id twice has seen the message.
    if isinstance(getattr(plugin, "headers", None), dict):
        plugin.headers["X-Automator67-Id"] = message["id"]
    kind = apprise.NotifyType.SUCCESS if message["kind"] == "resolved" else _KINDS[message["severity"]]
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
        try:
            taken = plugin.notify(title=message["title"], body=message["text"], notify_type=kind)
        except Exception as error:
            raise SendFailed(_hidden(f"{type(error).__name__}: {error}", url)) from None
        lines = [line for line in said.getvalue().splitlines() if line.strip()]
    if not taken:
        raise SendFailed(_hidden(lines[-1] if lines else "it was not taken", url))


def _by_hook(url: str, message: Mapping[str, Any]) -> None:
    try:
        with httpx.Client(timeout=TIMEOUT, trust_env=False, headers={"User-Agent": "automator67"}) as client:
            answer = client.post(url, json=dict(message), headers={"Idempotency-Key": message["id"]})
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise SendFailed(_hidden(f"{type(error).__name__}: {error}", url)) from None
    status = answer.status_code
    if status < 300:
        return
    raise SendFailed(
        f"it answered with HTTP {status}",
        permanent=300 <= status < 500 and status not in (408, 425, 429),
        retry_after=retry_after(answer.headers.get("retry-after", ""), time.time()),
    )


def _hidden(text: str, url: str) -> str:
    """Return one line without any part of a URL but its scheme."""
    line = " ".join(text.split())
    for part in sorted(set(re.split(r"[/:@?&=,;+%]+", url.partition("://")[2])), key=len, reverse=True):
        if len(part) > 3:
            line = line.replace(part, "...")
    return line[:300]
