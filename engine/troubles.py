"""What is wrong in the cloud at the moment, as alerts see it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from automator67.engine.alerts.incidents import Trouble
from automator67.engine.apps.runs import words
from automator67.engine.desired import Desired
from automator67.engine.judge import AppState, Standing
from automator67.engine.nodes.judgement import OWN_NETWORK
from automator67.engine.observed import NodeView, Observed

NETWORK = "engine/network"
_AWAY = frozenset({"suspect", "failing", "unavailable"})
_BAD_HEALTH = frozenset({"degraded", "missing"})
_COMING = frozenset({"progressing", "unknown"})


def troubles(desired: Desired, observed: Observed, standing: Standing) -> list[Trouble]:
    """Return all that is wrong."""
    found = list(_network(observed))
    for name, view in observed.nodes.items():
        found += _node(name, view, desired)
        found += _quotas(name, view)
    for state in standing.apps.values():
        found += _app(state, desired, observed)
    found += _backups(observed)
    found += _buckets(observed)
    return found + list(_commit(desired, standing))


def unreadable(error: str) -> Trouble:
    """Return the trouble of a repository that cannot be read."""
    return Trouble("repository/config", "remote", "failed", error, _labels("repository", "config"))


def refused(commit: str, problem: str) -> Trouble:
    """Return the trouble of a commit that is not valid, so that the one before goes on to hold."""
    name = commit[:12]
    return Trouble(f"commit/{name}", "apply", "failed", f"refused: {problem}", _labels("commit", name), commit=commit)


def _labels(kind: str, name: str, **more: str) -> frozenset[tuple[str, str]]:
    return frozenset({**more, "kind": kind, "name": name}.items())


def _network(observed: Observed) -> Iterator[Trouble]:
    silent = sorted(name for name, view in observed.nodes.items() if view.reason == OWN_NETWORK)
    if silent:
        reason = f"{', '.join(silent)} fell silent at once: the engine's own network is the suspect, nothing moves"
        yield Trouble(NETWORK, "node", "unavailable", reason, _labels("engine", "network"))


def _node(name: str, view: NodeView, desired: Desired) -> Iterator[Trouble]:
    node, away = desired.nodes.get(name), view.state in _AWAY
    own = {**dict(node.labels), "region": node.region, "provider": node.provider} if node else {}
    resource, labels, because = f"node/{name}", _labels("node", name, **own), frozenset({NETWORK})
    if away or view.state == "recovering":
        yield Trouble(resource, "node", view.state, view.reason, labels, because, keeps=not away)
    if view.degraded:
        # What a node that is away said last is neither news nor over.
        reason = ", ".join(d.replace("_", " ") for d in view.degraded)
        yield Trouble(resource, "condition", "degraded", reason, labels, because, keeps=away)


def _quotas(name: str, view: NodeView) -> Iterator[Trouble]:
    for quota in view.quotas:
        if quota.state != "ok":
            yield Trouble(f"node/{name}", f"quota-{quota.resource}", "quota", quota.warning, _labels("node", name))


def _app(state: AppState, desired: Desired, observed: Observed) -> Iterator[Trouble]:
    resource, labels = f"app/{state.app}", _labels("app", state.app)
    where = {str(i["node"]) for i in state.instances}
    ill = {name for name in where if name in observed.nodes and observed.nodes[name].state in _AWAY}
    because, commit = frozenset({NETWORK} | {f"node/{n}" for n in ill}), state.commit_compared
    app = desired.apps.get(state.app)
    if app is not None and app.job is not None:
        last = next((r for r in observed.runs.of(state.app) if r.over and r.state != "skipped"), None)
        if state.health == "degraded" and last is not None:
            yield Trouble(resource, "job", "failed", f"run {last.number} {words(last)}", labels, because, commit)
    elif state.health in _BAD_HEALTH | _COMING:
        count = f"{state.replicas_healthy} of {state.replicas_wanted} copies are healthy"
        reason = f"{count}: {state.reason}" if state.reason else count
        coming = state.health in _COMING
        yield Trouble(resource, "health", state.health, reason, labels, because, commit, keeps=coming)
    if state.sync in ("held", "blocked"):
        yield Trouble(resource, "sync", state.sync, state.reason, labels, because, commit)
    if state.drift == "drifted":
        yield Trouble(resource, "drift", "drifted", "somebody changed it by hand", labels, because, commit)


def _backups(observed: Observed) -> Iterator[Trouble]:
    volumes = observed.volumes
    for volume in sorted({r.volume for r in volumes.runs}):
        name = f"{volume.app}/{volume.slot}/{volume.volume}"
        for last in volumes.failing(volume, sorted({r.kind for r in volumes.runs if r.volume == volume})):
            reason, because = f"{last.kind} failed: {last.message}", frozenset({NETWORK, f"node/{last.node}"})
            yield Trouble(f"volume/{name}", last.kind, "failed", reason, _labels("volume", name), because)


def _buckets(observed: Observed) -> Iterator[Trouble]:
    for one in observed.buckets:
        if one.state != "healthy":
            state = {"lost": "failed", "full": "quota"}.get(one.state, one.state)
            yield Trouble(f"bucket/{one.name}", "storage", state, one.wrong, _labels("bucket", one.name))


def _commit(desired: Desired, standing: Standing) -> Iterator[Trouble]:
    short, labels = desired.commit[:12], _labels("commit", desired.commit[:12])
    if standing.commit == "applied":
        yield Trouble(f"commit/{short}", "apply", "applied", standing.summary, labels, commit=desired.commit, once=True)
    elif standing.commit in ("failed", "invalid"):
        # What an app is held or blocked for is told of the app.
        because = frozenset(f"app/{s.app}" for s in standing.apps.values() if s.sync in ("held", "blocked"))
        yield Trouble(f"commit/{short}", "apply", "failed", standing.summary, labels, because, desired.commit)
