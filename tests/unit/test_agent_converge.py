"""Which steps follow from which present, case by case."""

from __future__ import annotations

import pytest

from automator67.agent.converge import is_converged, steps, waits_for_volume
from automator67.agent.drift import drift
from automator67.agent.matching import adopted_now, match
from automator67.agent.model import Adopted, Desired, Observed, Retry, Seen, Step, Volume, Wanted

OK = {"docker": "ok", "process": "ok"}
WEB = Wanted("web-0-r1", "web", 0, "r1", 1, image="i:1", memory=100, cpu=0.5)
NEW = WEB._replace(id="web-0-r2", rev="r2")
SEEN = Seen(
    "docker", "c1", "a67-web-0-r1", "running", "web-0-r1", "web", 0, "r1", 1,
    memory=100, cpu=0.5, restart="unless-stopped",
)  # fmt: skip
THEIRS = Seen("docker", "f1", "theirs", "running")


def do(
    *wanted: Wanted,
    seen: tuple[Seen, ...] = (),
    now: float = 0.0,
    backoff: dict[str, Retry] | None = None,
    busy: frozenset[str] = frozenset(),
    made: frozenset[str] = frozenset(),
    adopted: dict[str, Adopted] | None = None,
    runtimes: dict[str, str] | None = None,
) -> list[tuple[str, str]]:
    observed = Observed(seen, OK if runtimes is None else runtimes, busy, made, adopted or {})
    found = steps(Desired("r", "n", "c", wanted), observed, now, backoff or {}, "a67-")
    return [(s.kind, s.handle or s.instance) for s in found]


def test_nothing_to_do() -> None:
    assert do(WEB, seen=(SEEN,)) == []
    assert is_converged(Desired("r", "n", "c", (WEB,)), Observed((SEEN,), OK), "a67-")


def test_new_comes_before_old_goes() -> None:
    assert do(NEW, seen=(SEEN,)) == [("create", "web-0-r2")]
    assert do(NEW, seen=(SEEN,), busy=frozenset({"web-0-r2"})) == []
    created = SEEN._replace(handle="c2", name="a67-web-0-r2", instance="web-0-r2", rev="r2", state="created")
    assert do(NEW, seen=(SEEN, created)) == [("start", "c2")]
    assert do(NEW, seen=(SEEN, created), busy=frozenset({"c2"})) == []
    assert do(NEW, seen=(SEEN, created._replace(state="running"))) == [("remove", "c1")]


def test_an_old_one_does_not_wait_for_a_new_one_that_cannot_come() -> None:
    failed = {"web-0-r2": Retry(3, 50.0, "no image")}
    assert do(NEW, seen=(SEEN,), backoff=failed, now=10.0) == [("remove", "c1")]
    process = NEW._replace(runtime="process")
    assert do(process, seen=(SEEN,), runtimes={"docker": "ok"}) == [("remove", "c1")]


def test_of_two_with_one_volume_the_old_goes_first() -> None:
    new = NEW._replace(volumes=(Volume("data", "/d"),))
    old = SEEN._replace(volumes=("a67-web-0-data",))
    assert do(new, seen=(old,)) == [("remove", "c1")]
    assert do(new, seen=(old,), busy=frozenset({"c1"})) == []
    assert waits_for_volume(new, Observed((old,), OK), "a67-") == "waits until web-0-r1 has let go of their volume"
    assert do(new) == [("create", "web-0-r2")]


def test_what_is_no_longer_desired_goes_and_theirs_stays() -> None:
    assert do(seen=(SEEN, THEIRS)) == [("remove", "c1")]


def test_a_copy_made_by_hand_goes() -> None:
    copy = SEEN._replace(handle="c9", name="copy", state="exited", ended="self")
    assert do(WEB, seen=(copy, SEEN)) == [("remove", "c9")]


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"state": "paused"}, "unpause"),
        ({"state": "exited", "ended": "hand"}, "start"),
        ({"name": "mine"}, "rename"),
        ({"memory": 50}, "update"),
        ({"cpu": 0.7}, "update"),
        ({"restart": "no"}, "update"),
    ],
)
def test_drift_is_repaired_only_where_that_is_wanted(change: dict[str, object], step: str) -> None:
    changed = SEEN._replace(**change)  # type: ignore[arg-type]
    assert do(WEB, seen=(changed,)) == [(step, "c1")]
    for mode, told in (("report", True), ("off", False)):
        w = WEB._replace(drift=mode)  # type: ignore[arg-type]
        assert do(w, seen=(changed,)) == []
        assert bool(drift(w, changed, True, "a67-")) == told


