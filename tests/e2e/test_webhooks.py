"""Webhooks for real: signed as each forge signs, posted to the web process, found in the inbox."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from automator67.engine.inbox import Inbox, Waker, delivery_key
from automator67.engine.store.tables import deliveries
from tests.support import deliveries as forge
from tests.support.cloud import wait_for
from tests.support.web import SETTINGS, WebProcess, post, sample_store, waiting


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hooks")


@pytest.fixture(scope="module")
def web(state: Path) -> Iterator[WebProcess]:
    with WebProcess(state, SETTINGS) as process:
        yield process


@pytest.fixture
def client(web: WebProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=web.url, timeout=20) as one:
        yield one


@pytest.mark.parametrize(
    ("name", "make", "fixture", "repository", "branch"),
    [
        ("gitea", forge.gitea, "gitea-push", "gitea/webhooks", "develop"),
        ("forgejo", forge.forgejo, "forgejo-push", "http://localhost:3000/forgejo/webhooks.git", "develop"),
        ("gitlab", forge.gitlab, "gitlab-push", "mike/diaspora", "master"),
        ("gitlab", forge.gitlab_signed, "gitlab-push", "git@example.com:mike/diaspora.git", "master"),
    ],
)
def test_the_published_payload_of_each_forge(
    tmp_path: Path, name: str, make: Any, fixture: str, repository: str, branch: str
) -> None:
    settings = SETTINGS | {"repository": repository, "branch": branch}
    if make is forge.gitlab:
        settings = settings | {"secrets": {"gitlab": [forge.SECRET]}}
    waker = Waker(tmp_path)
    with WebProcess(tmp_path, settings) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        delivery = make(forge.example(fixture))
        answer = post(client, name, delivery)
        assert (answer.status_code, answer.json()["result"]) == (202, "accepted")
        again = post(client, name, delivery)
        assert (again.status_code, again.json()["reason"]) == (200, "already seen")
    (kept,) = Inbox(tmp_path / "inbox").take()
    assert (kept.forge, kept.repository, kept.ref) == (name, repository, f"refs/heads/{branch}")
    assert "example.com/mike" not in (tmp_path / "inbox" / kept.key).read_text()
    os.set_blocking(waker.fileno(), False)
    assert waker._socket.recv(8)
    waker.close()


def test_githubs_published_payloads(tmp_path: Path) -> None:
    pushes = forge.github_examples("push")
    others = [(event, payload) for event in ("ping", "create", "delete", "status", "issue_comment")
              for payload in forge.github_examples(event)]  # fmt: skip
    settings = SETTINGS | {"repository": "https://github.com/Codertocat/Hello-World.git", "branch": "master"}
    with WebProcess(tmp_path, settings) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        for payload in pushes:
            answer = post(client, "github", forge.github(json.dumps(payload).encode()))
            assert answer.status_code == (202 if payload["ref"] == "refs/heads/master" else 200), answer.text
        for event, payload in others:
            answer = post(client, "github", forge.github(json.dumps(payload).encode(), event))
            assert (answer.status_code, answer.json()["result"]) == (200, "ignored"), (event, answer.text)
        pulls = [post(client, "github", forge.github(json.dumps(p).encode(), "pull_request")).status_code
                 for p in forge.github_examples("pull_request")]  # fmt: skip
    taken = sum(p["ref"] == "refs/heads/master" for p in pushes)
    assert len(waiting(tmp_path)) == taken + pulls.count(202)
    assert taken > 0
    assert {202, 200} == set(pulls), "some change what would be applied, such as a label does not"


def test_an_accepted_delivery_wakes_the_engine_at_once(client: httpx.Client, state: Path) -> None:
    waker = Waker(state)
    begun = time.monotonic()
    assert post(client, "github", forge.github(forge.push(), delivery="wake")).status_code == 202
    took = time.monotonic() - begun
    assert waker._socket.recv(8)
    waker.close()
    assert "wake" in waiting(state)
    assert took < 2


def test_what_the_engine_has_recorded_is_known_after_a_restart(tmp_path: Path) -> None:
    store = sample_store(tmp_path / "store.db", time.time())
    with store.begin() as tx:
        row = {"id": delivery_key("github", "long ago"), "forge": "github", "event": "push", "received_at": 1.0,
               "outcome": "looked"}  # fmt: skip
        tx.execute(insert(deliveries).values(**row))
    store.close()
    with WebProcess(tmp_path, SETTINGS) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        answer = post(client, "github", forge.github(forge.push(), delivery="long ago"))
        assert (answer.status_code, answer.json()["result"]) == (200, "duplicate")
    assert waiting(tmp_path) == []


def refusals() -> list[tuple[str, str, forge.Delivery, int, str]]:
    """Hostile and mistaken deliveries: name, endpoint, delivery, expected status, a word of the reason."""
    good = forge.push()
    headers, _ = forge.github(good)
    unsigned = {"Content-Type": "application/json", "X-GitHub-Event": "push"}
    untyped = {name: value for name, value in headers.items() if name != "Content-Type"}
    form = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    stale = forge.gitlab_signed(good, at=time.time() - 4000)
    return [
        ("wrong secret", "github", forge.github(good, secret="another"), 401, "does not match"),
        ("no signature", "github", (unsigned, good), 401, "missing"),
        ("another body", "github", (headers, good + b" "), 401, "does not match"),
        ("form encoded", "github", (form, good), 415, "application/json"),
        ("no content type", "github", (untyped, good), 415, "application/json"),
        ("not json", "github", forge.github(b"payload"), 400, "not JSON"),
        ("not an object", "github", forge.github(b"[]"), 400, "not a JSON object"),
        ("too deep", "github", forge.github(b'{"a":' * 100_000), 400, "nested too deeply"),
        ("too long", "github", forge.github(b" " * (2**20 + 1)), 413, "the poll will find the commit"),
        ("no such forge", "githab", forge.github(good), 404, "no such endpoint"),
        ("path tricks", "..%2f..%2fetc", forge.github(good), 405, ""),
        ("github's signature at gitea's door", "gitea", (headers, good), 401, "missing"),
        ("stale", "gitlab", stale, 401, "clock"),
        ("id too long", "github", forge.github(good, delivery="x" * 300), 400, "not a short line"),
    ]


@pytest.mark.parametrize(("name", "to", "delivery", "status", "says"), refusals(), ids=[r[0] for r in refusals()])
def test_what_is_wrong_is_refused_with_the_reason_and_has_no_effect(
    client: httpx.Client, state: Path, name: str, to: str, delivery: forge.Delivery, status: int, says: str
) -> None:
    before = waiting(state)
    answer = post(client, to, delivery)
    assert answer.status_code == status, answer.text
    assert says in answer.text
    assert waiting(state) == before


def test_an_endpoint_without_a_secret_is_off(tmp_path: Path) -> None:
    settings = SETTINGS | {"secrets": {"gitea": [forge.SECRET]}}
    with WebProcess(tmp_path, settings) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        answer = post(client, "github", forge.github(forge.push()))
        assert answer.status_code == 404
        assert "no secret is configured" in answer.json()["reason"]
        assert post(client, "gitea", forge.gitea(forge.push())).status_code == 202


def test_a_secret_can_be_changed_without_a_restart_or_a_gap(tmp_path: Path) -> None:
    def settle(secrets: list[str]) -> None:
        (tmp_path / "web.new").write_text(json.dumps(SETTINGS | {"secrets": {"github": secrets}}))
        (tmp_path / "web.new").replace(tmp_path / "web.json")

    settle(["the old secret"])
    with WebProcess(tmp_path) as web, httpx.Client(base_url=web.url, timeout=20) as client:

        def status(secret: str) -> int:
            return post(client, "github", forge.github(forge.push(), secret=secret)).status_code

        assert (status("the old secret"), status("the new secret")) == (202, 401)
        settle(["the old secret", "the new secret"])
        assert (status("the old secret"), status("the new secret")) == (202, 202)
        settle(["the new secret"])
        assert (status("the old secret"), status("the new secret")) == (401, 202)


def test_a_full_inbox_is_answered_so_that_the_forge_comes_again(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for n in range(1024):
        (inbox / f"{n:064x}").write_text("{}")
    with WebProcess(tmp_path, SETTINGS) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        answer = post(client, "github", forge.github(forge.push(), delivery="later"))
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "1024 deliveries wait already" in answer.text
        Inbox(inbox).done(Inbox(inbox).take()[0])
        assert post(client, "github", forge.github(forge.push(), delivery="later")).status_code == 202


def test_the_log_shows_no_secret_no_body_and_few_lines(tmp_path: Path) -> None:
    with WebProcess(tmp_path, SETTINGS) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        for n in range(200):
            body = forge.push(marker=f"body-{n}-of-the-sender")
            post(client, "github", forge.github(body, secret="a wrong secret"))
        client.post("/hooks/a%0d%0aforged%20line%1b[2J", content=b"{}")
        assert post(client, "gitlab", forge.gitlab_signed(forge.push())).json()["result"] == "ignored"
        assert post(client, "github", forge.github(forge.push())).status_code == 202
        wait_for("the acceptance in the log", lambda: "webhook accepted" in web.log)
        log = web.log
    assert 5 <= log.count("webhook refused") <= 10
    assert "does not match" in log
    for hidden in (forge.SECRET, forge.SIGNING_TOKEN, "a wrong secret", "of-the-sender", "\x1b", "\nforged"):
        assert hidden not in log
