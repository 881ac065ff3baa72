"""Webhook deliveries as the forges make them: signed here by the letter of each forge's description."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from pathlib import Path
from typing import Any

from tests.support.contracts import contract

SECRET = "a secret of enough length 0123456789"
SIGNING_TOKEN = "whsec_" + base64.b64encode(bytes(range(32))).decode()
_FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "webhooks"

Delivery = tuple[dict[str, str], bytes]


def example(name: str) -> bytes:
    """Return a published example payload (``gitea-push``) as bytes."""
    return (_FIXTURES / f"{name}.json").read_bytes()


def github_examples(event: str) -> list[dict[str, Any]]:
    """Return GitHub's published examples of an event; skips the test where they are not on this machine."""
    found: list[dict[str, Any]] = json.loads(contract(f"github/webhook-examples/{event}.json").read_bytes())
    return found


def hexmac(body: bytes, secret: str = SECRET) -> str:
    """Return the hex HMAC-SHA256 of a body."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github(body: bytes, event: str = "push", secret: str = SECRET, delivery: str | None = None) -> Delivery:
    """A delivery as GitHub sends it."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": "292430182",
        "X-Hub-Signature-256": "sha256=" + hexmac(body, secret),
    }, body


def gitea(body: bytes, event: str = "push", secret: str = SECRET, delivery: str | None = None) -> Delivery:
    """A delivery as Gitea sends it: also under the names of Gogs and GitHub."""
    delivery = delivery or str(uuid.uuid4())
    return {
        "Content-Type": "application/json",
        "X-Gitea-Delivery": delivery, "X-Gitea-Event": event, "X-Gitea-Event-Type": event,
        "X-Gitea-Signature": hexmac(body, secret),
        "X-Gogs-Delivery": delivery, "X-Gogs-Event": event, "X-Gogs-Signature": hexmac(body, secret),
        "X-Hub-Signature-256": "sha256=" + hexmac(body, secret), "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
    }, body  # fmt: skip


def forgejo(body: bytes, event: str = "push", secret: str = SECRET, delivery: str | None = None) -> Delivery:
    """A delivery as Forgejo sends it: Gitea's headers and its own."""
    headers, _ = gitea(body, event, secret, delivery)
    own = {
        "X-Forgejo-Delivery": headers["X-Gitea-Delivery"],
        "X-Forgejo-Event": event,
        "X-Forgejo-Signature": hexmac(body, secret),
    }
    return {**headers, **own}, body


def gitlab(body: bytes, event: str = "Push Hook", token: str = SECRET, delivery: str | None = None) -> Delivery:
    """A delivery as GitLab sends it with a secret token."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitLab/17.1.0",
        "Idempotency-Key": delivery or str(uuid.uuid4()),
        "X-Gitlab-Event": event,
        "X-Gitlab-Webhook-UUID": str(uuid.uuid4()),
        "X-Gitlab-Event-UUID": str(uuid.uuid4()),
        "X-Gitlab-Token": token,
    }, body


def gitlab_signed(
    body: bytes,
    event: str = "Push Hook",
    key: str = SIGNING_TOKEN,
    at: float | None = None,
    delivery: str | None = None,
) -> Delivery:
    """A delivery as GitLab sends it with a signing token (Standard Webhooks)."""
    headers, _ = gitlab(body, event, delivery=delivery)
    del headers["X-Gitlab-Token"]
    stamp = str(int(time.time() if at is None else at))
    signed = f"{headers['Idempotency-Key']}.{stamp}.".encode() + body
    digest = hmac.new(base64.b64decode(key.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    own = {
        "webhook-id": headers["Idempotency-Key"],
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    return {**headers, **own}, body


def generic(body: bytes, secret: str = SECRET, delivery: str | None = None) -> Delivery:
    """A delivery of one's own script."""
    headers = {"Content-Type": "application/json", "X-A67-Signature": "sha256=" + hexmac(body, secret)}
    return headers | ({"X-A67-Delivery": delivery} if delivery else {}), body


def push(repository: str = "ana/cloud", ref: str = "refs/heads/main", **more: Any) -> bytes:
    """Return the body of a small GitHub push."""
    payload = {"ref": ref, "before": "1" * 40, "after": "2" * 40, "repository": {"full_name": repository}, **more}
    return json.dumps(payload).encode()
