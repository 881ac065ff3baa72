"""What the agent knows of instances: wanted by the engine, seen on this node, and the steps between. Plain data.

Units: memory in bytes, CPU in cores, durations in seconds, ``started`` in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Runtime = Literal["docker", "process"]
State = Literal["created", "running", "paused", "restarting", "exited", "dead", "removing"]
Ended = Literal["", "self", "hand", "daemon"]
StepKind = Literal["create", "start", "unpause", "rename", "update", "remove"]


class Probe(NamedTuple):
    """How an instance is judged healthy. ``target`` is the path for http and empty for tcp."""

    kind: Literal["http", "tcp", "command"]
    target: str = ""
    command: tuple[str, ...] = ()
    port: int | None = None
    interval: float = 10.0
    timeout: float = 2.0
    healthy_after: int = 1
    unhealthy_after: int = 3
    start_period: float = 0.0


class Volume(NamedTuple):
    """Named data of an app, to be found at ``path``."""

    name: str
    path: str


class Sealed(NamedTuple):
    """The secrets of an instance, encrypted to this node's key, and the paths of those it gets as files.

    ``login`` is another when that to its image's registry is, and empty where there is none.
    """

    box: str
    files: tuple[str, ...] = ()
    login: str = ""


class Mount(NamedTuple):
    """A file or directory of this node, shown in a container at ``path``."""

    host: str
    path: str
    read_only: bool = False


class Access(NamedTuple):
    """What an instance demands of this node beyond a container of its own; the node's policy decides."""

    privileged: bool = False
    host_network: bool = False
    mounts: tuple[Mount, ...] = ()
    capabilities: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """One instance of the desired state. With ``keep`` what runs under this id is left exactly as it is."""

    id: str
    app: str
    slot: int
    rev: str
    epoch: int
    keep: bool = False
    adopt: str | None = None
    runtime: Runtime = "docker"
    image: str = ""
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    port: int | None = None
    cpu: float = 0.0
    memory: int = 0
    volumes: tuple[Volume, ...] = ()
    health: Probe | None = None
    restart: Literal["always", "on-failure", "no"] = "always"
    stop_timeout: float = 10.0
    drift: Literal["repair", "report", "off"] = "repair"
    user: str | None = None
    tree: str = ""
    """What the source of a process is called by the engine; it is its working directory."""
    sealed: Sealed | None = None
    access: Access = Access()
    fence: bool = False
    """It runs only under a lease of the engine (lease.py), and only the agent starts it, never the Docker Engine."""
    once: bool = False
    """It is started once, and stays when it has ended, to be looked at."""


class Desired(NamedTuple):
    """The complete desired state of this node at one revision; ``edge`` is for its proxy (docs/protocol.md)."""

    rev: str
    node: str
    cloud: str
    instances: tuple[Wanted, ...] = ()
    edge: dict[str, Any] | None = None


class Seen(NamedTuple):
    """A container or process that carries our stamp, or a container that an instance adopts (``instance`` empty).

    ``handle`` is what the runtime calls it (container id, or instance id of a process). ``ended`` says who ended an
    exited one: itself, somebody's hand, or the Docker Engine stopping; empty while that is not known. ``ports``
    are pairs of the port inside and the address it is reached at from this node; ``ip`` is the container's own
    address. ``volumes`` are the names the runtime knows them by.
    """

    runtime: Runtime
    handle: str
    name: str
    state: State
    instance: str = ""
    app: str = ""
    slot: int = 0
    rev: str = ""
    epoch: int = 0
    ended: Ended = ""
    started: float = 0.0
    exit_code: int | None = None
    oom: bool = False
    restarts: int = 0
    error: str = ""
    last_line: str = ""
    ports: tuple[tuple[int, str], ...] = ()
    ip: str = ""
    image: str = ""
    memory: int = 0
    cpu: float = 0.0
    restart: str = ""
    volumes: tuple[str, ...] = ()
    stop_timeout: float = 10.0
    pid: int = 0


class Use(NamedTuple):
    """What something uses now."""

    cpu: float
    memory: int


class Adopted(NamedTuple):
    """A container that stands in for an instance: its id, and the instance's identity."""

    handle: str
    instance: str
    app: str
    slot: int
    rev: str
    epoch: int


class Observed(NamedTuple):
    """All that converging may know of the present.

    ``runtimes`` has ``ok``, ``degraded`` or ``down`` for each runtime this node offers. ``busy`` holds instance ids
    and handles with a step in flight. ``made`` are ids that have existed here. ``adopted`` are containers (by
    name) that an instance of the desired state has adopted. ``may_remove`` is False until the desired state is kept.
    ``held`` says of volumes (by the name the runtime knows them by) why no instance may have them now. ``once`` are ids
    of instances that are started once: when they have ended they need their volumes no more.
    """

    seen: tuple[Seen, ...] = ()
    runtimes: Mapping[str, str] = {}
    busy: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    adopted: Mapping[str, Adopted] = {}
    may_remove: bool = True
    held: Mapping[str, str] = {}
    once: frozenset[str] = frozenset()


def once_only(desired: Desired | None) -> frozenset[str]:
    """Return the ids of instances that are started once."""
    return frozenset(w.id for w in desired.instances if w.once) if desired is not None else frozenset()


class Retry(NamedTuple):
    """What failed for an instance and when the next attempt may be made (monotonic seconds)."""

    failures: int
    not_before: float
    detail: str = ""


class Step(NamedTuple):
    """One thing to do now. ``handle`` is empty for ``create``."""

    kind: StepKind
    runtime: Runtime
    instance: str
    handle: str
    reason: str
