"""URLs as people write them: what is accepted, what is refused, and that no secret stays in what may be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from automator67.engine.repo.address import BadAddress, is_loopback, origin, parse


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "path", "user", "url"),
    [
        ("https://github.com/ana/cloud", "https", "github.com", 443, "/ana/cloud", "", "https://github.com/ana/cloud"),
        ("HTTPS://GitHub.com/ana/x.git", "https", "github.com", 443, "/ana/x.git", "", "https://github.com/ana/x.git"),
        ("https://h.example:8443/x", "https", "h.example", 8443, "/x", "", "https://h.example:8443/x"),
        ("https://[::1]:8443/x", "https", "::1", 8443, "/x", "", "https://[::1]:8443/x"),
        ("http://127.0.0.1:3000/x", "http", "127.0.0.1", 3000, "/x", "", "http://127.0.0.1:3000/x"),
        ("ssh://h.example/x", "ssh", "h.example", 22, "/x", "git", "ssh://git@h.example/x"),
        ("ssh://me@h.example:2222/~/x", "ssh", "h.example", 2222, "/~/x", "me", "ssh://me@h.example:2222/~/x"),
        (
            "git@github.com:ana/cloud.git",
            "ssh",
            "github.com",
            22,
            "ana/cloud.git",
            "git",
            "git@github.com:ana/cloud.git",
        ),
        ("file:///srv/a%20b.git", "file", "", 0, "/srv/a b.git", "", "file:///srv/a%20b.git"),
        ("file://localhost/srv/x", "file", "", 0, "/srv/x", "", "file:///srv/x"),
        ("/srv/cloud.git", "file", "", 0, "/srv/cloud.git", "", "file:///srv/cloud.git"),
    ],
)
def test_reads_what_people_write(text: str, scheme: str, host: str, port: int, path: str, user: str, url: str) -> None:
    found = parse(text)
    assert (found.scheme, found.host, found.port, found.path, found.user, found.url) == (
        scheme, host, port, path, user, url,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" https://h.example/x", "blanks"),
        ("https://h.example/x\n", "blanks"),
        ("git://h.example/x", "git:// is not supported"),
        ("ext::sh -c id", "neither a path nor a URL"),
        ("ftp://h.example/x", "ftp:// is not supported"),
        ("http://h.example/x", "not encrypted"),
        ("https:///x", "names no host"),
        ("https://-oProxyCommand=x/y", "names no host"),
        ("ssh://-oProxyCommand=x/y", "names no host"),
        ("https://h.example", "names no repository"),
        ("https://h.example:99999/x", "is not a URL"),
        ("https://[::1/x", "is not a URL"),
        ("file://other.example/x", "write file:///PATH"),
        ("github.com:ana/cloud", "git@github.com:PATH"),
        ("github.com/ana/cloud", "did you mean https://github.com/ana/cloud?"),
        ("ssh://git:hunter2@h.example/x", "not a password"),
    ],
)
def test_refuses_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(BadAddress) as raised:
        parse(text)
    assert says in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_password_in_the_url_is_kept_apart() -> None:
    found = parse("https://ana:hunt%40er2@h.example/x")
    assert (found.user, found.secret, found.url) == ("ana", "hunt@er2", "https://h.example/x")
    assert "hunt" not in repr(found)


def test_plain_http_only_here_or_when_allowed() -> None:
    assert parse("http://h.example/x", allow_http=True).scheme == "http"
    assert parse("http://localhost/x").port == 80
    assert is_loopback("127.9.9.9")
    assert is_loopback("a.localhost")
    assert not is_loopback("localhost.example")


def test_a_path_that_exists_needs_no_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.repo" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse("my.repo/x").path == str(tmp_path / "my.repo" / "x")


def test_origin_is_scheme_host_and_port() -> None:
    assert origin("https://H.example/a") == origin("https://h.example:443/b")
    assert origin("https://h.example/") != origin("http://h.example/")
    assert origin("https://h.example/") != origin("https://h.example:8443/")
