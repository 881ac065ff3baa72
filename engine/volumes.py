"""Volumes of apps: how they are backed up, where they are, which snapshots there are. Plain data.

Times are seconds since the epoch, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

RunKind = Literal["backup", "test", "restore", "failover", "aside"]
RunState = Literal["wanted", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Volume:
    """Named data of an app, mounted at ``path``; it survives prune and redeploy."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Backup:
    """Snapshots of one volume: where they go, how often, how many stay.

    ``url`` is the place itself or, with ``url_secret``, in that secret; ``access_key``, ``secret_key`` and
    ``password`` are names of secrets. ``stop``: the app's copy is stopped meanwhile; ``pre`` and ``post`` run in it.
    """

    volume: str
    bucket: str = ""
    url: str = ""
    url_secret: str = ""
    access_key: str = ""
    secret_key: str = ""
    password: str = ""
    every: float = 86400.0
    keep: int = 7
    test: float = 30 * 86400.0
    stop: bool = False
    pre: tuple[str, ...] = ()
    post: tuple[str, ...] = ()


class VolumeId(NamedTuple):
    """Which volume: each slot of an app has its own."""

    app: str
    slot: int
    volume: str

    def __str__(self) -> str:
        return f"{self.app}/{self.volume}" + (f" of slot {self.slot}" if self.slot else "")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a volume that its repository holds. ``files`` and ``bytes``: counted when it was made; -1: unknown."""

    id: str
    at: float
    files: int = -1
    bytes: int = -1


@dataclass(frozen=True, slots=True)
class Run:
    """Something that is done with a volume on a node: asked for, perhaps under way, or over.

    ``volume`` is what it acts on; ``origin`` is whose snapshot is restored. ``tries`` counts how often it was begun.
    """

    id: str
    kind: RunKind
    volume: VolumeId
    node: str
    state: RunState
    reason: str
    asked_at: float
    origin: VolumeId
    snapshot: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    files: int = -1
    bytes: int = -1
    message: str = ""
    tries: int = 0


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """What is recorded of volumes."""

    homes: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """By (app, slot): the node whose volumes are the true ones. What another node has of them is old."""
    snapshots: Mapping[VolumeId, tuple[Snapshot, ...]] = field(default_factory=dict)
    """By volume, the newest last: what its repository held after the last backup."""
    runs: tuple[Run, ...] = ()
    """Those that are wanted, and of each volume and kind the last that ended; the oldest first."""

    def latest(self, volume: VolumeId) -> Snapshot | None:
        """Return the newest snapshot of a volume."""
        found = self.snapshots.get(volume, ())
        return found[-1] if found else None

    def last(self, volume: VolumeId, kind: RunKind, state: RunState | None = None) -> Run | None:
        """Return the last run of a kind that ended (in a state)."""
        fits = (r for r in self.runs if (r.volume, r.kind) == (volume, kind) and r.state != "wanted")
        return max((r for r in fits if state in (None, r.state)), key=lambda r: r.ended_at, default=None)

    def failing(self, volume: VolumeId, kinds: Iterable[RunKind]) -> list[Run]:
        """Return the last runs of some kinds that failed, in the order of the kinds."""
        return [run for kind in kinds if (run := self.last(volume, kind)) is not None and run.state == "failed"]
