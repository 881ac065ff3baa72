"""Bodies within bounds, settings that say what is wrong, a log that cannot be flooded, a memory of what was seen."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from automator67.webhooks.body import BodyError, parse_object, read_body
from automator67.webhooks.refusals import LINES_PER_WINDOW, WINDOW_SECONDS, RefusalLog, one_line
from automator67.webhooks.seen import REMEMBERED, Seen
from automator67.webhooks.settings import SettingsError, SettingsFile, load_settings, parse_settings
from tests.support.deliveries import SECRET, SIGNING_TOKEN


class Endless(io.RawIOBase):
    """Gives bytes for ever and counts them."""

    def __init__(self) -> None:
        self.given = 0

    def read(self, size: int = -1, /) -> bytes:
        self.given += size
        return b"x" * size


def test_a_body_is_read_whole_in_either_framing() -> None:
    assert read_body(io.BytesIO(b"abc"), 3) == b"abc"
    assert read_body(io.BytesIO(b"abc"), None) == b"abc"
    assert read_body(io.BytesIO(b"abcdef"), 3) == b"abc"
    assert read_body(io.BytesIO(b""), None) == b""
    assert read_body(io.BytesIO(b"x" * 100), 100, cap=100) == b"x" * 100
    assert read_body(io.BytesIO(b"x" * 100), None, cap=100) == b"x" * 100


def test_a_body_declared_too_long_is_not_touched() -> None:
    stream = Endless()
    with pytest.raises(BodyError, match="the poll will find the commit") as caught:
        read_body(stream, 30 * 2**20)
    assert caught.value.status == 413
    assert stream.given == 0


def test_a_chunked_body_is_given_up_at_the_cap() -> None:
    stream = Endless()
    with pytest.raises(BodyError) as caught:
        read_body(stream, None, cap=100_000)
    assert caught.value.status == 413
    assert stream.given <= 100_001 + 65536


def test_a_body_that_ends_early_is_refused() -> None:
    with pytest.raises(BodyError, match="ended before") as caught:
        read_body(io.BytesIO(b"ab"), 3)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"text"', b"7", b"\xff\xfe", b'{"a": NaN}', b'{"a": Infinity}', b"[" * 500_000,
        b'{"a":' * 200_000, b'{"n": ' + b"9" * 100_000 + b"}", b"payload=%7B%7D",
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError) as caught:
        parse_object(body)
    assert caught.value.status == 400


def test_an_object_is_parsed() -> None:
    assert parse_object('{"ref": "refs/heads/ünïcode"}'.encode()) == {"ref": "refs/heads/ünïcode"}


def test_settings_as_the_engine_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "web.json"
    assert load_settings(path).secrets == {}
    written = {"repository": "https://github.com/ana/cloud.git", "branch": "main", "trusted_proxies": 1, "store": "",
               "secrets": {"github": [SECRET, "next"], "gitlab": [SIGNING_TOKEN], "gitea": []}}  # fmt: skip
    path.write_text(json.dumps(written))
    settings = load_settings(path)
    assert settings.secrets == {"github": (SECRET, "next"), "gitlab": (SIGNING_TOKEN,)}
    assert settings.trusted_proxies == 1
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "must be an object"),
        ({"secret": {}}, "did you mean 'secrets'"),
        ({"secrets": {"githab": ["x"]}, "repository": "a/b"}, "unknown forge; known: github"),
        ({"secrets": {"github": "x"}, "repository": "a/b"}, "list of non-empty texts"),
        ({"secrets": {"github": [""]}, "repository": "a/b"}, "list of non-empty texts"),
        ({"secrets": {"github": ["hush"]}}, "repository is missing"),
        ({"secrets": {"gitlab": ["whsec_%%%"]}, "repository": "a/b"}, "whsec_ followed by base64"),
        ({"trusted_proxies": -1}, "from 0 to 10"),
        ({"trusted_proxies": True}, "from 0 to 10"),
        ({"branch": ""}, "must be texts"),
        ({"repository": 5}, "must be texts"),
    ],
)
def test_settings_that_cannot_be_used_say_why_and_show_no_secret(document: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        parse_settings(document)
    assert "hush" not in str(caught.value)
    assert "%%%" not in str(caught.value)


def test_a_replaced_file_is_read_again_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "web.json"
    file = SettingsFile(path)
    assert file.current().secrets == {}

    def replace(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(path)

    replace(json.dumps({"repository": "a/b", "secrets": {"github": ["one"]}}))
    assert file.current().secrets == {"github": ("one",)}
    replace("{")
    assert file.current().secrets == {"github": ("one",)}
    replace(json.dumps({"repository": "a/b", "secrets": {"github": ["one", "two"]}}))
    assert file.current().secrets == {"github": ("one", "two")}


def test_a_flood_of_refusals_makes_few_lines_and_says_how_many_there_were(caplog: pytest.LogCaptureFixture) -> None:
    refusals = RefusalLog()
    with caplog.at_level(logging.WARNING):
        for n in range(1000):
            refusals.add("github", "192.0.2.1", "no", 401, now=n / 1000)
        assert len(caplog.records) == LINES_PER_WINDOW
        refusals.add("github", "192.0.2.1", "no", 401, now=WINDOW_SECONDS + 1)
    assert len(caplog.records) == LINES_PER_WINDOW + 2
    assert f"{1000 - LINES_PER_WINDOW} more webhook deliveries were refused" in caplog.text


def test_a_line_cannot_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        RefusalLog().add("git\nhub\x1b[2J\u2028", "192.0.2.1\r", "x" * 5000, 404, now=0)
    (record,) = caplog.records
    message = record.getMessage()
    assert message.isprintable()
    assert len(message) < 400
    assert one_line("a\nb") == "a\\nb"


def test_seen_remembers_a_bounded_number_and_asks_the_store_once() -> None:
    asked: list[str] = []

    def in_store(key: str) -> bool:
        asked.append(key)
        return key == "old"

    seen = Seen(in_store)
    assert not seen.known("new")
    assert seen.known("old")
    assert seen.known("old")
    assert asked == ["new", "old"]
    for n in range(REMEMBERED + 10):
        seen.remember(str(n))
    assert seen.known(str(REMEMBERED))
    assert not seen.known("0")
