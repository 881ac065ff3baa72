"""The HTTP endpoint ``POST /hooks/<forge>``: verify, deduplicate, enqueue, answer; nothing else.

Answers: 202 accepted; 200 already seen, or ignored with the reason; 4xx refused with the reason; 503 when the
delivery could not be kept. What is answered 202 is on disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request

from automator67.engine.inbox import Inbox, InboxRefused, delivery_key
from automator67.webhooks.body import BodyError, parse_object, read_body
from automator67.webhooks.interest import Ignored, interest
from automator67.webhooks.refusals import RefusalLog, one_line
from automator67.webhooks.seen import Seen
from automator67.webhooks.settings import WebSettings
from automator67.webhooks.verify import SCHEMES, Refused

log = logging.getLogger("automator67.webhooks")

_RETRY_SECONDS = 30


class _Answer(Exception):
    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def webhooks_blueprint(
    settings: Callable[[], WebSettings], inbox: Inbox, seen: Seen, clock: Callable[[], float] = time.time
) -> Blueprint:
    """Return the blueprint; ``settings`` gives the present ones, ``clock`` the seconds since the epoch."""
    blueprint = Blueprint("webhooks", __name__, url_prefix="/hooks")
    refusals = RefusalLog()

    @blueprint.post("/<forge>", provide_automatic_options=False)
    def deliver(forge: str) -> tuple[Response, int]:
        try:
            result, reason, status = _deliver(forge, settings(), inbox, seen, clock())
        except _Answer as refused:
            refusals.add(forge, request.remote_addr or "?", refused.reason, refused.status, time.monotonic())
            result, reason, status = "refused", refused.reason, refused.status
        response = jsonify(result=result, reason=reason)
        if status == 503:
            response.headers["Retry-After"] = str(_RETRY_SECONDS)
        return response, status

    return blueprint


def _deliver(forge: str, settings: WebSettings, inbox: Inbox, seen: Seen, now: float) -> tuple[str, str, int]:
    verify = SCHEMES.get(forge)
    if verify is None:
        raise _Answer(f"no such endpoint; there are {', '.join('/hooks/' + name for name in SCHEMES)}", 404)
    secrets = settings.secrets.get(forge)
    if not secrets:
        raise _Answer("this endpoint is off: no secret is configured for it", 404)
    body = _body()
    headers = {name.lower(): value for name, value in request.headers}
    verified = verify(headers, body, secrets, now)
    if isinstance(verified, Refused):
        raise _Answer(verified.reason, verified.status)
    key = delivery_key(forge, verified.delivery_id)
    if seen.known(key):
        return "duplicate", "already seen", 200
    try:
        payload = parse_object(body)
    except BodyError as error:
        raise _Answer(str(error), error.status) from None
    wanted = interest(forge, verified.event, payload, settings.repository, settings.branch)
    if isinstance(wanted, Ignored):
        log.info("webhook ignored: %s: %s", forge, wanted.reason)
        return "ignored", wanted.reason, 200
    try:
        kept = inbox.put(verified.delivery_id, forge, verified.event, wanted.repository, wanted.ref, now)
    except InboxRefused as refusal:
        raise _Answer(str(refusal), 503) from None
    seen.remember(key)
    if not kept:
        return "duplicate", "already seen", 200
    log.info("webhook accepted: %s %s, delivery %s", forge, wanted.kind, one_line(verified.delivery_id))
    return "accepted", f"looking at {settings.branch}", 202


def _body() -> bytes:
    if request.mimetype != "application/json":
        hint = "set the webhook's content type to application/json"
        raise _Answer(f"only JSON is read here; {hint}", 415)
    try:
        return read_body(request.environ["wsgi.input"], request.content_length)
    except BodyError as error:
        raise _Answer(str(error), error.status) from None
