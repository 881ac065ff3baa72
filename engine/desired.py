"""The desired state: what the config repository asks for at one commit, as typed values.

Everything here is immutable plain data made from validated YAML (``automator67.schemas``); nothing does I/O.
Units: memory and disk in bytes, time in seconds, CPU in cores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from automator67.engine.jobs import Before, Job
from automator67.engine.settings import Settings
from automator67.engine.tiers import Tier
from automator67.engine.volumes import Backup, Volume
from automator67.engine.windows import Maintenance, Window

Runtime = Literal["docker", "process"]
Drift = Literal["repair", "report", "off"]
Strategy = Literal["rolling", "blue-green", "canary"]
Spread = Literal["node", "region", "provider", "none"]


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A value that is not in the file: the name of a sealed secret in ``secrets/``."""

    name: str


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A secret that the app finds as a file at ``path``."""

    path: str
    secret: str


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A secret that an app uses: where it is written, and the keyed fingerprint of its value ("" where no key is)."""

    name: str
    path: str
    blob: str
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a resource is written: the path in the repository, and the id of the file's content."""

    path: str
    blob: str


@dataclass(frozen=True, slots=True)
class Probe:
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


@dataclass(frozen=True, slots=True)
class Update:
    """How a new revision replaces the old one."""

    strategy: Strategy = "rolling"
    max_extra: int = 1
    healthy_for: float = 10.0
    deadline: float = 300.0
    drain: float = 5.0
    share: int = 10
    """Canary: per cent of the requests."""
    promote_after: float | None = None
    """Canary: promoted after this long; None: when a person says so."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the node, shown in a container at ``path``."""

    host: str
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """What an app demands of its node beyond a container of its own; each needs the node's permission."""

    privileged: bool = False
    host_network: bool = False
    mounts: tuple[Mount, ...] = ()
    capabilities: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """A public name of an app, or the part of one below ``path``; ``redirect`` is where it sends people instead."""

    host: str
    path: str = ""
    redirect: str = ""


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """Which newer images an app follows: a pattern of tags, or ``digest``; looked for every ``every`` seconds."""

    track: str
    every: float = 3600.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where an app is built from: a folder of a git repository. ``commit`` is what ``ref`` means, once it is known."""

    git: str
    ref: str = "main"
    path: str = "."
    dockerfile: str = "Dockerfile"
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an app may run: ``require`` are node labels (``region``, ``provider`` and ``node`` count as labels)."""

    spread: Spread = "node"
    require: tuple[tuple[str, str], ...] = ()
    prefer: tuple[tuple[str, str], ...] = ()
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class App:
    """One app as the commit wants it. ``rev`` is the hash of all that needs a new instance when it changes."""

    name: str
    origin: Origin
    runtime: Runtime
    image: str | None = None
    command: tuple[str, ...] = ()
    port: int | None = None
    replicas: int = 1
    cpu: float = 0.1
    memory: int = 128 * 2**20
    env: tuple[tuple[str, str | SecretRef], ...] = ()
    health: Probe | None = None
    place: Place = Place()
    update: Update = Update()
    depends_on: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    backups: tuple[Backup, ...] = ()
    failover: Literal["wait", "restore"] = "wait"
    domains: tuple[str, ...] = ()
    sites: tuple[Site, ...] = ()
    tls: Literal["acme", "internal"] = "acme"
    allow: tuple[str, ...] = ()
    """Networks that may pass the gateway; empty: all."""
    basic: tuple[tuple[str, SecretRef], ...] = ()
    """People who may pass, with the hash of their password; empty: nobody is asked."""
    priority: int = 50
    """Who comes first when nodes are lost and room is short: the highest."""
    exclusive: bool = False
    """Never two copies at the same time, not even for a moment: fenced by leases, and yet it moves to another node."""
    drift: Drift = "repair"
    adopt: str | None = None
    restart: Literal["always", "on-failure", "no"] = "always"
    stop_timeout: float = 10.0
    user: str | None = None
    access: Access = Access()
    files: tuple[SecretFile, ...] = ()
    secrets: tuple[SecretUse, ...] = ()
    """The secrets of ``env`` and ``files``; their fingerprints are part of ``rev``."""
    blocked: str = ""
    """Why the app cannot be acted on now, such as a secret that does not open; what runs is left as it is."""
    source: Source | None = None
    policy: ImagePolicy | None = None
    registry: str = ""
    """The name of the secret with which the registry lets us in; empty: none is needed."""
    awaits: str = ""
    """What must be found out before there is a revision, in words; such an app stays as it was deployed."""
    job: Job | None = None
    before: Before | None = None
    once: bool = False
    """It is one run, which ends by itself, not a copy that stays."""
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)
    """The validated YAML, for showing what changed; secrets appear as ``{secret: NAME}`` only."""
    rev: str = ""
    shape: str = ""
    """The revision without the values of its secrets, where it has some."""

    @property
    def actionable(self) -> bool:
        """Whether the app can be acted on; if not, what runs of it is left as it is."""
        return not self.blocked

    @property
    def drain(self) -> float:
        """How long a copy takes no new requests before it stops, in seconds; 0 where nothing sends it any."""
        return self.update.drain if self.domains and self.port is not None else 0.0

    @property
    def pinned(self) -> bool:
        """Whether the app stays on the node that holds its volumes, and must never run twice."""
        return bool(self.volumes)

    @property
    def fenced(self) -> bool:
        """Whether its copies stop when their node hears nothing of the engine for the time of its lease."""
        return self.exclusive or (self.pinned and self.failover == "restore")

    @property
    def alone(self) -> bool:
        """Whether an old copy of a slot must have stopped before the next one starts."""
        return self.pinned or self.exclusive


@dataclass(frozen=True, slots=True)
class Node:
    """One node as the commit declares it; ``cpu``, ``memory`` and ``disk`` override what the agent measures.

    Empty as ``address``: where the engine sees it. ``window`` is the one that is open now. ``tier``: for accounts only.
    """

    name: str
    origin: Origin
    kind: str = "agent"
    region: str = ""
    provider: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    gateway: bool = False
    address: str = ""
    schedulable: bool = True
    drain: bool = False
    maintenance: tuple[Maintenance, ...] = ()
    window: Window | None = None
    quota: tuple[tuple[str, float], ...] = ()
    tier: Tier | None = None
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)

    @property
    def leaving(self) -> bool:
        """Whether what runs here is to move elsewhere."""
        return self.drain or (self.window is not None and self.window.drain)

    def label(self, key: str) -> str | None:
        """Return a label's value; ``node``, ``region`` and ``provider`` are labels every node has."""
        own = {"node": self.name, "region": self.region or None, "provider": self.provider or None}
        return own[key] if key in own else dict(self.labels).get(key)


@dataclass(frozen=True, slots=True)
class Other:
    """A resource that is read as its document by whoever serves it (shards, buckets): no step of a plan is about it."""

    kind: str
    name: str
    origin: Origin
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything one commit asks for."""

    commit: str
    settings: Settings = field(default_factory=Settings)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    apps: Mapping[str, App] = field(default_factory=dict)
    others: tuple[Other, ...] = ()
    secrets: frozenset[str] = frozenset()

    def provided_shards(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Return the shards that name a provider in place of a url, each with the name of what it is a part of."""
        files = (other for other in self.others if other.kind == "shard")
        return ((f.name, s) for f in files for s in f.document.get("shards", ()) if "provider" in s)


def revision_hash(app: Mapping[str, Any]) -> str:
    """Return the short hash (12 hex digits of SHA-256) of a canonical JSON form of an app's runtime part."""
    text = json.dumps(app, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
