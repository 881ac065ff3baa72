"""Who sent a delivery: one function for each signature scheme. Pure.

Every function takes the headers (names in lower case), the raw body, the secrets that are valid now (several while
a secret is being changed) and the time in seconds since the epoch. It compares in constant time, over the bytes as
they came, before anything parses them.

Schemes: GitHub "Validating webhook deliveries"; Gitea and Forgejo "Webhooks"; GitLab "Webhooks" (secret token) and
the Standard Webhooks specification 1.0 (signing token).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SIGNING_PREFIX: Final = "whsec_"
TOLERANCE_SECONDS: Final = 300
_MAX_ID: Final = 200

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verified:
    """A delivery from who knows a secret. ``delivery_id`` is the same when the forge sends the delivery again."""

    delivery_id: str
    event: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a delivery is refused, in one line that holds nothing the sender wrote, and the HTTP status."""

    reason: str
    status: int


Verify = Callable[[Headers, bytes, Sequence[str], float], Verified | Refused]


def github(headers: Headers, body: bytes, secrets: Sequence[str], now: float) -> Verified | Refused:
    """``X-Hub-Signature-256: sha256=<hex HMAC-SHA256 of the body>``."""
    refusal = _hex_hmac("X-Hub-Signature-256", headers, body, secrets, prefix="sha256=")
    return refusal or _verified(headers, "x-github-delivery", "x-github-event", body, now)


def gitea(headers: Headers, body: bytes, secrets: Sequence[str], now: float) -> Verified | Refused:
    """``X-Gitea-Signature: <hex HMAC-SHA256 of the body>``."""
    refusal = _hex_hmac("X-Gitea-Signature", headers, body, secrets)
    return refusal or _verified(headers, "x-gitea-delivery", "x-gitea-event", body, now)


def forgejo(headers: Headers, body: bytes, secrets: Sequence[str], now: float) -> Verified | Refused:
    """``X-Forgejo-Signature`` as Gitea's; a wrong one is not saved by a right ``X-Gitea-Signature`` beside it."""
    if "x-forgejo-signature" not in headers:
        return gitea(headers, body, secrets, now)
    refusal = _hex_hmac("X-Forgejo-Signature", headers, body, secrets)
    return refusal or _verified(headers, "x-forgejo-delivery", "x-forgejo-event", body, now)


def gitlab(headers: Headers, body: bytes, secrets: Sequence[str], now: float) -> Verified | Refused:
    """The signed form (``webhook-id``, ``-timestamp``, ``-signature``) or the older ``X-Gitlab-Token``.

    Secrets that start with ``whsec_`` are signing tokens. Where one is configured and the delivery is signed, the
    signature decides: a right token beside a wrong signature is refused.
    """
    keys = [key for secret in secrets if (key := signing_key(secret))]
    tokens = [secret for secret in secrets if not secret.startswith(SIGNING_PREFIX)]
    if keys and "webhook-signature" in headers:
        refusal = _standard_webhooks(headers, body, keys, now)
    elif tokens:
        refusal = _token(headers, tokens)
    else:
        refusal = Refused("the webhook-signature header is missing; set the signing token in the forge's webhook", 401)
    if refusal:
        return refusal
    for name in ("webhook-id", "idempotency-key", "x-gitlab-event-uuid"):
        if name in headers:
            return _verified(headers, name, "x-gitlab-event", body, now)
    return _verified(headers, "", "x-gitlab-event", body, now)


def generic(headers: Headers, body: bytes, secrets: Sequence[str], now: float) -> Verified | Refused:
    """``X-A67-Signature: sha256=<hex HMAC-SHA256 of the body>``, and ``X-A67-Delivery`` where the sender has ids."""
    refusal = _hex_hmac("X-A67-Signature", headers, body, secrets, prefix="sha256=")
    return refusal or _verified(headers, "x-a67-delivery", "x-a67-event", body, now, event="push")


SCHEMES: Final[Mapping[str, Verify]] = {
    "github": github,
    "gitea": gitea,
    "forgejo": forgejo,
    "gitlab": gitlab,
    "generic": generic,
}
"""By the forge's name in the path ``/hooks/<forge>``."""


def signing_key(secret: str) -> bytes:
    """Return the key of a ``whsec_<base64>`` signing token; empty when it is not one."""
    if not secret.startswith(SIGNING_PREFIX):
        return b""
    try:
        return base64.b64decode(secret.removeprefix(SIGNING_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _hex_hmac(name: str, headers: Headers, body: bytes, secrets: Sequence[str], prefix: str = "") -> Refused | None:
    sent = headers.get(name.lower(), "")
    if not sent:
        return Refused(f"the {name} header is missing; set the secret in the forge's webhook", 401)
    given = _bytes(sent)
    # Every secret is tried, so that the time taken does not tell which one came close.
    right = [
        hmac.compare_digest(given, f"{prefix}{hmac.new(s.encode(), body, hashlib.sha256).hexdigest()}".encode())
        for s in secrets
    ]
    return None if any(right) else Refused(f"{name} does not match the body and the secret", 401)


def _token(headers: Headers, tokens: Sequence[str]) -> Refused | None:
    sent = headers.get("x-gitlab-token", "")
    if not sent:
        return Refused("the X-Gitlab-Token header is missing; set the secret token in the forge's webhook", 401)
    given = hashlib.sha256(_bytes(sent)).digest()
    right = [hmac.compare_digest(given, hashlib.sha256(t.encode()).digest()) for t in tokens]
    return None if any(right) else Refused("X-Gitlab-Token does not match the secret", 401)


def _standard_webhooks(headers: Headers, body: bytes, keys: Sequence[bytes], now: float) -> Refused | None:
    message, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message or not stamp:
        return Refused("webhook-id or webhook-timestamp is missing beside webhook-signature", 401)
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        return Refused("webhook-timestamp is not a time in seconds", 401)
    signed = b"%s.%s.%s" % (_bytes(message), stamp.encode(), body)
    digests = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in keys]
    given = [_bytes(part[3:]) for part in headers["webhook-signature"].split(" ")[:16] if part.startswith("v1,")]
    right = [hmac.compare_digest(one, digest) for one in given for digest in digests]
    if not any(right):
        return Refused("webhook-signature does not match the body and the signing token", 401)
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        minutes = TOLERANCE_SECONDS // 60
        return Refused(f"webhook-timestamp is more than {minutes} minutes away; is a clock wrong?", 401)
    return None


def _verified(
    headers: Headers, id_name: str, event_name: str, body: bytes, now: float, event: str = ""
) -> Verified | Refused:
    delivery = headers.get(id_name, "")
    if len(delivery) > _MAX_ID or not delivery.isprintable():
        return Refused("the delivery's id is not a short line of text", 400)
    if not delivery:
        # Without an id nothing tells a repetition from the next push of the same content: each is taken as new.
        delivery = f"{hashlib.sha256(body).hexdigest()}@{now:.6f}"
    event = headers.get(event_name, "") or event
    if not event or len(event) > 64 or not event.isprintable():
        return Refused(f"the {event_name} header is missing or not a short word", 400)
    return Verified(delivery, event)


def _bytes(header: str) -> bytes:
    # WSGI hands over header bytes decoded as latin-1; this gives them back.
    return header.encode("latin-1", "backslashreplace")
