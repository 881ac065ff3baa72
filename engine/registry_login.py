"""What lets us into a private registry: a secret's value, read. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from automator67.engine.image_name import HUB

_HUB_KEY = "https://index.docker.io/v1/"


class BadLogin(ValueError):
    """A value that is no login; the text shows nothing of it."""


def user_and_password(login: str, registry: str) -> tuple[str, str]:
    """Return user and password of a secret's value: ``user:password``, or JSON as Docker's config.json has it.

    Raises BadLogin.
    """
    text = login.strip()
    if not text.startswith("{"):
        user, found, password = text.partition(":")
        if not found or not user or not password or not text.isprintable():
            raise BadLogin("it is neither user:password nor the JSON of a Docker configuration (auths)")
        return user, password
    try:
        auths = json.loads(text)["auths"]
        host = _HUB_KEY if registry == HUB else registry
        entry: Mapping[str, str] | None = auths.get(host) or auths.get(f"https://{host}")
        if entry is None:
            raise BadLogin(f"it is a Docker configuration without a login for {registry}")
        if "auth" in entry:
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            return user, password
        return entry["username"], entry["password"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise error if isinstance(error, BadLogin) else BadLogin("it is no JSON of a Docker configuration") from None
