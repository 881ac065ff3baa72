"""The metrics at ``/metrics``: which there are, and their values now. Pure.

Names follow https://prometheus.io/docs/practices/naming: base units, the unit in the name, ``_total`` for counters.
Labels are names of nodes and apps, and words of closed sets; never a commit, an address or a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.circuit import Standing
from automator67.engine.judge import AppState
from automator67.engine.measures import Measures, app_measures, node_measures
from automator67.engine.observed import NodeState
from automator67.engine.quotas import Quota

NODE_STATES = get_args(NodeState)
HEALTH = ("healthy", "progressing", "degraded", "missing", "unknown")
SYNC = ("synced", "progressing", "held", "blocked", "out-of-sync")
PHASES = ("closed", "open", "half-open")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; a counter's ``name`` ends with ``_total``."""

    name: str
    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node as the store has it; times are seconds since the epoch, 0: never."""

    name: str
    state: str
    last_seen: float = 0.0
    cert_expires: float = 0.0
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """The newest backup of a volume; -1 bytes: not known."""

    app: str
    volume: str
    slot: int
    at: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Seen:
    """All that metrics are made of. ``engine`` are its own measures, of the last minute."""

    version: str
    started_at: float = 0.0
    reconciled_at: float = 0.0
    remote_error: str = ""
    waiting_statuses: int = 0
    incidents: int = 0
    waiting_alerts: int = 0
    engine: Measures = field(default_factory=dict)
    nodes: Sequence[NodeFacts] = ()
    apps: Mapping[str, AppState] = field(default_factory=dict)
    breakers: Sequence[Standing] = ()
    quotas: Sequence[Quota] = ()
    volumes: Sequence[VolumeFacts] = ()
    buckets: Sequence[BucketFacts] = ()


Sample = tuple[str, tuple[str, ...], float]
"""A metric's name, the values of its labels, its value."""

_NODE = {
    "cpu": ("node_cpu_cores", "Cores of the node."),
    "cpu_used": ("node_cpu_used_cores", "Cores in use on the node, by anybody."),
    "memory": ("node_memory_bytes", "Memory of the node."),
    "memory_used": ("node_memory_used_bytes", "Memory in use on the node, without what would be given up at once."),
    "disk": ("node_disk_bytes", "Size of the file system that apps fill."),
    "disk_used": ("node_disk_used_bytes", "What of it is used."),
    "agent_memory": ("agent_resident_memory_bytes", "Resident memory of the node's agent."),
}
_APP = {
    "replicas": ("app_replicas_wanted", "Copies that the commit asks for."),
    "replicas_healthy": ("app_replicas_healthy", "Copies that are healthy."),
    "cpu_used": ("app_cpu_used_cores", "Cores in use by all copies together."),
    "memory_used": ("app_memory_used_bytes", "Memory in use by all copies together."),
    "restarts": ("app_restarts", "How often the copies that run were started again."),
}
_ENGINE = {
    "memory": ("engine_resident_memory_bytes", "gauge", "Resident memory of the engine."),
    "cpu_seconds": ("engine_cpu_seconds_total", "counter", "Processor time of the engine since its start."),
    "passes": ("engine_passes_total", "counter", "Passes since the engine's start."),
    "failed_passes": ("engine_passes_failed_total", "counter", "Passes that failed."),
    "pass_seconds": ("engine_pass_seconds_total", "counter", "Time spent in passes."),
}


