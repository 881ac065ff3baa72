"""What watching costs, and that it does not grow: breakers, history, uptime and quotas over two simulated days.

    python -m tests.bench.bench_watch

30 nodes and 100 apps, ten of whose copies come and go, and an account whose provider answers 500 for hours. The first
day fills the rings of the history. Bars: over the second day no growth in memory and store; the write of a minute below
50 ms, with its ratio to a transaction that writes one fact, in the same run; and not more than one a minute.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from automator67.engine.breaker import BreakerOpen, Breakers
from automator67.engine.chronicle import Chronicle, Judged
from automator67.engine.desired import App, Desired, Node, Origin
from automator67.engine.judge import AppState
from automator67.engine.measures import Measures
from automator67.engine.metrics import samples
from automator67.engine.observed import NodeView, Observed, Revision
from automator67.engine.settings import Settings
from automator67.engine.store.database import Store, open_store
from automator67.engine.store.facts import set_app_states, set_fact
from automator67.engine.store.nodes import NodeRecord, put_nodes
from automator67.engine.store.watching import seen
from automator67.engine.tiers import Tier
from tests.bench.bench_judgement import size

NODES, APPS, STEP, DAY = 30, 100, 5.0, 86400.0
MINUTE_BAR = 0.050
BLOCKS_BAR, STORE_BAR = 20_000, 1024 * 1024
"""Free lists and caches of the interpreter vary by some thousand blocks; the log of events is bounded by its number."""


class Watched:
    """A chronicle over virtual time, with apps that fail now and then."""

    def __init__(self, folder: Path) -> None:
        self.now, self.chance = 1_764_072_000.0, random.Random(67)
        self.store = open_store(folder / "store.db")
        self.breakers = Breakers()
        self.far = self.breakers.before("node/far", "node far")
        self.far._clock = lambda: self.now
        self.chronicle = Chronicle(self.store, self.breakers, folder / "sql", lambda: self.now, str)
        nodes = {f"n{n}": Node(f"n{n}", Origin(f"nodes/n{n}.yaml", "b")) for n in range(NODES)}
        nodes["far"] = replace(nodes["n0"], name="far", kind="render", tier=Tier("render", hours=750.0))
        apps = {f"a{n}": App(f"a{n}", Origin(f"apps/a{n}.yaml", "b"), "docker", rev="r") for n in range(APPS)}
        self.desired = Desired("c", Settings(), nodes, apps)
        good: dict[str, Any] = dict.fromkeys(apps, Revision)
        views = {name: NodeView(name, "healthy", reported=True) for name in nodes}
        self.observed = Observed(views, last_good=good)
        self.states = {name: self.state(name, well=True) for name in apps}
        self.report()
        self.busy = True

    def state(self, name: str, *, well: bool) -> AppState:
        """Return an app's state."""
        copy = {"node": f"n{int(name[1:]) % NODES}", "healthy": well, "phase": "running"}
        health = "healthy" if well else "missing"
        return AppState(
            name, "synced", health, "none", replicas_wanted=1, replicas_healthy=int(well), instances=(copy,)
        )

    def report(self) -> None:
        """Write new reports of all nodes and the states of all apps, as the registry and the passes do."""
        records = []
        for n in range(NODES):
            mine = [a for a in self.states if int(a[1:]) % NODES == n]
            instances = [{"id": a, "app": a, "cpu": self.chance.random(), "memory": 1e8, "restarts": n} for a in mine]
            usage = {"cpu": self.chance.random(), "memory": self.chance.random() * 1e9, "disk": 1e10}
            capacity = {"cpu": 2, "memory": 2e9, "disk": 5e10}
            report = {"capacity": capacity, "usage": usage, "instances": instances, "agent": {"rss": 18e6}}
            records.append(NodeRecord(f"n{n}", last_seen=self.now, state="healthy", report=report))
        with self.store.begin() as tx:
            put_nodes(tx, records)
            set_app_states(tx, {}, self.states, self.now)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            if self.busy and self.now % 600 == 0:
                for name in self.chance.sample([*self.states], 10):
                    self.states[name] = self.state(name, well=self.chance.random() < 0.7)
                self.report()
            with suppress(OSError, BreakerOpen), self.far.call(lambda _: True):
                if self.busy and int(self.now // 7200) % 2:
                    raise OSError("HTTP 500")
            figures: Measures = {"passes": self.now, "failed_passes": 0.0, "pass_seconds": 1.0}
            self.chronicle.tick(Judged(self.now, self.states, self.desired, self.observed, figures))


@contextmanager
def counted(store: Store) -> Iterator[list[float]]:
    """Yield the seconds that each transaction takes that is begun meanwhile."""
    taken: list[float] = []
    begin = store.begin

    @contextmanager
    def timed() -> Iterator[Connection]:
        began = time.perf_counter()
        with begin() as tx:
            yield tx
        taken.append(time.perf_counter() - began)

    store.begin = timed  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        store.begin = begin  # type: ignore[method-assign]


def one_fact(store: Store) -> None:
    """Write as little as there can be."""
    with store.begin() as tx:
        set_fact(tx, "bench", str(time.perf_counter()))


def a_quiet_hour(watched: Watched) -> tuple[float, float, int]:
    """Return the median seconds of a minute's write and of a transaction with one fact, and how many writes there were.

    Nothing changes in this hour, so nothing but the minutes is due.
    """
    watched.busy = False
    watched.run(600)
    with counted(watched.store) as taken:
        watched.run(3600)
    minutes = statistics.median(taken)
    with counted(watched.store) as least:
        for _ in range(60):
            one_fact(watched.store)
    return minutes, statistics.median(least), len(taken)


def main() -> int:
    """Print the figures; return 1 when a bar is missed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        watched = Watched(Path(folder))
        watched.run(DAY)
        memory, stored = sys.getallocatedblocks(), size(path)
        watched.run(DAY)
        memory_grown, stored_grown = sys.getallocatedblocks() - memory, size(path) - stored
        minute, least, writes = a_quiet_hour(watched)
        began = time.perf_counter()
        with watched.store.read() as tx:
            count = sum(1 for _ in samples(seen(tx)))
        scrape = time.perf_counter() - began
        watched.store.close()
    print(f"the second of two days, {NODES} nodes, {APPS} apps: {memory_grown:+} blocks of memory (bar {BLOCKS_BAR}), "
          f"store {stored_grown / 1024:+.0f} KiB of {stored / 1024:.0f} (bar {STORE_BAR // 1024})")  # fmt: skip
    print(f"the write of a minute: {minute * 1e3:.1f} ms, {minute / least:.1f} times that of one fact "
          f"(bar {MINUTE_BAR * 1e3:.0f} ms)")  # fmt: skip
    print(f"writes in a quiet hour: {writes} (bar 60)")
    print(f"a scrape: {count} samples in {scrape * 1e3:.0f} ms")
    good = memory_grown < BLOCKS_BAR and stored_grown < STORE_BAR and minute < MINUTE_BAR and writes <= 60
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
