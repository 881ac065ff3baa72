"""Messages to real targets: a mail server, web hooks that fail in many ways, Slack's documented payload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import apprise
import pytest
import requests
from requests.adapters import HTTPAdapter

from automator67.engine.alerts import targets
from automator67.engine.alerts.targets import SendFailed, send
from tests.support.cloud import free_port
from tests.support.sinks import Hook, Mail

MESSAGE: dict[str, Any] = {
    "version": 1, "id": "5f" * 16, "cloud": "home", "kind": "problem", "severity": "critical",
    "title": "[home] node/hel1 unavailable", "text": "node/hel1 is unavailable: no heartbeat for 105 s",
    "incidents": [], "explained": [],
}  # fmt: skip


@pytest.fixture
def hook() -> Iterator[Hook]:
    one = Hook()
    yield one
    one.close()


@pytest.fixture
def mail() -> Iterator[Mail]:
    one = Mail()
    yield one
    one.close()


def test_a_mail_arrives_with_title_text_and_id(mail: Mail) -> None:
    send(mail.url, MESSAGE)
    (one,) = mail.taken
    assert (one["subject"], one["to"], one["from"]) == (
        MESSAGE["title"], "ana@example.org", "cloud@example.org",
    )  # fmt: skip
    assert one["x-automator67-id"] == MESSAGE["id"]
    body = one.get_body(("plain", "html"))
    assert body is not None
    assert MESSAGE["text"] in body.get_content()


@pytest.mark.parametrize("reply", ["451 try again later", "550 no such user"])
def test_a_mail_server_that_refuses_is_a_failure(mail: Mail, reply: str) -> None:
    mail.reply = reply
    with pytest.raises(SendFailed):
        send(mail.url, MESSAGE)
    assert not mail.taken


def test_nobody_listens(mail: Mail) -> None:
    for url in (f"mailto://127.0.0.1:{free_port()}/?from=a@b.org&to=c@d.org&mode=insecure",
                f"http://127.0.0.1:{free_port()}/hook/s3cret"):  # fmt: skip
        with pytest.raises(SendFailed) as failed:
            send(url, MESSAGE)
        assert "s3cret" not in str(failed.value)
        assert "\n" not in str(failed.value)


def test_a_hook_gets_the_message_as_data_with_its_id(hook: Hook) -> None:
    send(hook.url, MESSAGE)
    ((headers, data),) = hook.seen
    assert data == MESSAGE
    assert headers["idempotency-key"] == MESSAGE["id"]
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "permanent"), [(500, False), (503, False), (429, False), (401, True), (404, True), (302, True)]
)
def test_a_hook_in_trouble_is_a_failure(hook: Hook, status: int, permanent: bool) -> None:
    hook.status = status
    with pytest.raises(SendFailed, match=str(status)) as failed:
        send(hook.url, MESSAGE)
    assert failed.value.permanent == permanent
    assert "s3cret" not in str(failed.value)


def test_a_hook_that_does_not_answer_is_not_waited_for_for_ever(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "TIMEOUT", 0.3)
    hook.delay = 2.0
    with pytest.raises(SendFailed, match="Timeout"):
        send(hook.url, MESSAGE)


@pytest.mark.parametrize("url", ["nonsense", "", "ftp://example.org", "mailto://", "slack://x"])
def test_what_is_no_target_is_said_to_be_none(url: str) -> None:
    with pytest.raises(SendFailed) as failed:
        send(url, MESSAGE)
    assert failed.value.permanent


def test_slack_gets_what_its_documentation_asks_for(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """An incoming web hook takes a JSON object with ``text`` or ``attachments`` and answers ``ok``
    (https://api.slack.com/messaging/webhooks); colours of attachments tell severities apart."""
    sent: list[tuple[str, Any]] = []
    send_on = HTTPAdapter.send

    def redirected(adapter: HTTPAdapter, request: requests.PreparedRequest, **keys: Any) -> requests.Response:
        sent.append((str(request.url), request.body))
        request.url = f"http://127.0.0.1:{hook.port}/"
        return send_on(adapter, request, **keys)

    monkeypatch.setattr(HTTPAdapter, "send", redirected)
    url = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    send(url, MESSAGE)
    send(url, MESSAGE | {"kind": "resolved"})
    assert {to for to, _ in sent} == {url}
    first, second = (json.loads(data) for _, data in sent)
    (attachment,) = first["attachments"]
    assert attachment["title"] == MESSAGE["title"]
    assert attachment["text"] == MESSAGE["text"]
    assert attachment["color"] == apprise.AppriseAsset().color(apprise.NotifyType.FAILURE)
    assert second["attachments"][0]["color"] == apprise.AppriseAsset().color(apprise.NotifyType.SUCCESS)