def test_one_that_was_removed_by_hand_is_told_from_one_never_made() -> None:
    report = WEB._replace(drift="report")
    assert do(report) == [("create", "web-0-r1")]
    assert do(report, made=frozenset({"web-0-r1"})) == []
    assert do(WEB, made=frozenset({"web-0-r1"})) == [("create", "web-0-r1")]
    assert drift(report, None, False, "a67-") == ()
    assert drift(report, None, True, "a67-") == ("removed",)


@pytest.mark.parametrize(
    ("restart", "code", "ended", "again"),
    [
        ("always", 0, "self", True),
        ("always", 1, "daemon", True),
        ("on-failure", 0, "self", False),
        ("on-failure", 1, "self", True),
        ("on-failure", None, "self", True),
        ("on-failure", 0, "daemon", True),
        ("no", 1, "self", False),
        ("no", 1, "daemon", False),
        ("always", 1, "", False),
    ],
)
def test_what_ended_runs_again_as_its_policy_says(restart: str, code: int | None, ended: str, again: bool) -> None:
    w = WEB._replace(restart=restart, drift="report")  # type: ignore[arg-type]
    s = SEEN._replace(state="exited", ended=ended, exit_code=code, restart=restart)  # type: ignore[arg-type]
    assert do(w, seen=(s,)) == ([("start", "c1")] if again else [])


def test_what_is_of_an_older_epoch_or_dead_is_made_anew() -> None:
    assert do(WEB._replace(epoch=2), seen=(SEEN,)) == [("remove", "c1")]
    assert do(WEB, seen=(SEEN._replace(epoch=2),)) == []
    assert do(WEB, seen=(SEEN._replace(state="dead"),)) == [("remove", "c1")]
    assert do(WEB, seen=(SEEN._replace(state="removing"),)) == []


def test_adoption() -> None:
    adopting = WEB._replace(adopt="theirs", memory=5)
    assert do(adopting, seen=(THEIRS,)) == []
    assert adopted_now(match(Desired("r", "n", "c", (adopting,)), Observed((THEIRS,), OK))) == {
        "theirs": Adopted("f1", "web-0-r1", "web", 0, "r1", 1)
    }
    assert do(adopting, seen=(THEIRS._replace(state="exited", ended="hand"),)) == [("start", "f1")]
    assert do(adopting) == [("create", "web-0-r1")]
    known = {"theirs": Adopted("f1", "web-0-r1", "web", 0, "r1", 1)}
    assert do(NEW, seen=(THEIRS,), adopted=known) == [("create", "web-0-r2")]
    ready = SEEN._replace(handle="c2", name="a67-web-0-r2", instance="web-0-r2", rev="r2")
    assert do(NEW, seen=(THEIRS, ready), adopted=known) == [("remove", "f1")]
    # Another container that has taken the name since is nobody's business.
    assert do(NEW, seen=(THEIRS._replace(handle="f2"), ready), adopted=known) == []
    assert do(NEW, seen=(THEIRS, ready)) == []


def test_what_is_kept_is_left_alone() -> None:
    kept = Wanted("web-0-r1", "web", 0, "r1", 1, keep=True)
    for change in ({"state": "exited", "ended": "hand"}, {"memory": 1}, {"runtime": "process"}):
        assert do(kept, seen=(SEEN._replace(**change),)) == []
    assert do(kept) == []


def test_a_step_says_why() -> None:
    (step,) = steps(Desired("r", "n", "c", (WEB,)), Observed((SEEN._replace(memory=2**20),), OK), 0.0, {}, "a67-")
    assert step == Step("update", "docker", "web-0-r1", "c1", "memory limit is 1 MiB, not 9.53674e-05 MiB")
