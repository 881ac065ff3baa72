"""The Worker that takes names to copies at providers, in the runtime that Cloudflare runs it in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from automator67.agent.edge.gate import Request, decide
from automator67.agent.edge.table import parse
from automator67.engine.names.worker import FarSite
from automator67.engine.nodes.certificates import Authority
from tests.support.tls_backend import TlsBackend
from tests.support.workerd import Workerd

NAMES = ("blog-1.onrender.test", "blog-2.koyeb.test", "blog-3.run.test")


class Far:
    """Two copies that sleep and one that does not, at providers, and the Worker in front of them."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority.open(directory / "ca")
        self.render, self.koyeb, self.run = self.backends = [TlsBackend(n, self.authority) for n in NAMES]
        self.directory, self.started = directory, list[Workerd]()

    def asleep(self) -> tuple[str, ...]:
        return self.render.remote, self.koyeb.remote

    def worker(self, *sites: FarSite) -> Workerd:
        """Start a Worker; one of its own, since it remembers which copies did not answer."""
        made = Workerd(self.directory / str(len(self.started)), sites, self.authority.pem, NAMES)
        self.started.append(made)
        return made

    def close(self) -> None:
        """Stop everything."""
        for running in self.started:
            running.stop()
        for backend in self.backends:
            backend.close()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    far = Far(tmp_path)
    yield far
    far.close()


def test_a_request_arrives_at_a_provider_as_by_a_gateway(far: Far) -> None:
    one = far.worker(FarSite("blog.test", awake=(far.run.remote,)))
    said = {"CF-Connecting-IP": "192.0.2.7", "X-Forwarded-For": "10.0.0.1", "A67-App": "other", "X-Mine": "kept"}
    reply = one.ask("blog.test", "/a/b%20c?d=e", headers=said)
    assert (reply.status, reply.text) == (200, "blog-3 GET /a/b%20c?d=e 0")
    seen = far.run.seen[-1]
    assert seen["host"] == far.run.remote
    assert (seen["x-forwarded-host"], seen["x-forwarded-for"], seen["x-mine"]) == ("blog.test", "192.0.2.7", "kept")
    assert "a67-app" not in seen
    assert one.ask("blog.test", "/up", "POST", bytes(300_000)).text == "blog-3 POST /up 300000"


def test_who_is_awake_is_asked_first_and_who_sleeps_in_one_order(far: Far) -> None:
    one = far.worker(FarSite("blog.test", awake=(far.run.remote,), asleep=far.asleep()))
    assert {one.ask("blog.test").text.split()[0] for _ in range(10)} == {"blog-3"}
    two = far.worker(FarSite("blog.test", asleep=far.asleep()))
    assert {two.ask("blog.test").text.split()[0] for _ in range(10)} == {"blog-1"}


def test_a_copy_that_is_gone_or_refuses_is_passed_over(far: Far) -> None:
    one = far.worker(FarSite("blog.test", asleep=far.asleep()))
    far.render.close()
    replies = [one.ask("blog.test") for _ in range(20)]
    assert {(r.status, r.text.split()[0]) for r in replies} == {(200, "blog-2")}
    # It is known meanwhile, so what must not be sent twice goes to the other at once.
    assert one.ask("blog.test", "/", "POST", b"x").text.startswith("blog-2 POST")
    far.koyeb.status = 503
    assert one.ask("blog.test").status in (502, 503)
    far.koyeb.status = 200
    assert one.ask("blog.test").text.startswith("blog-2")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_provider_in_trouble_is_not_the_answer_while_another_is_well(far: Far, status: int) -> None:
    one = far.worker(FarSite("blog.test", asleep=far.asleep()))
    far.render.status = status
    assert {one.ask("blog.test").text.split()[0] for _ in range(5)} == {"blog-2"}


def test_what_is_not_safe_to_repeat_is_sent_once(far: Far) -> None:
    one = far.worker(FarSite("blog.test", asleep=far.asleep()))
    far.render.status = 503
    assert one.ask("blog.test", "/", "POST", b"x").status == 503
    assert (len(far.render.seen), len(far.koyeb.seen)) == (1, 0)
    # An error of the app itself is the app's answer.
    far.koyeb.status = 500
    assert one.ask("blog.test").status == 500


def test_one_that_wakes_up_has_the_time_for_it(far: Far) -> None:
    one = far.worker(FarSite("blog.test", asleep=far.asleep()[:1]))
    far.render.delay = 12.0
    began = time.monotonic()
    assert one.ask("blog.test").status == 200
    assert time.monotonic() - began > 11


def test_names_redirects_and_what_is_closed(far: Far) -> None:
    one = far.worker(
        FarSite("blog.test", awake=(far.run.remote,)), FarSite("*.blog.test", awake=(far.koyeb.remote,)),
        FarSite("old.test", redirect="blog.test"), FarSite("mine.test", closed=True, awake=(far.run.remote,)),
        FarSite("none.test"),
    )  # fmt: skip
    assert one.ask("any.blog.test").text.startswith("blog-2")
    assert one.ask("BLOG.test").text.startswith("blog-3")
    assert (one.ask("deep.any.blog.test").status, one.ask("nobody.test").status) == (404, 404)
    moved = one.ask("old.test", "/a?b=c")
    assert (moved.status, moved.headers["location"]) == (308, "https://blog.test/a?b=c")
    assert one.ask("mine.test").status == 403
    away = one.ask("none.test")
    assert (away.status, away.headers["retry-after"]) == (503, "10")
    assert len(far.run.seen) == 1


PATHS = [
    "/", "/api", "/api/", "/api/x", "/apix", "/API/x", "/%61pi", "/%2561pi", "/%252561pi", "//api", "/x//api", "/api;x",
    "/x%2fapi", "/%2fapi", "/x/%252e%252e/api", "/api%00", "/deep/down", "/deep", "/Deep/Down/x", "/deep%5cdown",
]  # fmt: skip


def test_paths_are_read_as_a_gateway_reads_them(far: Far) -> None:
    hosts = [("", far.run, "web"), ("/api", far.koyeb, "api"), ("/deep/down", far.render, "deep")]
    one = far.worker(*(FarSite("paths.test", path, awake=(b.remote,)) for path, b, _ in hosts))
    table = parse({
        "node": "n", "port": 1, "sites": [{"host": "paths.test", "path": p, "app": a} for p, _, a in hosts],
        "apps": {a: [{"instance": "i", "node": "m", "weight": 1, "address": "127.0.0.1:1"}] for _, _, a in hosts},
    })  # fmt: skip
    apps = {b.word: a for _, b, a in hosts}
    for path in PATHS:
        verdict = decide(table, Request("paths.test", path, "192.0.2.1", ""), lambda *_: False)
        reply = one.ask("paths.test", path)
        assert reply.status == verdict.status, path
        if verdict.status == 200:
            assert apps[reply.text.split()[0]] == verdict.app, path
    # Dot segments are gone before anybody looks at them: the app sees the path that was decided by.
    assert one.ask("paths.test", "/x/%2e%2e/api/y").text == "blog-2 GET /api/y 0"
