"""Checks what agents send against the message schemas, before anything of it is used."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

import jsonschema_rs


class BadMessage(Exception):
    """A message does not follow its schema; one line that says where."""


def read_message(kind: str, body: bytes) -> dict[str, Any]:
    """Return a message of a kind (``heartbeat``, ``enroll``, ``renew``) as data. Raises BadMessage."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadMessage("the body is not JSON") from error
    validator = _validator(kind)
    if not validator.is_valid(data):
        first = next(iter(validator.iter_errors(data)))
        where = "/".join(str(part) for part in first.instance_path) or "the message"
        raise BadMessage(f"{where}: {first.message[:200]}")
    assert isinstance(data, dict)
    return data


@cache
def _validator(kind: str) -> Any:
    file = resources.files("automator67.schemas.messages") / f"{kind}.schema.json"
    return jsonschema_rs.validator_for(json.loads(file.read_text(encoding="utf-8")))
