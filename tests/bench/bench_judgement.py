"""Judging 1,000 nodes with 10 apps each; and a simulated day with lost and late heartbeats.

    python -m tests.bench.bench_judgement

Bars: a round of judgement (nodes and apps) below 50 ms; over 24 simulated hours in which 5 % of the heartbeats are lost
and the others come up to 2 s late, no node falsely unavailable, and one that falls silent suspect below 3 heartbeats;
memory and store do not grow from the second hour to the last. The ratio is against visiting the same nodes and copies
and doing nothing, in the same run.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from automator67.engine.alerts.incidents import Silence
from automator67.engine.alerts.rules import rules_of
from automator67.engine.alerts.telling import step
from automator67.engine.copies import instance_id, join
from automator67.engine.desired import App, Desired, Node, Origin
from automator67.engine.judge import Standing, judge
from automator67.engine.nodes import judgement
from automator67.engine.nodes.certificates import Identity
from automator67.engine.nodes.judgement import Signs, Weather, judge_nodes
from automator67.engine.nodes.registry import Registry
from automator67.engine.observed import Assignment, Instance, NodeView, Observed
from automator67.engine.plan.model import Plan
from automator67.engine.settings import Settings
from automator67.engine.store.database import Store, open_store
from automator67.engine.troubles import troubles

NODES, APPS = 1000, 10
ROUND_BAR = 0.050
LOSS, JITTER, EVERY = 0.05, 2.0, 30.0
DAY, CROWD = 86400.0, 40
DEATHS = 20
BLOCKS_BAR, STORE_BAR = 5000, 1024 * 1024
"""The log of events is bounded by their number, which takes about that much."""


def measured(work: Callable[[], object], rounds: int = 9) -> float:
    """Return the median seconds of a piece of work."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def a_round() -> tuple[float, float, float]:
    """Return the seconds that one round of judgement takes, those of only visiting everything, and those of alerts.

    For the alerts every third node is unavailable, and all of that is still to be told.
    """
    settings = Settings()
    signs = {f"n{n}": Signs(float(n % 60), every=EVERY, suspect=40.0, unavailable=100.0) for n in range(NODES)}
    before = {name: judgement.Standing("healthy") for name in signs}
    apps = {f"a{n}": App(f"a{n}", Origin("apps/a.yaml", "b"), "docker", replicas=NODES, rev="r") for n in range(APPS)}
    assignments, views = [], {}
    for number, node in enumerate(signs):
        copies = []
        for name in apps:
            i = instance_id(name, number, "r")
            copies.append(Instance(i, name, number, "r", 1, node, "running", "healthy", 1.0, 1.0))
            assignments.append(Assignment(i, name, number, "r", node, 1, "run", 1.0, "c"))
        views[node] = NodeView(node, "healthy", reported=True, instances=tuple(copies))
    observed = Observed(views, tuple(assignments))
    nodes = {n: Node(n, Origin(f"nodes/{n}.yaml", "b")) for n in signs}
    desired = Desired("c", settings, nodes, apps)
    plan, copies_of = Plan("c", (), (), ()), join(observed)

    def work() -> None:
        judge_nodes(signs, before, Weather(-1e6), settings, 0.0)
        judge(desired, observed, plan, copies_of)

    def visit() -> None:
        for _ in signs.values():
            pass
        for mine in copies_of.values():
            for c in mine:
                str(c.healthy)

    gone = {name: replace(v, state="unavailable") if n % 3 else v for n, (name, v) in enumerate(views.items())}
    ill, standing = replace(observed, nodes=gone), Standing(judge(desired, observed, plan, copies_of), "applied", "")
    rules = rules_of(
        {"alerts": [{"to": "mailto://a@b.org"}, {"to": {"secret": "slack"}, "resources": {"kind": "app"}}]}
    )

    def tell() -> None:
        step((), troubles(desired, ill, standing), rules, [Silence("node/n1", 9.0)], 1.0)

    return measured(work), measured(visit), measured(tell)


