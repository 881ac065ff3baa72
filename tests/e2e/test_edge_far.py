"""A gateway with a real Caddy sends to copies that are reached by a URL of their own, as providers give them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from automator67.engine.nodes.certificates import Authority
from tests.support.cloud import wait_for
from tests.support.edge import Backend, EdgeUnderTest
from tests.support.tls_backend import TlsBackend, behind_hosts

NAMES = ("render.provider.test", "koyeb.provider.test")


class Far:
    """A gateway, one copy of its own and two at providers."""

    def __init__(self, directory: Path) -> None:
        authority = Authority.open(directory / "ca")
        self.edge = EdgeUnderTest(directory / "edge", authority, "one")
        self.edge.internal("blog.test")
        self.edge.site("blog.test", "blog")
        self.edge.site("blog.test", "api", path="/api")
        self.own = Backend("own")
        self.render, self.koyeb = (TlsBackend(name, authority) for name in NAMES)
        self.edge.prefix = behind_hosts(directory, *NAMES)

    def copies(self, *remote: TlsBackend, own: bool = False, standby: bool = True) -> None:
        """Tell the edge where copies are."""
        self.edge.app("blog", **({"i": self.own.address} if own else {}))
        self.edge.table["apps"]["blog"] += [
            {"instance": f"{n}-{b.word}", "node": b.word, "weight": 1, "remote": b.remote, "standby": standby}
            for n, b in enumerate(remote)
        ]
        self.edge.table["apps"]["api"] = self.edge.table["apps"]["blog"]
        self.edge.set()

    def words(self, path: str = "/", times: int = 10) -> set[str]:
        """Return who answers."""
        replies = [self.edge.request("blog.test", path) for _ in range(times)]
        assert {r.status for r in replies} == {200}, [r.text for r in replies]
        return {r.text.split()[0] for r in replies}


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    far = Far(tmp_path)
    (tmp_path / "root.pem").write_text(far.edge.authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    far.edge.start()
    try:
        yield far
    finally:
        far.edge.stop()
        for backend in (far.own, far.render, far.koyeb):
            backend.close()


def test_a_provider_is_asked_by_its_own_name_and_its_certificate_is_checked(far: Far) -> None:
    far.copies(far.render)
    wait_for("the provider to answer", lambda: far.words(times=1) == {"render"})
    assert far.words("/api/x") == {"render"}
    assert set(far.render.names) == {"render.provider.test"}
    seen = far.render.seen[-1]
    assert seen["host"] == "render.provider.test"
    assert (seen["x-forwarded-host"], seen["x-forwarded-proto"], seen[":path"]) == ("blog.test", "https", "/api/x")
    assert "a67-app" not in seen
    posted = far.edge.request("blog.test", "/", method="POST", body=b"12345")
    assert posted.text == "render POST / 5"


def test_copies_that_sleep_are_left_asleep_while_others_answer(far: Far) -> None:
    far.copies(far.render, far.koyeb, own=True)
    wait_for("the own copy", lambda: far.words() == {"own"})
    assert not far.render.seen
    assert not far.koyeb.seen
    far.copies(far.render, far.koyeb)
    wait_for("one of the providers", lambda: far.words() == {"render"})
    assert not far.koyeb.seen
    far.copies(far.render, far.koyeb, own=True, standby=False)
    wait_for("all to share", lambda: far.words(times=30) == {"own", "render", "koyeb"})


@pytest.mark.parametrize("fault", ["gone", "says 503"])
def test_the_next_provider_answers_when_the_first_does_not(far: Far, fault: str) -> None:
    far.copies(far.render, far.koyeb)
    wait_for("one of the providers", lambda: far.words() == {"render"})
    if fault == "gone":
        far.render.die()
    else:
        far.render.status = 503
    assert far.words(times=20) == {"koyeb"}


def test_what_sleeps_has_time_to_wake(far: Far) -> None:
    far.render.delay = 6.0
    far.copies(far.render)
    wait_for("the table to be read", lambda: far.words(times=1) == {"render"})
