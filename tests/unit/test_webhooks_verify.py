"""Signature schemes: the right secret passes, everything else is refused before it is parsed."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.webhooks.verify import SCHEMES, Refused, Verified, forgejo, generic, gitea, github, gitlab, signing_key
from tests.support import deliveries
from tests.support.deliveries import SECRET, SIGNING_TOKEN

NOW = 1_763_000_000.0
BODY = deliveries.push()


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def check(scheme: str, delivery: deliveries.Delivery, *secrets: str, now: float = NOW) -> Verified | Refused:
    headers, body = delivery
    return SCHEMES[scheme](lower(headers), body, secrets or (SECRET,), now)


MAKERS = {
    "github": deliveries.github,
    "gitea": deliveries.gitea,
    "forgejo": deliveries.forgejo,
    "gitlab": deliveries.gitlab,
    "generic": deliveries.generic,
}


@pytest.mark.parametrize("scheme", MAKERS)
def test_the_right_secret_passes_with_the_forges_own_id(scheme: str) -> None:
    verified = check(scheme, MAKERS[scheme](BODY, delivery="d-1"))
    assert isinstance(verified, Verified)
    assert verified.delivery_id == "d-1"


@pytest.mark.parametrize("scheme", MAKERS)
def test_another_secret_another_body_or_no_signature_is_refused(scheme: str) -> None:
    headers, body = MAKERS[scheme](BODY, delivery="d-1")
    assert isinstance(check(scheme, (headers, body), "another secret"), Refused)
    if scheme != "gitlab":
        assert isinstance(check(scheme, (headers, body + b" ")), Refused)
    bare = {k: v for k, v in headers.items() if "Signature" not in k and "Token" not in k}
    refused = check(scheme, (bare, body))
    assert isinstance(refused, Refused)
    assert refused.status == 401
    assert "is missing" in refused.reason


@pytest.mark.parametrize("scheme", MAKERS)
def test_while_a_secret_is_changed_both_pass(scheme: str) -> None:
    old, new = MAKERS[scheme](BODY, delivery="a"), MAKERS[scheme](BODY, delivery="b")
    assert isinstance(check(scheme, old, "the new one", SECRET), Verified)
    assert isinstance(check(scheme, new, SECRET, "the old one"), Verified)
    assert isinstance(check(scheme, old, "one", "two"), Refused)


@pytest.mark.parametrize("scheme", MAKERS)
def test_no_secrets_let_nothing_through(scheme: str) -> None:
    headers, body = MAKERS[scheme](BODY)
    assert isinstance(SCHEMES[scheme](lower(headers), body, (), NOW), Refused)


def test_known_answers() -> None:
    # RFC 4231, test case 2, and the example of GitHub's page on validating deliveries.
    mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    body = b"what do ya want for nothing?"
    assert isinstance(gitea({"x-gitea-signature": mac, "x-gitea-event": "push"}, body, ("Jefe",), NOW), Verified)
    example = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": example, "x-github-event": "push"}
    assert isinstance(github(headers, b"Hello, World!", ("It's a Secret to Everybody",), NOW), Verified)


def test_a_standard_webhooks_known_answer() -> None:
    # The example of the Standard Webhooks specification.
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "x-gitlab-event": "Push Hook",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    verified = gitlab(headers, b'{"test": 2432232314}', (secret,), 1614265330.0)
    assert verified == Verified("msg_p5jXN8AQM9LWM0D4loKWxJek", "Push Hook")


def test_forgejos_own_signature_decides_over_the_one_for_gitea() -> None:
    headers, body = deliveries.forgejo(BODY)
    headers["X-Forgejo-Signature"] = "0" * 64
    assert isinstance(check("forgejo", (headers, body)), Refused)
    del headers["X-Forgejo-Signature"]
    assert isinstance(check("forgejo", (headers, body)), Verified)
    headers, body = deliveries.forgejo(BODY)
    headers["X-Gitea-Signature"] = "0" * 64
    assert isinstance(check("forgejo", (headers, body)), Verified)


def test_a_signature_of_another_algorithm_or_form_is_refused() -> None:
    headers, body = deliveries.github(BODY)
    mac = headers["X-Hub-Signature-256"].removeprefix("sha256=")
    for wrong in (mac, "sha1=" + mac[:40], "sha256=" + mac.upper(), "sha256=", "sha256=" + mac[:-1], "sha256=ü"):
        headers["X-Hub-Signature-256"] = wrong
        assert isinstance(check("github", (headers, body)), Refused), wrong


@pytest.mark.parametrize(("offset", "passes"), [(0, True), (-299, True), (299, True), (-301, False), (301, False)])
def test_a_signed_gitlab_delivery_is_good_for_five_minutes(offset: int, passes: bool) -> None:
    answer = check("gitlab", deliveries.gitlab_signed(BODY, at=NOW + offset), SIGNING_TOKEN)
    assert isinstance(answer, Verified if passes else Refused)
    if isinstance(answer, Refused):
        assert "5 minutes" in answer.reason


def test_every_signed_part_of_a_gitlab_delivery_counts() -> None:
    for name, value in (("webhook-id", "other"), ("webhook-timestamp", str(int(NOW) + 1))):
        headers, body = deliveries.gitlab_signed(BODY, at=NOW)
        headers[name] = value
        assert isinstance(check("gitlab", (headers, body), SIGNING_TOKEN), Refused)
    headers, body = deliveries.gitlab_signed(BODY, at=NOW)
    assert isinstance(check("gitlab", (headers, body + b" "), SIGNING_TOKEN), Refused)


def test_one_of_several_signatures_is_enough_and_other_versions_do_not_count() -> None:
    headers, body = deliveries.gitlab_signed(BODY, at=NOW)
    good = headers["webhook-signature"]
    other = "v1," + base64.b64encode(b"x" * 32).decode()
    headers["webhook-signature"] = f"v1a,abc {other} {good}"
    assert isinstance(check("gitlab", (headers, body), SIGNING_TOKEN), Verified)
    headers["webhook-signature"] = good.replace("v1,", "v2,")
    assert isinstance(check("gitlab", (headers, body), SIGNING_TOKEN), Refused)


def test_a_right_token_does_not_save_a_wrong_gitlab_signature() -> None:
    headers, body = deliveries.gitlab_signed(BODY, at=NOW)
    headers["webhook-signature"] = "v1," + base64.b64encode(b"x" * 32).decode()
    headers["X-Gitlab-Token"] = SECRET
    assert isinstance(check("gitlab", (headers, body), SIGNING_TOKEN, SECRET), Refused)


def test_with_only_a_signing_token_the_old_form_is_refused_and_the_token_itself_is_no_password() -> None:
    headers, body = deliveries.gitlab(BODY, token=SIGNING_TOKEN)
    refused = check("gitlab", (headers, body), SIGNING_TOKEN)
    assert isinstance(refused, Refused)
    assert "signing token" in refused.reason


def test_a_signed_delivery_passes_by_token_where_no_signing_token_is_known() -> None:
    headers, body = deliveries.gitlab_signed(BODY, at=NOW)
    headers["X-Gitlab-Token"] = SECRET
    assert isinstance(check("gitlab", (headers, body), SECRET), Verified)


@pytest.mark.parametrize("stamp", ["", "soon", "-5", "1e9", "９９", "9" * 30, " 1"])
def test_a_timestamp_that_is_none_is_refused(stamp: str) -> None:
    headers, body = deliveries.gitlab_signed(BODY, at=NOW)
    headers["webhook-timestamp"] = stamp
    assert isinstance(check("gitlab", (headers, body), SIGNING_TOKEN), Refused)


def test_gitlabs_ids_in_order_of_preference() -> None:
    headers, body = deliveries.gitlab(BODY, delivery="key")
    assert check("gitlab", (headers, body)) == Verified("key", "Push Hook")
    del headers["Idempotency-Key"]
    assert check("gitlab", (headers, body)) == Verified(headers["X-Gitlab-Event-UUID"], "Push Hook")
    del headers["X-Gitlab-Event-UUID"]
    assert isinstance(check("gitlab", (headers, body)), Verified)


def test_without_an_id_each_delivery_is_a_new_one() -> None:
    first = check("generic", deliveries.generic(b"{}"), now=NOW)
    second = check("generic", deliveries.generic(b"{}"), now=NOW + 1)
    assert isinstance(first, Verified)
    assert isinstance(second, Verified)
    assert first.event == "push"
    assert first.delivery_id != second.delivery_id


@pytest.mark.parametrize("wrong", ["x" * 201, "a\x07b", "a\nb"])
def test_an_id_that_is_no_short_line_is_refused(wrong: str) -> None:
    answer = check("github", deliveries.github(BODY, delivery=wrong))
    assert isinstance(answer, Refused)
    assert answer.status == 400
    assert wrong not in answer.reason


def test_an_event_that_is_missing_is_refused() -> None:
    headers, body = deliveries.github(BODY)
    del headers["X-GitHub-Event"]
    assert isinstance(check("github", (headers, body)), Refused)


def test_a_token_beyond_latin_1_works_as_wsgi_hands_it_over() -> None:
    token = "pässwörd-☂-0123456789"
    headers, body = deliveries.gitlab(BODY, token=token.encode().decode("latin-1"))
    assert isinstance(check("gitlab", (headers, body), token), Verified)


def test_a_signing_key_must_be_whole_base64() -> None:
    assert signing_key(SIGNING_TOKEN) == bytes(range(32))
    assert signing_key("whsec_not base64") == b""
    assert signing_key("plain") == b""


@given(st.binary(max_size=300), st.text(max_size=60), st.text(max_size=60))
def test_no_header_text_raises_or_passes(body: bytes, signature: str, secret: str) -> None:
    if signature.endswith(hmac.new(b"k", body, hashlib.sha256).hexdigest()):
        return
    for verify, name in (
        (github, "x-hub-signature-256"),
        (generic, "x-a67-signature"),
        (forgejo, "x-forgejo-signature"),
    ):
        assert isinstance(verify({name: signature, "x-github-event": secret}, body, ("k",), NOW), Refused)
    signed = {"webhook-id": signature, "webhook-timestamp": signature, "webhook-signature": signature}
    assert isinstance(gitlab(signed, body, (SIGNING_TOKEN,), NOW), Refused)