class Day:
    """A registry over virtual time, with nodes whose heartbeats get lost and come late."""

    def __init__(self, store: Store, seed: int) -> None:
        self.now, self.chance = 1e6, random.Random(seed)
        self.registry = Registry(store, lambda: self.now, lambda: self.now)
        self.registry.load()
        self.names = [f"n{n}" for n in range(CROWD)]
        self.nodes = {n: Node(n, Origin(f"nodes/{n}.yaml", "b")) for n in self.names}
        self.due = {n: self.now + self.chance.uniform(0, EVERY) for n in self.names}
        self.dead: dict[str, float] = {}
        self.false: list[str] = []
        self.suspected: dict[str, float] = {}
        self.found: list[tuple[float, float]] = []

    def run(self, seconds: float) -> None:
        """Let time pass, second by second."""
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            self.registry.tick()
            for name, at in self.due.items():
                if at <= self.now:
                    self._beat(name)
            if self.now % 5 == 0 and self.registry.verdicts_due():
                self._look()
            if self.now % 600 == 0:
                self.registry.flush()

    def _beat(self, name: str) -> None:
        self.due[name] = self.now + EVERY * self.chance.uniform(0.9, 1.1) * self.chance.uniform(0.9, 1.1)
        self.due[name] += self.chance.uniform(0, JITTER)
        if name in self.dead or self.chance.random() < LOSS:
            return
        self.registry.admit(Identity("home", name, "1", self.now + 86400))
        message: dict[str, Any] = {"boot_id": name, "seq": 1, "clock": self.now, "instances": [], "runtimes": {}}
        self.registry.heartbeat(name, message)
        self.registry.answers(name, EVERY)

    def _look(self) -> None:
        for name, view in self.registry.views(self.nodes, Settings()).items():
            if name not in self.dead:
                self.false += [name] if view.state == "unavailable" else []
            elif view.state in ("suspect", "failing"):
                self.suspected.setdefault(name, self.now - self.dead[name])
            elif view.state == "unavailable" and name in self.suspected:
                self.found.append((self.suspected.pop(name), self.now - self.dead.pop(name)))

    def kill_some(self) -> None:
        """Let single nodes fall silent just after a heartbeat, one after the other, and come back once noticed."""
        for name in self.chance.sample(self.names, DEATHS):
            while self.registry.views(self.nodes, Settings())[name].last_seen != self.now:
                self.run(1)
            self.dead[name] = self.now
            while name in self.dead:
                self.run(1)


def size(path: Path) -> int:
    """Return how many bytes of a store hold something (pages that are free may stay in the file)."""
    with open_store(path) as store, store.read() as tx:
        pages, free, page = (tx.exec_driver_sql(f"PRAGMA {what}").scalar_one() for what in
                             ("page_count", "freelist_count", "page_size"))  # fmt: skip
    return int((pages - free) * page)


def main() -> int:
    """Print the figures; return 1 when a bar is missed."""
    judged, visited, told = a_round()
    print(f"a round over {NODES} nodes and {NODES * APPS} copies: {judged * 1e3:.1f} ms "
          f"({judged / visited:.0f} times visiting them), bar {ROUND_BAR * 1e3:.0f} ms")  # fmt: skip
    print(
        f"alerts of {NODES * 2 // 3} lost nodes at once: {told * 1e3:.1f} ms ({told / visited:.0f} times visiting them)"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        with open_store(path) as store:
            day = Day(store, 67)
            day.run(2 * 3600)
            memory, stored = sys.getallocatedblocks(), size(path)
            day.run(DAY - 2 * 3600)
            memory_grown = sys.getallocatedblocks() - memory
            stored_grown = size(path) - stored
            false = len(day.false)
            day.kill_some()
        suspect, gone = (max(times) for times in zip(*day.found, strict=True))
    print(f"24 h, {CROWD} nodes, {LOSS:.0%} of heartbeats lost, the others up to {JITTER:g} s late: "
          f"{false} falsely unavailable, bar 0")  # fmt: skip
    print(f"{DEATHS} silent nodes: suspect after {suspect:.0f} s at most ({suspect / EVERY:.2f} heartbeats, bar 3), "
          f"unavailable after {gone:.0f} s at most (bar {2 * Settings().unavailable_after:.0f} s)")  # fmt: skip
    print(f"growth from hour 2 to 24: {memory_grown:+} blocks of memory (bar {BLOCKS_BAR}), "
          f"store {stored_grown / 1024:+.0f} KiB (bar {STORE_BAR // 1024})")  # fmt: skip
    good = judged < ROUND_BAR and not false and suspect < 3 * EVERY and gone <= 2 * Settings().unavailable_after + 2
    return 0 if good and memory_grown < BLOCKS_BAR and stored_grown < STORE_BAR else 1


if __name__ == "__main__":
    sys.exit(main())
