"""Placement alone, and whole plans: from scratch, and after a node is lost.

    python -m tests.bench.bench_placement

Bars: 1,000 apps on 100 nodes planned from scratch below 3 s, after one lost node below 300 ms; placement alone of
1,000 apps on 100 nodes below 1.5 s, of 10,000 on 20 below 2 s. The ratio is against hashing every pair of app and
node once, in the same run: the least that a choice with a stable tie-break over all nodes can cost.
"""

from __future__ import annotations

import gc
import hashlib
import statistics
import sys
import time
from dataclasses import replace

from automator67.engine.desired import App, Desired, Node, Origin, Place
from automator67.engine.nodes.placement import Ledger, place
from automator67.engine.observed import NodeView
from automator67.engine.plan.model import Plan
from automator67.engine.plan.planner import plan
from tests.support.world import World, app, desired, node_view

REGIONS, PROVIDERS = 4, 7
PLACES = (Place(), Place("region"), Place("provider"), Place("node", require=(("region", "r1"),)))


def nodes(count: int) -> dict[str, Node]:
    """Return declared nodes in some regions, of some providers."""
    return {
        f"n{i}": Node(
            f"n{i}", Origin(f"nodes/n{i}.yaml", f"b{i}"), region=f"r{i % REGIONS}", provider=f"p{i % PROVIDERS}"
        )
        for i in range(count)
    }


def apps(count: int) -> list[App]:
    """Return small apps that ask for different kinds of places."""
    return [app(f"a{i}", cpu=0.01, memory=2**24, place=PLACES[i % len(PLACES)]) for i in range(count)]


def views(count: int) -> dict[str, NodeView]:
    """Return large, healthy, empty nodes."""
    return {f"n{i}": replace(node_view(f"n{i}", 2**38), cpu=64.0) for i in range(count)}


def placement(app_count: int, node_count: int) -> tuple[float, float]:
    """Return the seconds to place the apps, and to hash every pair of app and node."""
    wanted, declared, seen = apps(app_count), nodes(node_count), views(node_count)
    gc.collect()
    started = time.perf_counter()
    ledger = Ledger(declared, seen)
    for a in wanted:
        chosen = place(a, 0, ledger).node
        assert chosen is not None
        ledger.take(a, 0, chosen)
    took = time.perf_counter() - started
    started = time.perf_counter()
    for a in wanted:
        for name in declared:
            hashlib.blake2b(f"{a.name}/0/{name}".encode(), digest_size=8).hexdigest()
    return took, time.perf_counter() - started


def timed_plan(wanted: Desired, world: World) -> tuple[Plan, float]:
    """Return the plan for a world and the median seconds it takes."""
    observed, seconds = world.observed(), []
    for _ in range(3):
        gc.collect()
        started = time.perf_counter()
        done = plan(wanted, observed, world.now)
        seconds.append(time.perf_counter() - started)
    return done, statistics.median(seconds)


def main() -> int:
    """Run the benchmark; return the exit code."""
    many, many_floor = placement(10_000, 20)
    wide, wide_floor = placement(1_000, 100)

    world = World(views(100))
    wanted = desired(*apps(1_000), nodes=nodes(100))
    first, scratch = timed_plan(wanted, world)
    assert sum(a.verb == "start" for a in first.actions) == 1_000
    world.apply(first, wanted)
    world.converge()
    world.now += 60.0
    settled, calm = timed_plan(wanted, world)
    assert settled.empty, settled.actions[:3]
    world.apply(settled, wanted)
    held = {p for p in world.running if p[1] == "n1"}
    world.lose("n1")
    moved, lost = timed_plan(wanted, world)
    started = [a for a in moved.actions if a.verb == "start"]
    assert {a.instance for a in started} == {i for i, _ in held}, "only the instances of the lost node move"

    print(f"placement alone, 10,000 apps on 20 nodes: {many:.2f} s = {many / many_floor:.2f} x hashing (bar 2 s)")
    print(f"placement alone, 1,000 apps on 100 nodes: {wide:.2f} s = {wide / wide_floor:.2f} x hashing (bar 1.5 s)")
    print(
        f"plan from scratch, 1,000 apps on 100 nodes: {scratch:.2f} s = {scratch / wide_floor:.2f} x hashing (bar 3 s)"
    )
    print(f"plan with nothing to do: {calm * 1000:.0f} ms")
    print(f"plan after one lost node ({len(started)} moves): {lost * 1000:.0f} ms = {lost / calm:.2f} x (bar 300 ms)")
    return 0 if many < 2 and wide < 1.5 and scratch < 3 and lost < 0.3 else 1


if __name__ == "__main__":
    sys.exit(main())
