"""A tiny simulated cloud for property tests: agents that obey, slowly or not, and nodes that come and go.

``World`` applies plans the way the engine does (assignments) and lets its nodes converge the way agents do, without
any I/O or real time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from automator67.engine.apps.revisions import from_spec, same_source, to_spec
from automator67.engine.desired import App, Desired, Node, Origin, Update, revision_hash
from automator67.engine.observed import Assignment, Canary, Hold, Instance, NodeView, Observed, Revision
from automator67.engine.plan.model import Action, Plan
from automator67.engine.settings import Settings


def app(name: str = "blog", version: str = "1", **keys: object) -> App:
    """Return an app whose revision depends on ``version``."""
    document = {"image": f"example/{name}:{version}", "replicas": keys.get("replicas", 1)}
    base = App(
        name=name,
        origin=Origin(f"apps/{name}.yaml", revision_hash({"v": version, **{k: str(v) for k, v in keys.items()}})),
        runtime="docker",
        image=f"example/{name}:{version}",
        update=Update(healthy_for=2.0, deadline=60.0),
        document=document,
        rev=revision_hash({"name": name, "version": version}),
    )
    return replace(base, **keys)  # type: ignore[arg-type]


def desired(*apps: App, nodes: Mapping[str, Node] | int = 2, commit: str = "c1", deletions: int = 3) -> Desired:
    """Return a desired state with these apps, on declared nodes ``n0``, ``n1``, ..."""
    if isinstance(nodes, int):
        nodes = {f"n{i}": Node(f"n{i}", Origin(f"nodes/n{i}.yaml", f"b{i}"), region="eu") for i in range(nodes)}
    return Desired(commit, Settings(max_deletions=deletions), nodes, {a.name: a for a in apps})


@dataclass
class World:
    """The present of a simulated cloud; ``now`` is in seconds."""

    nodes: dict[str, NodeView]
    assignments: dict[tuple[str, str], Assignment] = field(default_factory=dict)
    running: dict[tuple[str, str], Instance] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    deployed: dict[str, Revision] = field(default_factory=dict)
    good: dict[str, Revision] = field(default_factory=dict)
    canaries: dict[str, Canary] = field(default_factory=dict)
    specs: dict[tuple[str, str], Revision] = field(default_factory=dict)
    now: float = 1000.0
    broken: Callable[[Instance], bool] = lambda _: False

    @classmethod
    def of(cls, count: int, memory: int = 2**31) -> World:
        """Return a world of ``count`` healthy empty nodes."""
        return cls({f"n{i}": node_view(f"n{i}", memory) for i in range(count)})

    def observed(self) -> Observed:
        """Return what the engine would see."""
        views = {
            name: replace(view, instances=tuple(i for (_, n), i in self.running.items() if n == name))
            for name, view in self.nodes.items()
        }
        return Observed(
            views, tuple(self.assignments.values()), dict(self.holds), dict(self.deployed), dict(self.good),
            canaries=dict(self.canaries),
        )  # fmt: skip

    def apply(self, plan: Plan, wanted: Desired) -> list[Action]:
        """Take the ready steps, as the engine's apply does; return them."""
        taken = [a for a in plan.actions if a.ready]
        for name, a in wanted.apps.items():
            before = self.deployed.get(name)
            if a.actionable and (before is None or not same_source(before.spec, a)):
                self.deployed[name] = Revision(name, a.rev, wanted.commit, to_spec(a), self.now)
        for action in taken:
            name = action.resource.removeprefix("app/")
            place = (action.instance, action.node)
            if action.verb in ("start", "keep", "adopt"):
                self.assignments[place] = Assignment(
                    action.instance, name, action.slot, action.rev, action.node, action.epoch, "run", self.now,
                    wanted.commit, action.adopt,
                )  # fmt: skip
            elif action.verb == "drain" and place in self.assignments:
                self.assignments[place] = replace(self.assignments[place], want="drain", draining_since=self.now)
            elif action.verb == "resume" and place in self.assignments:
                self.assignments[place] = replace(self.assignments[place], want="run", draining_since=0.0)
            elif action.verb == "stop" and place in self.assignments:
                self.assignments[place] = replace(self.assignments[place], want="stop")
            elif action.verb == "admit":
                self.canaries[name] = Canary(name, action.rev, self.now)
            elif action.verb == "promote":
                self.canaries[name] = replace(self.canaries[name], promoted_at=self.now)
            elif action.verb == "hold":
                self.canaries.pop(name, None)
                blob = wanted.apps[name].origin.blob
                self.holds[name] = Hold(name, action.rev, blob, wanted.commit, action.reason, self.now)
            elif action.verb == "release":
                self.holds.pop(name, None)
            elif action.verb == "forget":
                self.deployed.pop(name, None)
                self.good.pop(name, None)
                self.canaries.pop(name, None)
        for name, rev in plan.complete:
            if name in self.deployed and self.deployed[name].rev == rev:
                self.good[name] = replace(self.deployed[name], healthy_at=self.now)
        return taken

    def converge(self, only: str | None = None) -> None:
        """Let the reachable nodes do at once what their assignments say."""
        for name, view in self.nodes.items():
            if view.state in ("unavailable", "revoked") or (only and name != only):
                continue
            wanted = {p: a for p, a in self.assignments.items() if p[1] == name and a.want != "stop"}
            for place in [p for p in self.running if p[1] == name and p not in wanted]:
                del self.running[place]
            for place, a in wanted.items():
                if place not in self.running:
                    i = Instance(a.instance, a.app, a.slot, a.rev, a.epoch, name, "running", "healthy", self.now)
                    sick = self.broken(i)
                    self.running[place] = replace(
                        i, phase="exited" if sick else "running", health="starting" if sick else "healthy",
                        healthy_since=0.0 if sick else self.now, detail="exit code 1" if sick else "",
                    )  # fmt: skip
            for place in [p for p, a in self.assignments.items() if p[1] == name and a.want == "stop"]:
                del self.assignments[place]

    def lose(self, name: str) -> None:
        """A node goes away; what ran there may go on running, nobody knows."""
        self.nodes[name] = replace(self.nodes[name], state="unavailable")

    def regain(self, name: str) -> None:
        """The node is back."""
        self.nodes[name] = replace(self.nodes[name], state="healthy")

    def serving(self, name: str) -> int:
        """Return how many healthy copies of an app run on reachable nodes and are in traffic."""
        return sum(
            1
            for place, i in self.running.items()
            if i.app == name and i.phase == "running" and self.nodes[place[1]].state == "healthy"
            and self.takes_requests(place)
        )  # fmt: skip

    def takes_requests(self, place: tuple[str, str]) -> bool:
        """Whether it is still wanted that a copy takes new requests."""
        return place in self.assignments and self.assignments[place].want == "run"

    def in_traffic(self, place: tuple[str, str]) -> bool:
        """Whether a copy serves and has not been drained for as long as its app says."""
        i, a = self.running.get(place), self.assignments[place]
        if i is None or i.phase != "running" or self.nodes[place[1]].state in ("unavailable", "revoked"):
            return False
        spec = self.deployed.get(a.app)
        wait = from_spec(spec.spec).drain if spec else 0.0
        return wait > 0 and (a.want != "drain" or self.now < a.draining_since + wait)


def node_view(name: str, memory: int = 2**31) -> NodeView:
    """Return a healthy, empty node."""
    return NodeView(
        name, "healthy", reported=True, last_seen=1000.0, cpu=4.0, memory=memory, disk=2**36,
        runtimes=frozenset({"docker", "process"}),
    )  # fmt: skip
