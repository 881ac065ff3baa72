"""The protocol of a place: what an adapter is given, and what it answers. Plain data; times are in seconds.

A place runs *units*: all copies of one app that are assigned to it, of one revision. ``converge`` compares the units
that are wanted with those that are seen; the adapter carries out what follows. docs/adding-a-place.md shows how the
next adapter is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Message = Mapping[str, Any]
"""An instance as a node is told of it, or reports it (docs/protocol.md)."""


class PlaceError(Exception):
    """The place did not do or answer something; one line for a person, without secrets."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The opened secrets of an app: environment by name, and (path, content) pairs. Never shown.

    ``login``: user, password and host of the image's registry, where that asks for them.
    """

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    login: tuple[str, str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Unit:
    """All copies of an app that a place should run.

    ``message`` is the specification, the same for every copy. ``attempt`` grows with every new try of a revision.
    """

    app: str
    rev: str
    attempt: int
    slots: tuple[int, ...]
    message: Message = field(default_factory=dict)

    @property
    def keep(self) -> bool:
        """Whether what runs is to be left as it is, since its specification is not known any more."""
        return bool(self.message.get("keep"))

    @property
    def drift(self) -> str:
        """What to do about changes by hand: ``repair``, ``report`` or ``off``."""
        return str(self.message.get("drift", "repair"))


@dataclass(frozen=True, slots=True)
class SeenUnit:
    """A unit with our stamp, as the place has it.

    ``handle`` and ``version`` mean something only to the adapter. ``shape`` is the part of it that the adapter's own
    ``shape`` makes, ``mark`` the mark it was made with. ``instances`` are its copies. ``gave_up`` is the (revision,
    attempt) that the place itself went back from, and ``why``. ``changing``: the place is replacing copies now.
    """

    app: str
    rev: str
    attempt: int
    slots: tuple[int, ...]
    handle: str
    version: int = 0
    mark: str = ""
    shape: Mapping[str, Any] = field(default_factory=dict, repr=False)
    instances: tuple[Message, ...] = ()
    gave_up: tuple[str, int] | None = None
    why: str = ""
    changing: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What a place shows: units of ours, what is not ours, what it can hold. ``clock`` is its own, since the epoch."""

    units: Mapping[str, SeenUnit] = field(default_factory=dict)
    foreign: tuple[Message, ...] = ()
    conditions: tuple[str, ...] = ()
    cpu: float = 0.0
    memory: int = 0
    clock: float = 0.0
    identity: str = ""
    """What stays the same as long as it is the same place."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to be done at a place. ``seen`` is the unit it is done to, None where there is none yet."""

    verb: Literal["create", "update", "remove"]
    app: str
    reason: str
    shape: Mapping[str, Any] = field(default_factory=dict, repr=False)
    seen: SeenUnit | None = None
    opened: Opened = field(default_factory=Opened, repr=False)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an instance's log: seconds since the epoch, ``out`` or ``err``, text."""

    at: float
    stream: Literal["out", "err"]
    text: str


class Lines(Protocol):
    """A stream of log lines, oldest first. ``close`` ends it from any thread, also while it waits."""

    def __iter__(self) -> Iterator[Line]:
        """Return the lines."""

    def close(self) -> None:
        """End the stream."""


class Place(Protocol):
    """One place. Its methods may be called from several threads, and raise PlaceError when it does not answer."""

    @property
    def name(self) -> str:
        """The name of the node."""

    @property
    def kind(self) -> str:
        """What nodes of its kind are called in the repository; ``engine.capabilities`` says what they can do."""

    def observe(self) -> Seen:
        """Look at everything. An answer is complete: a place that cannot be reached raises, it is never empty."""

    def shape(self, unit: Unit, opened: Opened) -> Mapping[str, Any]:
        """Return what the place is asked to run for a unit, as its API writes it. Pure."""

    def differences(self, wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> tuple[str, ...]:
        """Return in words, without secrets, where a seen shape is not as wanted. Pure."""

    def act(self, action: Act) -> None:
        """Do one thing. It may be repeated: what carries our stamp already is found, never made twice."""

    def logs(self, instance: str, *, tail: int, since: float, follow: bool) -> Lines:
        """Return log lines of an instance: the last ``tail`` (-1: all), none before ``since``, or all to come."""

    def pause(self) -> float:
        """Return how many seconds may pass until the next look, when nothing asks for one sooner."""

    def watch(self, notify: Callable[[], None]) -> None:
        """Call ``notify``, from any thread, when something may have changed; a place without events never does."""

    def close(self) -> None:
        """Let go of all connections; calls that wait end soon."""
