"""Load, diff and plan of 10,000 resources of which one changed; and a no-op reconcile of 500 apps.

    python -m tests.bench.bench_plan

Bars: cold below 6 s, warm below 250 ms, below 400 MiB; the no-op reconcile below 1 s without a write. The ratio is
against reading the same bytes with the YAML library alone, in the same run.
"""

from __future__ import annotations

import hashlib
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import yaml

from automator67.engine.apps.revisions import to_spec
from automator67.engine.copies import instance_id, join
from automator67.engine.desired import Desired
from automator67.engine.judge import judge
from automator67.engine.load import Loader
from automator67.engine.observed import Assignment, Instance, NodeView, Observed, Revision
from automator67.engine.plan.planner import plan
from automator67.engine.repo.tree import Entry

NODES = 50
NOW = 1_000_000.0


def files(count: int) -> dict[str, bytes]:
    """Return a repository of ``count`` files: settings, nodes, the rest apps."""
    found = {"automator67.yaml": b"name: bench\n"}
    for n in range(NODES):
        found[f"nodes/n{n}.yaml"] = b"kind: agent\nregion: eu\nlabels: {disk: ssd}\n"
    for n in range(count - len(found)):
        found[f"apps/app-{n}.yaml"] = (
            f"image: ghcr.io/ana/app-{n}:1.4.2\nport: 8080\nreplicas: 1\nresources: {{cpu: 0.01, memory: 16Mi}}\n"
            "health: {path: /healthz, interval: 10s, timeout: 2s}\nenv: {GREETING: hello, LEVEL: info}\n"
            "place: {require: {region: eu}}\nupdate: {strategy: rolling, healthy_for: 10s, deadline: 5m}\n"
        ).encode()
    return found


def entries(content: Mapping[str, bytes]) -> tuple[list[Entry], dict[str, bytes]]:
    """Return the entries of a tree, and the blobs by id."""
    blobs = {hashlib.sha1(data, usedforsecurity=False).hexdigest(): data for data in content.values()}
    ids = {path: hashlib.sha1(data, usedforsecurity=False).hexdigest() for path, data in content.items()}
    return [Entry(p, ids[p], len(d), 0o100644) for p, d in sorted(content.items())], blobs


def everything_runs(desired: Desired) -> Observed:
    """Return the observation in which all that is desired runs and is healthy."""
    views = {
        n: NodeView(n, "healthy", reported=True, cpu=64.0, memory=2**37, disk=2**40, runtimes=frozenset({"docker"}))
        for n in desired.nodes
    }
    names = sorted(views)
    running: dict[str, list[Instance]] = {n: [] for n in names}
    assignments = []
    deployed = {}
    for number, (name, app) in enumerate(desired.apps.items()):
        node, instance = names[number % len(names)], instance_id(name, 0, app.rev)
        running[node].append(Instance(instance, name, 0, app.rev, 1, node, "running", "healthy", NOW - 99, NOW - 99))
        assignments.append(Assignment(instance, name, 0, app.rev, node, 1, "run", NOW - 99, desired.commit))
        deployed[name] = Revision(name, app.rev, desired.commit, to_spec(app), NOW - 99, NOW - 99)
    views = {n: replace(v, instances=tuple(running[n])) for n, v in views.items()}
    return Observed(views, tuple(assignments), {}, deployed, deployed)


def main() -> int:
    """Run the benchmark; return the exit code."""
    content = files(10_000)
    started = time.perf_counter()
    for data in content.values():
        yaml.load(data, Loader=yaml.CSafeLoader)
    bare = time.perf_counter() - started

    loader = Loader()
    listed, blobs = entries(content)
    started = time.perf_counter()
    loaded = loader.load(listed, blobs.__getitem__, "c1")
    assert loaded.desired is not None, loaded.problems[0]
    first = plan(loaded.desired, Observed(), NOW)
    cold = time.perf_counter() - started
    assert len(first.changes) > 9_000

    observed = everything_runs(loaded.desired)
    warm = []
    for n in range(7):
        content["apps/app-7.yaml"] = content["apps/app-7.yaml"].replace(b"hello", f"hello{n}".encode())
        listed, blobs = entries(content)
        started = time.perf_counter()
        again = loader.load(listed, blobs.__getitem__, f"w{n}")
        assert again.desired is not None
        changed = plan(again.desired, observed, NOW)
        warm.append(time.perf_counter() - started)
        assert [c.resource for c in changed.changes] == ["app/app-7"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    small, blobs = entries(files(500 + NODES + 1))
    five = Loader().load(small, blobs.__getitem__, "c1").desired
    assert five is not None
    calm = everything_runs(five)
    started = time.perf_counter()
    nothing = plan(five, calm, NOW)
    judge(five, calm, nothing, join(calm))
    noop = time.perf_counter() - started
    assert nothing.empty

    hot = statistics.median(warm)
    print(f"10,000 resources: cold {cold:.2f} s = {cold / bare:.2f} x reading the YAML alone (bar 6 s)")
    print(f"10,000 resources, one changed: warm {hot * 1000:.0f} ms = {hot / bare:.3f} x (bar 250 ms)")
    print(f"peak memory {memory:.0f} MiB (bar 400 MiB)")
    print(f"no-op plan and judgement of 500 apps: {noop * 1000:.1f} ms (bar 1 s)")
    return 0 if cold < 6 and hot < 0.25 and memory < 400 and noop < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
