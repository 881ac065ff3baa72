"""The client for providers' APIs: what it sends, how long it waits, what it refuses to read, what it says."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.apis import client as client_module
from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.apis.google import ServiceAccount
from automator67.engine.apis.limits import Allowance, Limit

PROVIDER = Provider("Somewhere", "https://api.example.org/v1", (Limit(3, 60),), ("error.message", "message"))


def client(answer: Callable[[httpx.Request], httpx.Response], **more: object) -> Client:
    return Client(PROVIDER, lambda: {"Authorization": "Bearer t"}, transport=httpx.MockTransport(answer), **more)  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 50)), min_size=1, max_size=3),
    st.lists(st.floats(0, 20, allow_nan=False), max_size=60),
)
def test_no_window_ever_holds_more_than_its_limit(limits: list[tuple[int, int]], gaps: list[float]) -> None:
    allowance, now, sent = Allowance([Limit(c, s) for c, s in limits]), 0.0, []
    for gap in gaps:
        now += gap
        wait, why = allowance.wait("GET", "/x", now)
        assert bool(wait) == bool(why)
        now += wait
        assert allowance.wait("GET", "/x", now + 1e-6)[0] == 0
        now += 1e-6
        allowance.spend("GET", "/x", now)
        sent.append(now)
    for count, seconds in limits:
        assert all(b - a >= seconds - 1e-3 for a, b in zip(sent, sent[count:], strict=False))


def test_a_call_that_would_wait_long_is_not_sent() -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(str(request.url))
        return httpx.Response(200, json={})

    c = client(answer, clock=lambda: 100.0)
    for _ in range(3):
        c.get("/things", {"a": "b c"})
    with pytest.raises(ApiError, match=r"no more calls for 60 s: 3 in 60 s"):
        c.get("/things")
    assert sent == ["https://api.example.org/v1/things?a=b+c"] * 3


def test_it_waits_as_it_was_told_when_that_is_not_long(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([httpx.Response(429, headers={"Retry-After": "0"}), httpx.Response(200, json=[1])])
    assert client(lambda _: next(answers)).call("POST", "/things", body={}) == [1]
    late = client(lambda _: httpx.Response(429, headers={"Ratelimit-Reset": "1200"}))
    with pytest.raises(ApiError) as raised:
        late.get("/things")
    assert raised.value.retry_after == 1200


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(401, json={"message": "who\nare you"}), "does not let us in: who are you"),
        (httpx.Response(403, json={"error": {"message": "no"}}), "does not allow this: no"),
        (httpx.Response(422, text="<html>"), "refused: HTTP 422"),
        (httpx.Response(302, headers={"Location": "https://evil.example.org"}), "HTTP 302"),
        (httpx.Response(200, text="<html>"), "not JSON"),
        (httpx.Response(200, text="[" * 100_000), "not JSON"),
        (httpx.Response(409, json=[["message"]]), "has a conflict: HTTP 409"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(answer: httpx.Response, words: str) -> None:
    with pytest.raises(ApiError) as raised:
        client(lambda _: answer).get("/things")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_answer_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 1000)
    monkeypatch.setattr(client_module, "PAUSES", (0.0, 0.0))
    with pytest.raises(ApiError, match="more than"):
        client(lambda _: httpx.Response(200, text="x" * 1001)).get("/things")


def test_a_token_goes_nowhere_unencrypted() -> None:
    for base in ("http://api.example.org", "ftp://127.0.0.1.example.org"):
        with pytest.raises(ApiError, match="unencrypted"):
            Client(PROVIDER, dict, base=base)
    Client(PROVIDER, dict, base="http://127.0.0.1:1").close()


def test_closing_ends_a_wait() -> None:
    c = client(lambda _: httpx.Response(500))
    c.close()
    began = time.monotonic()
    with pytest.raises(ApiError):
        c.get("/things")
    assert time.monotonic() - began < 1


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def test_a_service_account_signs_for_a_token_and_keeps_it(key: rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    uri, now, asked = "https://oauth2.googleapis.com/token", [1000.0], list[dict[str, object]]()

    def answer(request: httpx.Request) -> httpx.Response:
        form = parse_qs(request.content.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        head, claims, signature = form["assertion"][0].split(".")

        def plain(text: str) -> bytes:
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

        key.public_key().verify(plain(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        assert json.loads(plain(head)) == {"alg": "RS256", "typ": "JWT"}
        asked.append(json.loads(plain(claims)))
        return httpx.Response(200, json={"access_token": f"t{len(asked)}", "expires_in": 3600})

    doc = json.dumps({"client_email": "a@p.example.org", "token_uri": uri, "private_key": pem})
    account = ServiceAccount(doc, httpx.MockTransport(answer), lambda: now[0])
    assert account() == account() == {"Authorization": "Bearer t1"}
    now[0] += 3400
    assert account() == {"Authorization": "Bearer t2"}
    assert [(a["iss"], a["aud"], a["exp"]) for a in asked] == [
        ("a@p.example.org", uri, 4600), ("a@p.example.org", uri, 8000),
    ]  # fmt: skip
    refused = ServiceAccount(doc, httpx.MockTransport(lambda _: httpx.Response(400, json={"error": pem})))
    with pytest.raises(ApiError) as raised:
        refused()
    assert "PRIVATE" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"client_email": "a", "token_uri": "https://x", "private_key": "x"}']
)
def test_what_is_no_key_of_a_service_account_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="not the JSON key"):
        ServiceAccount(text)
