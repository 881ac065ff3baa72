"""Random faults over ten agents for as long as asked, with the promises of docs/health.md checked all the time.

    python -m tests.soak.health --minutes 30 [--seed 67]

Every agent has a network namespace of its own. Faults: an agent killed, a node killed (with all it runs), an agent that
hangs, a link cut both ways or one way, a link that flaps, a process of an app killed, the engine killed or hung. At
most three nodes are in trouble at the same time. Checked, while it goes on and at the end:

- an exclusive app never runs twice (by a ledger that its copies write outside of all nodes);
- a replicated app never has fewer healthy copies than could run for longer than the bound;
- every node that was given up was in trouble, and is trusted again in the end;
- every incident of a node has one beginning and one end: no state is told twice in a row;
- every incident that was told was told once, and once that it is over (a web hook is told of all of them);
- in the end exactly the wanted copies run, each once.

Needs root. Prints each fault and incident as it happens; exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from automator67.engine.store.database import StoreUnavailable
from automator67.engine.store.tables import events
from tests.support.cloud import Cloud, http_app, wait_for
from tests.support.copies import running_copies, running_processes
from tests.support.ledger import lives, overlaps, witness
from tests.support.netns import Net
from tests.support.sinks import Hook

NODES = tuple(f"n{n}" for n in range(10))
REPLICAS = 4
BEAT = {
    "interval": "500ms", "suspect_after": "1500ms", "failing_after": "3s", "unavailable_after": "5s", "lease": "6s",
}  # fmt: skip
MOST_TROUBLE = 3
BOUND = 45.0
"""How long fewer than the wanted copies may be healthy: until noticed, doubt, grace after an absence, the start."""
CALM = 150.0
"""How long it may take after the last fault until everything is as wanted."""


class Soak:
    """The cloud, what is broken in it, and what was found."""

    def __init__(self, directory: Path, net: Net, seed: int) -> None:
        self.net, self.chance = net, random.Random(seed)
        self.evidence = directory / "evidence"
        self.evidence.mkdir()
        self.evidence.chmod(0o777)
        self.cloud = Cloud(directory / "cloud", nodes=NODES)
        self.cloud.host = net.host
        self.cloud.inside = {node: net.command(node) for node in NODES}
        self.hook = Hook()
        self.trouble: dict[str, Callable[[], None]] = {}
        self.until: dict[str, float] = {}
        self.was_in_trouble: set[str] = set()
        self.engine_away_until = 0.0
        self.engine_back: Callable[[], None] | None = None
        self.short_since = 0.0
        self.broken_promises: list[str] = []
        self.told = 0
        self.faults = 0
        self.last: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Print a line with the time since the beginning."""
        print(f"{time.monotonic() - self.began:8.1f}  {text}", flush=True)

    def up(self) -> None:
        """Start everything."""
        self.began = time.monotonic()
        alerts = [{"to": self.hook.url, "group": "1s", "repeat": "0s"}]
        settings = {"name": self.cloud.name, "heartbeat": BEAT, "alerts": alerts}
        self.cloud.push(self.cloud.base() | {
            "automator67.yaml": settings, "apps/only.yaml": witness(self.evidence, exclusive=True),
            "apps/web.yaml": http_app(replicas=REPLICAS),
        })  # fmt: skip
        self.cloud.up()
        for app in ("only", "web"):
            self.cloud.wait_app(app, lambda s: s.health == "healthy", 60)
        self.say("ten agents run")

    def run(self, seconds: float) -> None:
        """Break things at random, and see to it that they are mended after a while."""
        end = time.monotonic() + seconds
        next_fault = 0.0
        while (now := time.monotonic()) < end:
            self._mend(now)
            if now >= next_fault and len(self.trouble) < MOST_TROUBLE:
                self._break(now)
                next_fault = now + self.chance.uniform(2, 12)
            self._check(now)
            time.sleep(0.25)
        self._mend(float("inf"))

    def settle(self) -> None:
        """Check that everything becomes as wanted once nothing is broken any more."""
        self.say("nothing is broken any more")
        try:
            wait_for("trust", lambda: self._check(time.monotonic()) or self.cloud.healthy_nodes() >= set(NODES), CALM)
            wait_for("the wanted copies, each once", self._as_wanted, CALM)
            wait_for("the end of every incident", self._told_all, CALM)
        except AssertionError as error:
            self._broken(str(error))
        self._check(time.monotonic())

    def _told_all(self) -> bool:
        """Whether the end of every incident was told; what was told wrongly is a broken promise."""
        for what in self.hook.wrongly_told():
            self._broken(f"incident {what}")
        return not self.hook.lasting()

    def _as_wanted(self) -> bool:
        counts = running_copies(self.cloud.name)
        return sorted(counts) == ["only-0", *(f"web-{n}" for n in range(REPLICAS))] and set(counts.values()) == {1}

    def _break(self, now: float) -> None:
        well = [n for n in NODES if n not in self.trouble]
        node, length = self.chance.choice(well), self.chance.uniform(0.5, 25)
        kind = self.chance.choice(["agent killed", "node killed", "agent hangs", "cut both", "cut in", "cut out",
                                   "flaps", "process killed", "engine killed", "engine hangs"])  # fmt: skip
        if kind.startswith("engine"):
            if self.engine_back is None:
                self.say(f"{kind} for {length:.0f} s")
                self.faults += 1
                self._break_engine(kind, now + length)
            return
        self.say(f"{node}: {kind} for {length:.0f} s")
        self.faults += 1
        if kind == "process killed":
            self._kill_processes(node)
            return
        self.was_in_trouble.add(node)
        self.trouble[node], self.until[node] = self._harm(node, kind), now + length

    def _break_engine(self, kind: str, until: float) -> None:
        self.engine_away_until = until
        if kind == "engine killed":
            self.cloud.kill("engine")
            self.engine_back = lambda: self.cloud.start_engine() and None
        else:
            engine = self.cloud.processes["engine"]
            engine.send_signal(signal.SIGSTOP)
            self.engine_back = lambda: engine.send_signal(signal.SIGCONT)

    def _harm(self, node: str, kind: str) -> Callable[[], None]:
        """Do it, and return what mends it."""
        name = f"agent-{node}"
        if kind in ("agent killed", "node killed"):
            self.cloud.kill(name)
            if kind == "node killed":
                self._kill_processes(node)
            return lambda: self.cloud.start_agent(node) and None
        if kind == "agent hangs":
            process = self.cloud.processes[name]
            process.send_signal(signal.SIGSTOP)
            return lambda: process.send_signal(signal.SIGCONT)
        if kind == "flaps":
            for _ in range(self.chance.randint(2, 4)):
                self.net.cut(node)
                time.sleep(self.chance.uniform(0.3, 2))
                self.net.heal(node)
                time.sleep(self.chance.uniform(0.3, 2))
            return lambda: None
        self.net.cut(node, {"cut both": "both", "cut in": "in", "cut out": "out"}[kind])  # type: ignore[arg-type]
        return lambda: self.net.heal(node)

    def _kill_processes(self, node: str) -> None:
        for pid, stamp in running_processes(self.cloud.name).items():
            if stamp["A67_NODE"] == node:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _mend(self, now: float) -> None:
        for node in [n for n, at in self.until.items() if at <= now]:
            self.trouble.pop(node)()
            del self.until[node]
            self.say(f"{node}: mended")
        if self.engine_back is not None and self.engine_away_until <= now:
            self.engine_back()
            self.engine_back = None
            self.short_since = 0.0
            self.say("the engine is back")

    def _check(self, now: float) -> None:
        found = overlaps(lives(self.evidence))
        if found:
            self._broken(f"two copies of the exclusive app ran at the same time: {found[0]}")
        self._read_incidents()
        state = self.cloud.app("web")
        healthy = state.replicas_healthy if state else 0
        short = healthy < REPLICAS and self.engine_back is None
        self.short_since = (self.short_since or now) if short else 0.0
        if short and now - self.short_since > BOUND:
            self._broken(f"only {healthy} of {REPLICAS} copies were healthy for {BOUND:.0f} s")
            self.short_since = now

    def _read_incidents(self) -> None:
        try:
            with self.cloud.store.read() as tx:
                rows = list(tx.execute(select(events).where(events.c.seq > self.told).order_by(events.c.seq)))
        except StoreUnavailable:
            return
        for e in rows:
            self.told = e.seq
            kind, _, node = e.resource.partition("/")
            if kind != "node" or e.kind not in ("healthy", "suspect", "failing", "unavailable", "recovering"):
                continue
            self.say(f"    {node} is {e.kind}: {e.message}")
            if self.last.get(node) == e.kind:
                self._broken(f"{node} was told to be {e.kind} twice in a row")
            if e.kind == "unavailable" and node not in self.was_in_trouble:
                self._broken(f"{node} was given up though nothing was wrong with it")
            if e.kind == "healthy" and self.last.get(node) in ("failing", "unavailable"):
                self._broken(f"{node} was trusted again without having recovered")
            self.last[node] = e.kind

    def incidents(self) -> int:
        """Return how many incidents were told of."""
        return len({i["id"] for m in self.hook.taken for i in m["incidents"]})

    def _broken(self, what: str) -> None:
        if what not in self.broken_promises:
            self.broken_promises.append(what)
            self.say(f"BROKEN: {what}")


def main() -> int:
    """Soak; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.health")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="a67-soak-") as directory, Net(NODES) as net:
        soak = Soak(Path(directory), net, arguments.seed)
        with soak.cloud:
            soak.up()
            soak.run(arguments.minutes * 60)
            soak.settle()
            copies = len(lives(soak.evidence))
        soak.hook.close()
    print(f"{len(soak.hook.taken)} messages told of {soak.incidents()} incidents")
    print(f"{soak.faults} faults; the exclusive app lived {copies} times, never twice at once: "
          f"{not soak.broken_promises}; broken promises: {len(soak.broken_promises)}")  # fmt: skip
    return 1 if soak.broken_promises else 0


if __name__ == "__main__":
    sys.exit(main())
