"""The observed state: what nodes report and what the store remembers, as typed values for pure decisions.

Times are seconds since the epoch; durations are seconds; memory and disk are bytes; CPU is in cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.desired import Runtime
from automator67.engine.jobs import Moment, Runs
from automator67.engine.quotas import Quota
from automator67.engine.volumes import VolumeFacts
from automator67.schemas.messages.policy import NOTHING, Policy

InstancePhase = Literal["pending", "pulling", "starting", "running", "exited", "paused", "failed", "missing"]
Health = Literal["none", "starting", "healthy", "unhealthy"]
NodeState = Literal["never", "healthy", "maintenance", "suspect", "failing", "unavailable", "recovering", "revoked"]
Want = Literal["run", "drain", "stop"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One copy of an app as a node's agent sees it.

    ``none`` as health means that no probe is declared. ``healthy_since`` is 0 unless it is healthy now
    (running, where there is no probe).
    """

    id: str
    app: str
    slot: int
    rev: str
    epoch: int
    node: str
    phase: InstancePhase
    health: Health = "none"
    since: float = 0.0
    healthy_since: float = 0.0
    restarts: int = 0
    exit_code: int | None = None
    oom: bool = False
    detail: str = ""
    address: str = ""
    drift: tuple[str, ...] = ()
    image: str = ""
    ended_at: tuple[float, ...] = ()
    """When it ended by itself, lately (engine/stability.py)."""
    appeared_at: float = 0.0
    """Since when its node reports it, as far as this engine knows: before that the node had not been told."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A container on a node that is not ours: reported, never touched, unless an app adopts it by name."""

    name: str
    image: str
    phase: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as its agent last reported it, with the judgement of the engine.

    ``reported`` is False until a full report has arrived since the engine knows the node: until then what runs
    there is unknown, which is not the same as nothing.
    """

    name: str
    state: NodeState
    reason: str = ""
    last_seen: float = 0.0
    reported: bool = False
    cpu: float = 0.0
    memory: int = 0
    disk: int = 0
    cpu_used: float = 0.0
    memory_used: int = 0
    disk_used: int = 0
    runtimes: frozenset[Runtime] = frozenset()
    instances: tuple[Instance, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    images: frozenset[str] = frozenset()
    volumes: frozenset[tuple[str, int]] = frozenset()
    """The (app, slot) pairs whose volumes are here."""
    failures: int = 0
    """How often the node fell out of grace in the last hour; placement prefers nodes that did so less."""
    policy: Policy = NOTHING
    """What the node's owner lets apps have of it."""
    applied: str = ""
    """The revision of the node's desired state that the agent has converged to."""
    address: str = ""
    """Where the node reaches the engine from."""
    proxy: int = 0
    """The port of its proxy; 0: it has none."""
    fingerprint: str = ""
    """The SHA-256 of its proxy's certificate."""
    tools: frozenset[str] = frozenset()
    """Programs found there that some tasks need, such as restic."""
    quotas: tuple[Quota, ...] = ()
    """Of an account at a provider: what it has used of what it gives for nothing."""
    degraded: tuple[str, ...] = ()
    """What is wrong with it while it reports: a runtime that is down, a disk that fills, a clock that is off."""
    lease_until: float = 0.0
    """Until when, at the latest, it may run what must not run twice without hearing of the engine."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The engine's recorded intent for an instance on a node; ``since``: when it was assigned.

    ``drain``: it still runs, but takes no new requests from ``draining_since`` on; ``stop``: it stops.
    """

    instance: str
    app: str
    slot: int
    rev: str
    node: str
    epoch: int
    want: Want
    since: float
    commit: str
    adopt: str | None = None
    draining_since: float = 0.0


@dataclass(frozen=True, slots=True)
class Hold:
    """A revision that failed its gate: not tried again until a commit changes the app's file (``blob``)."""

    app: str
    rev: str
    blob: str
    commit: str
    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class Canary:
    """How far a revision is that is tried with a share of the requests.

    ``admitted_at``: since when it gets them; ``promoted_at``: when it was found good enough for all (0: not yet).
    """

    app: str
    rev: str
    admitted_at: float
    promoted_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision that was applied: ``spec`` is the stored form of the App, enough to run it again."""

    app: str
    rev: str
    commit: str
    spec: Mapping[str, Any]
    first_at: float = 0.0
    healthy_at: float = 0.0
    asked_at: float = 0.0
    """When a commit last asked for it, or changed the app's file."""


@dataclass(frozen=True, slots=True)
class Build:
    """The making of one image from a source at a commit, on a node. ``wanted``: asked for, perhaps under way."""

    image: str
    app: str
    commit: str
    node: str
    state: Literal["wanted", "done", "failed"]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """All that a plan may know of the present."""

    nodes: Mapping[str, NodeView] = field(default_factory=dict)
    assignments: tuple[Assignment, ...] = ()
    holds: Mapping[str, Hold] = field(default_factory=dict)
    deployed: Mapping[str, Revision] = field(default_factory=dict)
    """By app: the revision last asked for by an applied commit."""
    last_good: Mapping[str, Revision] = field(default_factory=dict)
    """By app: the last revision whose every replica was healthy."""
    settled: bool = True
    """False just after the start of an engine without a store: nodes may still report what already runs."""
    engine_started: float = 0.0
    """Since when this engine has run undisturbed: before that nobody could tell or hear a node, so no deadline runs."""
    confirmed: frozenset[str] = frozenset()
    """Commits whose deletions a person confirmed beyond the budget."""
    builds: Mapping[str, Build] = field(default_factory=dict)
    """By image: what was built of sources, or is to be."""
    canaries: Mapping[str, Canary] = field(default_factory=dict)
    """By app: the revision that was last tried with a share of the requests."""
    runs: Runs = field(default_factory=Runs)
    """What became of jobs and of other commands that run to their end."""
    moments: Mapping[str, Moment] = field(default_factory=dict)
    """By job: when it was, and is, due by the clock."""
    volumes: VolumeFacts = field(default_factory=VolumeFacts)
    """Where volumes are, which snapshots there are, what is done with them."""
    buckets: tuple[BucketFacts, ...] = ()
    """How the buckets stand that were ever used."""
