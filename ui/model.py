"""What the pages show, as typed values. Times are seconds since the epoch, sizes bytes, CPU cores; empty: unknown."""

from __future__ import annotations

from dataclasses import dataclass, field

from automator67.ui.happened import Alert, Event, LeftAlone, Quiet, Ran, Step


@dataclass(frozen=True, slots=True)
class Instance:
    """One copy of an app on a node. ``cpu`` and ``memory`` are used ones, None where not measured."""

    id: str
    app: str
    node: str
    slot: int = 0
    rev: str = ""
    phase: str = ""
    health: str = ""
    healthy: bool = False
    address: str = ""
    detail: str = ""
    since: float = 0.0
    restarts: int = 0
    cpu: float | None = None
    memory: float | None = None
    drift: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class App:
    """An app as the engine last judged it; ``domains`` are its public names."""

    name: str
    sync: str
    health: str
    drift: str
    reason: str = ""
    replicas_wanted: int = 0
    replicas_healthy: int = 0
    rev_wanted: str = ""
    rev_running: str = ""
    commit_compared: str = ""
    commit_deployed: str = ""
    path: str = ""
    image: str = ""
    domains: tuple[str, ...] = ()
    instances: tuple[Instance, ...] = ()
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Amounts:
    """An amount of each resource of a node."""

    cpu: float = 0.0
    memory: float = 0.0
    disk: float = 0.0


@dataclass(frozen=True, slots=True)
class Foreign:
    """A container on a node that is not ours."""

    name: str
    image: str
    phase: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A node as its agent last reported it and as the engine judges it."""

    name: str
    state: str
    reason: str = ""
    since: float = 0.0
    last_seen: float = 0.0
    connected: bool = False
    cert_expires: float = 0.0
    capacity: Amounts = Amounts()
    usage: Amounts = Amounts()
    runtimes: tuple[tuple[str, str], ...] = ()
    conditions: tuple[str, ...] = ()
    agent_version: str = ""
    agent_address: str = ""
    agent_memory: float = 0.0
    instances: tuple[Instance, ...] = ()
    foreign: tuple[Foreign, ...] = ()


@dataclass(frozen=True, slots=True)
class Post:
    """One commit status: what is to be said, and whether the forge has it."""

    commit: str
    context: str
    state: str
    description: str
    posted: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a commit cannot be used: where, what is wrong, and what to write instead."""

    where: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit the engine has looked at."""

    id: str
    author: str
    subject: str
    committed_at: float
    seen_at: float
    state: str
    finished_at: float = 0.0
    summary: str = ""
    problems: tuple[Problem, ...] = ()
    posts: tuple[Post, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One changed key of a resource; values that must not be shown are ``None``."""

    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit changes about one resource."""

    resource: str
    kind: str
    risk: str = "safe"
    reasons: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanView:
    """The plan as it was first made for a commit."""

    summary: str = ""
    changes: tuple[Change, ...] = ()
    blocked: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of an app that was applied."""

    rev: str
    commit: str
    image: str
    first_at: float
    asked_at: float
    healthy_at: float


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that is backed up: its last snapshot and restore test, what is done with it, and what failed."""

    app: str
    name: str
    slot: int
    node: str = ""
    snapshots: int = 0
    made_at: float = 0.0
    bytes: int = -1
    tested_at: float = 0.0
    test: str = ""
    doing: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Engine:
    """Single facts about the engine and its repository."""

    cloud: str = "home"
    head: str = ""
    remote_error: str = ""
    started_at: float = 0.0
    reconciled_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the first page shows."""

    engine: Engine = Engine()
    apps: tuple[App, ...] = ()
    nodes: tuple[Node, ...] = ()
    commits: tuple[Commit, ...] = ()
    events: tuple[Event, ...] = ()
    volumes: tuple[Volume, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()
    alerts: tuple[Alert, ...] = ()
    quiet: tuple[Quiet, ...] = ()


@dataclass(frozen=True, slots=True)
class CommitDetail:
    """One commit with what it planned and what was done."""

    commit: Commit
    plan: PlanView = PlanView()
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class AppDetail:
    """One app with its past."""

    app: App
    held: str = ""
    held_since: float = 0.0
    revisions: tuple[Revision, ...] = ()
    volumes: tuple[Volume, ...] = ()
    runs: tuple[Ran, ...] = ()
    steps: tuple[Step, ...] = ()
    events: tuple[Event, ...] = field(default=())
    uptime: tuple[tuple[str, str], ...] = ()
    """(month, share of its known time in which the app answered), the newest first."""


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """One node with its past."""

    node: Node
    steps: tuple[Step, ...] = ()
    events: tuple[Event, ...] = ()
