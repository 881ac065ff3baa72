"""What to do now so that this node becomes what is desired. Pure: the present in, steps out.

Every step returned may be taken at once and at the same time as the others. What must wait for another step is not
returned until an observation shows that step's effect; so a crash after any step loses nothing, and the next look
finds the rest of the way.
"""

from __future__ import annotations

from collections.abc import Mapping

from automator67.agent import naming
from automator67.agent.drift import changed_limits, drift, renamed
from automator67.agent.matching import match
from automator67.agent.model import Desired, Observed, Retry, Seen, Step, Wanted


def steps(
    desired: Desired, observed: Observed, now: float, backoff: Mapping[str, Retry], prefix: str = "a67-"
) -> list[Step]:
    """Return the steps to take now.

    ``now`` is monotonic, as in ``backoff`` (by instance id). Nothing is done through a runtime that is not ``ok``:
    what it shows may be old. New instances come before the removal of old ones of the same app, unless both hold
    the same volume.
    """
    found = match(desired, observed)
    out: list[Step] = []
    coming: set[str] = set()
    for w, seen in found.pairs:
        step = _for_wanted(w, seen, observed, prefix)
        patient = now < backoff.get(w.id, _NO_RETRY).not_before
        busy = w.id in observed.busy or (seen is not None and seen.handle in observed.busy)
        if step is not None and step.kind == "create" and _volume_holder(w, observed, prefix) is not None:
            continue
        if _is_coming(step, seen, busy, patient, observed):
            coming.add(w.app)
        if step is None or patient or busy:
            continue
        if observed.runtimes.get(step.runtime) == "ok" and (step.kind != "remove" or observed.may_remove):
            out.append(step)
    for s in found.extra:
        if s.handle in observed.busy or observed.runtimes.get(s.runtime) != "ok" or s.state == "removing":
            continue
        if not observed.may_remove or now < backoff.get(s.instance or s.name, _NO_RETRY).not_before:
            continue
        if s.app not in coming:
            out.append(Step("remove", s.runtime, s.instance or s.name, s.handle, "it is no longer desired"))
    return out


def is_converged(desired: Desired, observed: Observed, prefix: str) -> bool:
    """Whether nothing is left to do, now or later, to become what is desired."""
    found = match(desired, observed)
    if found.extra or observed.busy:
        return False
    return all(_for_wanted(w, seen, observed, prefix) is None for w, seen in found.pairs)


def waits_for_volume(w: Wanted, observed: Observed, prefix: str) -> str:
    """Return why an instance that does not exist yet cannot be made now, or nothing."""
    if held := _held(w, observed, prefix):
        return f"waits for its volume: {held}"
    holder = _volume_holder(w, observed, prefix)
    return f"waits until {holder} has let go of their volume" if holder else ""


_NO_RETRY = Retry(0, 0.0)


def _is_coming(step: Step | None, seen: Seen | None, busy: bool, patient: bool, observed: Observed) -> bool:
    """Whether an instance is about to run, so that old ones of its app should stay a moment longer."""
    if busy:
        return seen is None or seen.state != "running"
    starts = step is not None and step.kind in ("create", "start") and step.runtime in observed.runtimes
    return starts and not patient


def _for_wanted(w: Wanted, seen: Seen | None, observed: Observed, prefix: str) -> Step | None:
    """Return the step that brings one instance nearer to what is wanted, whether or not it may be taken now."""
    if w.keep:
        return None
    if (held := _held(w, observed, prefix)) and (seen is None or seen.instance):
        # It is made anew when the volume is free again.
        gone = seen is None or seen.state == "removing"
        return None if gone or seen is None else Step("remove", w.runtime, w.id, seen.handle, f"its volume: {held}")
    if seen is None:
        if w.drift != "repair" and w.id in observed.made:
            return None
        reason = "it was removed by hand" if w.id in observed.made else "it is desired"
        return Step("create", w.runtime, w.id, "", reason)
    repair = w.drift == "repair"
    here = (seen.runtime, w.id, seen.handle)
    if not seen.instance:
        return _for_adopted(w, seen)
    if seen.state == "removing":
        return None
    if seen.state == "dead":
        return Step("remove", *here, "the runtime could not remove it completely")
    if seen.rev != w.rev or seen.epoch < w.epoch:
        return Step("remove", *here, f"it is of epoch {seen.epoch} and revision {seen.rev}: to be made anew")
    if seen.state == "created":
        return Step("start", *here, "it was made but not started")
    if repair and seen.state == "paused":
        return Step("unpause", *here, "it was paused by hand")
    if seen.state == "exited" and _to_start(w, seen):
        return Step("start", *here, "it was stopped by hand" if seen.ended == "hand" else "it ended")
    if repair and renamed(w, seen, prefix):
        return Step("rename", *here, f"it was renamed to {seen.name}")
    if repair and changed_limits(w, seen):
        return Step("update", *here, "; ".join(changed_limits(w, seen)))
    return None


def _for_adopted(w: Wanted, seen: Seen) -> Step | None:
    # An adopted container is kept as its owner made it: only whether it runs is ours to repair.
    if not drift(w, seen, True, "") or w.drift != "repair":
        return None
    if seen.state == "paused":
        return Step("unpause", seen.runtime, w.id, seen.handle, "it was paused by hand")
    if seen.state == "exited":
        return Step("start", seen.runtime, w.id, seen.handle, "it was stopped by hand")
    return None


def _to_start(w: Wanted, seen: Seen) -> bool:
    """Whether an instance that ended is to run again now (the Docker Engine itself restarts what crashes)."""
    if seen.ended == "hand":
        return w.drift == "repair"
    if not seen.ended or w.restart == "no":
        return False
    return w.restart == "always" or seen.ended == "daemon" or seen.exit_code != 0


def _held(w: Wanted, observed: Observed, prefix: str) -> str:
    """Return why no instance may have one of ``w``'s volumes now, or nothing."""
    names = (naming.volume_name(prefix, w.app, w.slot, v.name) for v in w.volumes)
    return next((observed.held[name] for name in names if name in observed.held), "")


def _volume_holder(w: Wanted, observed: Observed, prefix: str) -> str | None:
    """Return another instance that exists and holds one of ``w``'s volumes: two must never write to it."""
    mine = {naming.volume_name(prefix, w.app, w.slot, v.name) for v in w.volumes}
    for s in observed.seen:
        finished = s.state == "exited" and s.instance in observed.once
        if s.instance and s.instance != w.id and not finished and mine.intersection(s.volumes):
            return s.instance
    return None
