"""What the engine says of a commit on its forge: few contexts, stable texts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from automator67.engine.backups.schedule import targets
from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.desired import Desired
from automator67.engine.judge import AppState
from automator67.engine.observed import Observed
from automator67.engine.volumes import RunKind, VolumeId

StatusState = Literal["pending", "success", "failure", "error"]


@dataclass(frozen=True, slots=True)
class Said:
    """One commit status: ``context`` as the forge shows it, ``description`` one line without times."""

    context: str
    state: StatusState
    description: str


def of_plan(summary: str, problems: int, first_problem: str) -> Said:
    """Return ``automator67/plan``: what the commit would do, or the first reason why it cannot be read."""
    if problems:
        more = f" (and {problems - 1} more)" if problems > 1 else ""
        return Said("automator67/plan", "failure", f"{first_problem}{more}")
    return Said("automator67/plan", "success", summary)


def of_apply(commit_state: str, summary: str) -> Said:
    """Return ``automator67/apply`` from the state of the commit in the store."""
    if commit_state == "applied":
        return Said("automator67/apply", "success", summary)
    if commit_state in ("failed", "invalid"):
        return Said("automator67/apply", "failure", summary)
    if commit_state == "superseded":
        return Said("automator67/apply", "error", "a newer commit took over")
    return Said("automator67/apply", "pending", "applying")


def of_health(apps: Mapping[str, AppState]) -> Said:
    """Return ``automator67/health`` over all apps: healthy counts, or what is wrong."""
    context = "automator67/health"
    wrong = [f"{a.app} {a.health}" for a in apps.values() if a.health in ("missing", "degraded")]
    held = [f"{a.app} held" for a in apps.values() if a.sync == "held"]
    if wrong or held:
        return Said(context, "failure", ", ".join([*wrong, *held]))
    open_ = [f"{a.app} {a.health}" for a in apps.values() if a.health in ("progressing", "unknown")]
    if open_:
        return Said(context, "pending", ", ".join(open_))
    replicas = sum(a.replicas_wanted for a in apps.values())
    what = "1 app" if len(apps) == 1 else f"{len(apps)} apps"
    return Said(context, "success", f"{what} healthy, replicas: {replicas}")


def of_app(state: AppState) -> Said:
    """Return ``automator67/app/NAME``, for clouds that ask for one status per app."""
    context = f"automator67/app/{state.app}"
    if state.sync == "held" or state.health in ("missing", "degraded"):
        return Said(context, "failure", state.reason or f"{state.health}")
    if state.sync in ("progressing", "out-of-sync") or state.health in ("progressing", "unknown"):
        return Said(context, "pending", "progressing")
    if state.sync == "blocked":
        return Said(context, "failure", state.reason)
    return Said(context, "success", f"{state.replicas_healthy} of {state.replicas_wanted} healthy")


def backups(desired: Desired, observed: Observed) -> dict[VolumeId, str]:
    """Return every volume that is to be backed up, with what is wrong with its backup, or nothing."""
    facts = observed.volumes
    found: dict[VolumeId, str] = {}
    for target in targets(desired.apps.values(), facts.homes):
        volume = target.volume
        failed = facts.failing(volume, _ENDS)
        found[volume] = _ENDS[failed[0].kind] if failed else "" if facts.latest(volume) else _NONE_YET
    return found


_ENDS: Mapping[RunKind, str] = {"backup": "backup failed", "test": "restore test failed"}
_NONE_YET = "not backed up yet"


def of_storage(buckets: Sequence[BucketFacts], volumes: Mapping[VolumeId, str]) -> Said | None:
    """Return ``automator67/storage`` over buckets and volumes' ``backups``; nothing where there are none."""
    context = "automator67/storage"
    failed = [f"bucket {b.name} {b.state}" for b in buckets if b.state != "healthy"]
    failed += [f"{volume} {wrong}" for volume, wrong in volumes.items() if wrong not in ("", _NONE_YET)]
    if failed:
        return Said(context, "failure", ", ".join(failed))
    waiting = [f"{volume} {wrong}" for volume, wrong in volumes.items() if wrong]
    if waiting:
        return Said(context, "pending", ", ".join(waiting))
    good = [f"{_count(len(buckets), 'bucket')} healthy"] if buckets else []
    good += [f"{_count(len(volumes), 'volume')} backed up"] if volumes else []
    return Said(context, "success", ", ".join(good)) if good else None


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
