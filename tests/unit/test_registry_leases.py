"""Which nodes get leases, how long the engine holds them to count, and when it looks again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automator67.engine.nodes.certificates import Identity
from automator67.engine.nodes.registry import Registry
from automator67.engine.observed import NodeView
from automator67.engine.settings import Settings
from automator67.engine.store.database import Store, open_store

S = Settings()


class Engine:
    """A registry whose clock the test moves."""

    def __init__(self, store: Store, at: float = 1000.0) -> None:
        self.now = at
        self.registry = Registry(store, lambda: self.now, lambda: self.now)
        self.registry.load()

    def beat(self, node: str = "n") -> float:
        self.registry.admit(Identity("home", node, "1", self.now + 86400, b"k"))
        message: dict[str, Any] = {"boot_id": f"b{node}", "seq": 1, "clock": self.now, "instances": [], "runtimes": {}}
        self.registry.heartbeat(node, message)
        return self.registry.answers(node, 30.0)

    def look(self, node: str = "n") -> NodeView:
        return self.registry.views({}, S)[node]

    def wait(self, seconds: float, *others: str) -> None:
        for _ in range(round(seconds)):
            self.now += 1
            self.registry.tick()
            self.registry.verdicts_due()
            if self.now % 30 == 0:
                for other in others:
                    self.beat(other)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store.db") as store:
        yield store


def test_a_lease_comes_after_a_pass_has_seen_the_node(store: Store) -> None:
    engine = Engine(store)
    assert engine.beat() == 0.0
    engine.registry.set_desired("n", "home", [], alive=engine.look().state == "healthy")
    assert engine.beat() == S.lease
    assert engine.look().lease_until == engine.now + S.lease


def test_a_node_that_was_given_up_gets_none_before_it_was_seen_again(store: Store) -> None:
    engine = Engine(store)
    for node in ("n", "a", "b"):
        engine.beat(node)
        engine.registry.set_desired(node, "home", [])
        engine.beat(node)
    engine.wait(300, "a", "b")
    assert engine.look().state == "unavailable"
    # The pass that gave it up is still at work, and its heartbeat comes in between.
    assert engine.beat() == 0.0
    engine.registry.set_desired("n", "home", [{"id": "old"}], alive=False)
    assert engine.beat() == 0.0
    assert engine.look().state == "recovering"
    engine.registry.set_desired("n", "home", [], alive=True)
    assert engine.beat() == S.lease


def test_an_engine_that_starts_reckons_with_leases_of_the_one_before(store: Store) -> None:
    first = Engine(store)
    first.beat()
    first.registry.set_desired("n", "home", [])
    first.beat()
    first.registry.flush()
    second = Engine(store, at=first.now + 500)
    assert second.look().lease_until == second.now + S.lease


def test_a_stopped_engine_gives_everybody_time(store: Store) -> None:
    engine = Engine(store)
    for node in ("n", "a", "b"):
        engine.beat(node)
    engine.wait(200, "n", "a", "b")
    engine.now += 600
    assert engine.look().state in ("healthy", "suspect"), "before anybody could call tick"
    engine.wait(60, "a", "b")
    assert engine.look().state == "suspect"
    engine.wait(100, "a", "b")
    assert engine.look().state == "unavailable"


def test_a_broken_connection_is_looked_at_again_in_time(store: Store) -> None:
    engine = Engine(store)
    engine.beat()
    engine.registry.hold("n")
    engine.registry.let_go("n", broken=True)
    assert engine.look().state == "healthy"
    assert engine.registry.watch.changes_at(engine.now) == pytest.approx(engine.now + 0.5)
    engine.now += 0.6
    assert engine.look().state == "suspect"
