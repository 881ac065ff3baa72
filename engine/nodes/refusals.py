"""What the agents' endpoint answers when it refuses: one line of JSON with a hint (docs/protocol.md)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from automator67.engine.nodes.messages import BadMessage
from automator67.engine.store.database import StoreUnavailable


@web.middleware
async def errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every refusal as one line of JSON; nothing that a client sends ends in a traceback."""
    try:
        return await handler(request)
    except BadMessage as error:
        return _answer_error(422, str(error), "see docs/protocol.md")
    except StoreUnavailable as error:
        return _answer_error(503, str(error), "try again")
    except web.HTTPException as error:
        if error.status == 413:
            return _answer_error(413, "the body is larger than 1 MiB", "")
        if error.content_type == "application/json":
            raise
        return _answer_error(error.status, error.reason, "")


def _answer_error(status: int, text: str, hint: str) -> web.Response:
    return web.json_response({"error": text, "hint": hint}, status=status)


def refusal(status: int, text: str, hint: str) -> web.HTTPException:
    """Return a refusal to be raised: a line that says why, and one that says what to do."""
    body = json.dumps({"error": text, "hint": hint})
    kinds: dict[int, Any] = {
        401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 404: web.HTTPNotFound, 409: web.HTTPConflict,
        422: web.HTTPUnprocessableEntity, 429: web.HTTPTooManyRequests,
    }  # fmt: skip
    error: web.HTTPException = kinds[status](text=body, content_type="application/json")
    return error
