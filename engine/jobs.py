"""Jobs as plain data: what is to run to its end, when, and what became of each run. Pure.

A run is an instance like any other, only that it is started once and never again: its id is ``APP-runN-REV``. Times
are seconds since the epoch, durations seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from automator67.engine.desired import App

DEPLOY = "@deploy"
"""In place of a time: once for every revision."""
Kind = Literal["schedule", "deploy", "before", "manual"]
State = Literal["wanted", "succeeded", "failed", "timed out", "stopped", "lost", "skipped"]


@dataclass(frozen=True, slots=True)
class Job:
    """When an app runs that is a job; see docs/jobs.md for ``overlap`` and ``missed``."""

    cron: str
    timezone: str = "UTC"
    overlap: Literal["skip", "queue", "replace"] = "skip"
    missed: Literal["run", "skip"] = "run"
    timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The last time of a job that has come and that no run was for yet (0: none; ``text`` in words), and the next."""

    at: float
    next_at: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Before:
    """What runs to its end before the first copy of a new revision starts."""

    command: tuple[str, ...]
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an app, over or not. ``number`` counts the runs of an app.

    ``command`` is empty for the app's own. ``timeout``: 0 for none. ``due_at``: the time it was for. ``started_at``:
    when it was given to ``node`` (0: not yet). ``blob``: the app's file when it was asked for. ``stop``: why a person
    wants it to end.
    """

    app: str
    number: int
    kind: Kind
    rev: str
    asked_at: float
    command: tuple[str, ...] = ()
    timeout: float = 0.0
    reason: str = ""
    blob: str = ""
    due_at: float = 0.0
    state: State = "wanted"
    node: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    exit_code: int | None = None
    detail: str = ""
    stop: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.state != "wanted"

    @property
    def instance(self) -> str:
        """The id of its instance."""
        return f"{self.app}-run{self.number}-{self.rev}"


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs that are remembered, by app, the newest first."""

    by_app: dict[str, tuple[Run, ...]] = field(default_factory=dict)

    def of(self, app: str) -> tuple[Run, ...]:
        """Return those of an app."""
        return self.by_app.get(app, ())

    def find(self, app: str, number: int) -> Run | None:
        """Return one."""
        return next((r for r in self.of(app) if r.number == number), None)

    def next_number(self, app: str) -> int:
        """Return the number of an app's next run."""
        return 1 + max((r.number for r in self.of(app)), default=0)


def run_number(app: str, instance: str) -> int:
    """Return which run of an app an instance is, 0 for a copy that is none."""
    word = instance.removeprefix(f"{app}-").partition("-")[0]
    number = word.removeprefix("run")
    return int(number) if word != number and number.isascii() and number.isdigit() else 0


def as_run(app: App, command: tuple[str, ...]) -> App:
    """Return an app as one run of it is told to a node: it ends by itself, nobody asks how it is or repairs it."""
    return replace(
        app, command=command or app.command, port=None, health=None, restart="no", drift="off", exclusive=False,
        replicas=1, adopt=None, once=True,
    )  # fmt: skip
