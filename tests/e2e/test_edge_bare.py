"""A gateway with a real Caddy sends to copies whose node has no proxy of ours, such as those of a swarm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from automator67.engine.nodes.certificates import Authority
from tests.support.cloud import wait_for
from tests.support.edge import Backend, EdgeUnderTest


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[EdgeUnderTest]:
    edge = EdgeUnderTest(tmp_path / "edge", Authority.open(tmp_path / "ca"), "one")
    edge.internal("blog.test")
    edge.site("blog.test", "blog")
    edge.site("blog.test", "api", path="/api")
    edge.start()
    # The gateway's own proxy is one of the places it may send to.
    edge.table["nodes"] = {"one": f"127.0.0.1:{edge.status['proxy']}"}
    edge.table["peers"] = [edge.status["fingerprint"]]
    try:
        yield edge
    finally:
        edge.stop()


def test_copies_here_and_copies_without_a_proxy_share_the_requests(edge: EdgeUnderTest) -> None:
    # Ports like those a swarm publishes: free ones, none of those that this node gives to apps.
    backends = [Backend("local"), Backend("first", 0), Backend("second", 0)]
    try:
        edge.app("blog", i=backends[0].address)
        edge.table["apps"]["blog"] += [
            {"instance": b.word, "node": "swarm", "weight": 1, "address": b.address} for b in backends[1:]
        ]
        edge.table["apps"]["api"] = [{"instance": "a", "node": "swarm", "weight": 1, "address": backends[1].address}]
        edge.set()

        def words(path: str = "/") -> set[str]:
            replies = [edge.request("blog.test", path) for _ in range(30)]
            assert {r.status for r in replies} == {200}
            return {r.text.split()[0] for r in replies}

        wait_for("all three", lambda: words() == {"local", "first", "second"})
        wait_for("the app of a path", lambda: words("/api/x") == {"first"})
        seen = backends[1].seen[-1]
        assert seen["host"] == "blog.test"
        # One that is gone from the table gets nothing more, and nobody notices.
        edge.table["apps"]["blog"] = [t for t in edge.table["apps"]["blog"] if t["instance"] != "second"]
        edge.set()
        wait_for("two", lambda: words() == {"local", "first"})
    finally:
        for backend in backends:
            backend.close()