def _catalogue() -> tuple[Metric, ...]:
    return (
        Metric("info", "gauge", ("version",), "Always 1; which version runs."),
        Metric("engine_start_time_seconds", "gauge", (), "When the engine started, since the epoch."),
        Metric("engine_last_pass_time_seconds", "gauge", (), "When it last looked, since the epoch; told each minute."),
        *(Metric(name, kind, (), text) for name, kind, text in _ENGINE.values()),  # type: ignore[arg-type]
        Metric("repository_reachable", "gauge", (), "1 if the repository could be read at the last look, else 0."),
        Metric("statuses_waiting", "gauge", (), "Commit statuses that the forge has not taken yet."),
        Metric("incidents", "gauge", (), "Incidents that last, told or not."),
        Metric("alerts_waiting", "gauge", (), "Messages that a target has not taken yet."),
        Metric("node_state", "gauge", ("node", "state"), "1 for the state that the node is judged to be in, else 0."),
        Metric("node_last_seen_time_seconds", "gauge", ("node",), "When the node last reported, since the epoch."),
        Metric("node_certificate_expiry_time_seconds", "gauge", ("node",), "When its certificate expires."),
        *(Metric(name, "gauge", ("node",), text) for name, text in _NODE.values()),
        Metric("app_health", "gauge", ("app", "health"), "1 for the health that the app is judged to have, else 0."),
        Metric("app_sync", "gauge", ("app", "sync"), "1 for how what runs agrees with the commit, else 0."),
        *(Metric(name, "gauge", ("app",), text) for name, text in _APP.values()),
        Metric("breaker_state", "gauge", ("name", "state"), "1 for the state of the circuit breaker, else 0."),
        Metric("breaker_refused_total", "counter", ("name",), "Calls that were not let through."),
        Metric("quota_used_ratio", "gauge", ("node", "resource"), "Used share of what the account gives."),
        Metric("quota_projected_ratio", "gauge", ("node", "resource"), "The same at the end of the period, foretold."),
        Metric("volume_last_backup_time_seconds", "gauge", ("app", "volume", "slot"), "When the newest backup began."),
        Metric("volume_last_backup_bytes", "gauge", ("app", "volume", "slot"), "Size of what it holds."),
        Metric("bucket_files", "gauge", ("bucket",), "Files of the bucket."),
        Metric("bucket_bytes", "gauge", ("bucket",), "Bytes of all their versions, before copies are made."),
        Metric("bucket_quota_bytes", "gauge", ("bucket",), "What the bucket may hold."),
        Metric("bucket_pieces_short", "gauge", ("bucket",), "Pieces with fewer good copies than it wants."),
        Metric("bucket_pieces_lost", "gauge", ("bucket",), "Pieces without any good copy."),
        Metric("bucket_provider_bytes", "gauge", ("bucket", "node"), "Bytes of the bucket at a provider."),
    )


PREFIX = "automator67_"
CATALOGUE = {metric.name: metric for metric in _catalogue()}
"""Every metric by its name without ``PREFIX``."""


def samples(seen: Seen) -> Iterator[Sample]:
    """Yield the value of every metric that is known."""
    yield "info", (seen.version,), 1.0
    if seen.started_at:
        yield "engine_start_time_seconds", (), seen.started_at
        yield "engine_last_pass_time_seconds", (), seen.reconciled_at
    for key, (name, _, _) in _ENGINE.items():
        if key in seen.engine:
            yield name, (), seen.engine[key]
    yield "repository_reachable", (), float(not seen.remote_error)
    yield "statuses_waiting", (), float(seen.waiting_statuses)
    yield "incidents", (), float(seen.incidents)
    yield "alerts_waiting", (), float(seen.waiting_alerts)
    for node in seen.nodes:
        yield from _node_samples(node)
    yield from _app_samples(seen)
    for breaker in seen.breakers:
        yield from _one_of("breaker_state", (breaker.name,), PHASES, breaker.phase)
        yield "breaker_refused_total", (breaker.name,), float(breaker.refused)
    for q in seen.quotas:
        if q.limit:
            yield "quota_used_ratio", (q.node, q.resource), q.used / q.limit
            yield "quota_projected_ratio", (q.node, q.resource), q.projected / q.limit
    for v in seen.volumes:
        labels = (v.app, v.volume, str(v.slot))
        yield "volume_last_backup_time_seconds", labels, v.at
        if v.bytes >= 0:
            yield "volume_last_backup_bytes", labels, v.bytes
    for b in seen.buckets:
        yield "bucket_files", (b.name,), float(b.files)
        yield "bucket_bytes", (b.name,), float(b.bytes)
        yield "bucket_pieces_short", (b.name,), float(b.short)
        yield "bucket_pieces_lost", (b.name,), float(b.lost)
        if b.quota:
            yield "bucket_quota_bytes", (b.name,), float(b.quota)
        for provider, held in b.held:
            yield "bucket_provider_bytes", (b.name, provider), float(held)


def _node_samples(node: NodeFacts) -> Iterator[Sample]:
    yield from _one_of("node_state", (node.name,), NODE_STATES, node.state)
    if node.last_seen:
        yield "node_last_seen_time_seconds", (node.name,), node.last_seen
    if node.cert_expires:
        yield "node_certificate_expiry_time_seconds", (node.name,), node.cert_expires
    for key, value in node_measures(node.report).items():
        yield _NODE[key][0], (node.name,), value


def _app_samples(seen: Seen) -> Iterator[Sample]:
    for name, state in seen.apps.items():
        yield from _one_of("app_health", (name,), HEALTH, state.health)
        yield from _one_of("app_sync", (name,), SYNC, state.sync)
    for name, measures in app_measures(seen.apps, [node.report for node in seen.nodes]).items():
        for key, value in measures.items():
            yield _APP[key][0], (name,), value


def _one_of(name: str, labels: tuple[str, ...], words: Sequence[str], present: str) -> Iterator[Sample]:
    for word in words:
        yield name, (*labels, word), float(word == present)
