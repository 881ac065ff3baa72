"""Converging, from any present to any desired state: it ends, and on the way nothing is lost or done twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.converge import is_converged, steps
from automator67.agent.model import Desired, Ended, Observed, Retry, Runtime, Seen, State, Step, Volume, Wanted
from automator67.agent.naming import container_name, volume_name

PREFIX = "a67-"
APPS = ("a", "b")
REVS = ("r1", "r2")
STATES: tuple[State, ...] = ("created", "running", "paused", "exited", "dead")


@st.composite
def wanted(draw: st.DrawFn) -> Wanted:
    app, slot, rev = draw(st.sampled_from(APPS)), draw(st.integers(0, 1)), draw(st.sampled_from(REVS))
    runtime: Runtime = draw(st.sampled_from(("docker", "process")))
    return Wanted(
        f"{app}-{slot}-{rev}", app, slot, rev, draw(st.integers(1, 2)), runtime=runtime, image="i:1", memory=2**20,
        cpu=0.1, volumes=(Volume("v", "/v"),) if draw(st.booleans()) else (),
        restart=draw(st.sampled_from(("always", "on-failure", "no"))),
        drift=draw(st.sampled_from(("repair", "report", "off"))), keep=draw(st.integers(0, 9)) == 0,
    )  # fmt: skip


@st.composite
def seen(draw: st.DrawFn) -> Seen:
    w = draw(wanted())
    state = draw(st.sampled_from(STATES if w.runtime == "docker" else ("running", "exited")))
    name = container_name(PREFIX, w.id) if draw(st.integers(0, 4)) else "renamed"
    ended: Ended = draw(st.sampled_from(("self", "hand", "daemon"))) if state == "exited" else ""
    if w.runtime == "process" and ended:
        ended = "self"
    return Seen(
        w.runtime, f"{w.runtime}-{w.id}", name, state, w.id, w.app, w.slot, w.rev, draw(st.integers(1, 2)),
        ended, exit_code=draw(st.integers(0, 1)),
        memory=draw(st.sampled_from((2**20, 2**21))), cpu=0.1,
        restart={"always": "unless-stopped"}.get(w.restart, w.restart),
        volumes=tuple(volume_name(PREFIX, w.app, w.slot, v.name) for v in w.volumes),
    )  # fmt: skip


def unique(items: list[Seen]) -> tuple[Seen, ...]:
    return tuple({s.handle: s for s in items}.values())


worlds = st.builds(
    lambda ws, ss: (Desired("r", "n", "c", tuple({w.id: w for w in ws}.values())), unique(ss)),
    st.lists(wanted(), max_size=5),
    st.lists(seen(), max_size=5),
)
OK = {"docker": "ok", "process": "ok"}


def obey(present: tuple[Seen, ...], step: Step, desired: Desired) -> tuple[Seen, ...]:
    """Return the present after a runtime has done a step."""
    w = next((w for w in desired.instances if w.id == step.instance), None)
    if step.kind == "create":
        assert w is not None
        assert all(s.instance != w.id or s.runtime != w.runtime for s in present)
        made = Seen(
            w.runtime, f"new-{w.id}", container_name(PREFIX, w.id), "running", w.id, w.app, w.slot, w.rev, w.epoch,
            memory=w.memory, cpu=w.cpu, restart={"always": "unless-stopped"}.get(w.restart, w.restart),
            volumes=tuple(volume_name(PREFIX, w.app, w.slot, v.name) for v in w.volumes),
        )  # fmt: skip
        return (*present, made)
    (target,) = (s for s in present if s.handle == step.handle)
    rest = tuple(s for s in present if s is not target)
    if step.kind == "remove":
        return rest
    if step.kind in ("start", "unpause"):
        return (*rest, target._replace(state="running", ended=""))
    if step.kind == "rename":
        return (*rest, target._replace(name=container_name(PREFIX, step.instance)))
    assert step.kind == "update"
    assert w is not None
    return (
        *rest,
        target._replace(memory=w.memory, cpu=w.cpu, restart={"always": "unless-stopped"}.get(w.restart, w.restart)),
    )


@given(worlds, st.randoms(use_true_random=False))
def test_it_always_arrives_and_is_then_still(world: tuple[Desired, tuple[Seen, ...]], order: object) -> None:
    desired, present = world
    for _ in range(12):
        observed = Observed(present, OK)
        now = steps(desired, observed, 0.0, {}, PREFIX)
        if not now:
            break
        # A crash may come after any of them: the rest is found again.
        order.shuffle(now)  # type: ignore[attr-defined]
        present = obey(present, now[0], desired)
    else:
        raise AssertionError(f"no end: {now}")
    observed = Observed(present, OK)
    kept = {w.id for w in desired.instances if w.keep}
    for w in desired.instances:
        mine = [s for s in present if s.instance == w.id]
        assert len(mine) <= 1 or w.keep
        if not w.keep and w.drift == "repair" and w.restart == "always" and not waits(w, present):
            assert [s.state for s in mine] == ["running"], w
    assert {s.instance for s in present} <= {w.id for w in desired.instances}
    if not kept and not any(waits(w, present) for w in desired.instances):
        assert is_converged(desired, observed, PREFIX)


@given(worlds)
def test_every_step_is_about_something_and_no_two_are_about_the_same(
    world: tuple[Desired, tuple[Seen, ...]],
) -> None:
    desired, present = world
    found = steps(desired, Observed(present, OK), 0.0, {}, PREFIX)
    keys = [s.handle or s.instance for s in found]
    assert len(keys) == len(set(keys))
    handles = {s.handle for s in present}
    assert all(s.reason and (s.handle in handles if s.kind != "create" else not s.handle) for s in found)


@given(worlds)
def test_two_instances_with_one_volume_never_run_together(world: tuple[Desired, tuple[Seen, ...]]) -> None:
    desired, present = world
    made = [s for s in steps(desired, Observed(present, OK), 0.0, {}, PREFIX) if s.kind == "create"]
    held = {v for s in present for v in s.volumes}
    for step in made:
        w = next(w for w in desired.instances if w.id == step.instance)
        mine = {volume_name(PREFIX, w.app, w.slot, v.name) for v in w.volumes}
        others = {v for s in present if s.instance == w.id for v in s.volumes}
        assert not mine & (held - others)


@given(worlds, st.sampled_from(("degraded", "down")))
def test_nothing_is_done_through_a_runtime_that_does_not_answer(
    world: tuple[Desired, tuple[Seen, ...]], health: str
) -> None:
    desired, present = world
    observed = Observed(present, {"docker": health, "process": "ok"})
    assert all(s.runtime == "process" for s in steps(desired, observed, 0.0, {}, PREFIX))


@given(worlds)
def test_what_is_busy_or_waiting_is_left_alone(world: tuple[Desired, tuple[Seen, ...]]) -> None:
    desired, present = world
    first = steps(desired, Observed(present, OK), 0.0, {}, PREFIX)
    busy = frozenset(s.handle or s.instance for s in first)
    again = steps(desired, Observed(present, OK, busy), 0.0, {}, PREFIX)
    assert not busy & {s.handle or s.instance for s in again}
    waiting = {s.instance: Retry(1, 10.0, "failed") for s in first}
    assert not {s.instance for s in steps(desired, Observed(present, OK), 9.9, waiting, PREFIX)} & set(waiting)
    assert steps(desired, Observed(present, OK), 10.0, waiting, PREFIX) == first


@given(worlds)
def test_nothing_is_removed_before_the_desired_state_is_kept(world: tuple[Desired, tuple[Seen, ...]]) -> None:
    desired, present = world
    found = steps(desired, Observed(present, OK, may_remove=False), 0.0, {}, PREFIX)
    assert all(s.kind != "remove" for s in found)


@given(worlds)
def test_others_containers_and_kept_instances_are_never_touched(world: tuple[Desired, tuple[Seen, ...]]) -> None:
    desired, present = world
    foreign = Seen("docker", "f1", "somebody", "exited", ended="hand")
    found = steps(desired, Observed((*present, foreign), OK), 0.0, {}, PREFIX)
    assert all(s.handle != "f1" for s in found)
    kept = {w.id for w in desired.instances if w.keep}
    handles = [[s.handle for s in present if s.instance == k] for k in kept]
    matched = {h[0] for h in handles if len(h) == 1}
    assert not matched & {s.handle for s in found}


def waits(w: Wanted, present: tuple[Seen, ...]) -> bool:
    mine = {volume_name(PREFIX, w.app, w.slot, v.name) for v in w.volumes}
    return any(s.instance != w.id and mine & set(s.volumes) for s in present)
