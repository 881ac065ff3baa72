"""What libgit2's errors become for a person, and that no secret gets into a text."""

from __future__ import annotations

import pygit2
import pytest

from automator67.engine.remote_errors import (
    MirrorFailed,
    RemoteBroken,
    RemoteError,
    RemoteRefused,
    RemoteUnreachable,
)
from automator67.engine.repo.address import parse
from automator67.engine.repo.transfer import explain, redact

WEB = parse("https://h.example/x")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("unexpected http status code: 401", RemoteRefused),
        ("unexpected http status code: 404", RemoteRefused),
        ("unexpected http status code: 429", RemoteUnreachable),
        ("unexpected http status code: 503", RemoteBroken),
        ("failed to connect to h.example: Connection refused", RemoteUnreachable),
        ("could not read from socket: timed out", RemoteUnreachable),
        ("failed to resolve address for h.example: Name or service not known", RemoteUnreachable),
        ("failed to write pack: No space left on device", MirrorFailed),
        ("cannot redirect from 'a' to 'b'", RemoteRefused),
        ("early EOF", RemoteBroken),
        ("packfile checksum mismatch", RemoteBroken),
    ],
)
def test_kinds(said: str, kind: type[RemoteError]) -> None:
    assert type(explain(pygit2.GitError(said), WEB)) is kind


def test_texts_are_one_line_without_secrets() -> None:
    error = pygit2.GitError("bad\nthing at https://ana:hunter2@h.example/x with tok+en/1 and tok%2Ben%2F1\x1b[0m")
    text = str(explain(error, WEB, ("", "tok+en/1")))
    assert "hunter2" not in text
    assert "tok" not in text
    assert "\n" not in text
    assert "\x1b" not in text
    assert redact("plain text") == "plain text"
