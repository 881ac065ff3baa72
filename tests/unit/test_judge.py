"""Sync, health and drift are three facts, and what is said of them on the forge."""

from __future__ import annotations

from dataclasses import replace

from automator67.engine import reports
from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.copies import join
from automator67.engine.judge import AppState, judge
from automator67.engine.observed import Instance, Observed
from automator67.engine.plan.planner import plan
from automator67.engine.stability import BUDGET, WINDOW, ends_after
from automator67.engine.volumes import Backup, Run, RunKind, RunState, Snapshot, Volume, VolumeFacts, VolumeId
from tests.support.world import World, app, desired


def judged(world: World, wanted: object) -> AppState:
    observed = world.observed()
    done = plan(wanted, observed, world.now)  # type: ignore[arg-type]
    return judge(wanted, observed, done, join(observed))["blog"]  # type: ignore[arg-type]


def settled(count: int = 2) -> tuple[World, object]:
    world, wanted = World.of(2), desired(app(replicas=count))
    for _ in range(20):
        world.apply(plan(wanted, world.observed(), world.now), wanted)
        world.converge()
        world.now += 1
    return world, wanted


def test_what_runs_as_wanted_is_synced_and_healthy_without_drift() -> None:
    state = judged(*settled())
    assert (state.sync, state.health, state.drift) == ("synced", "healthy", "none")
    assert (state.replicas_healthy, state.replicas_wanted) == (2, 2)
    assert [i["node"] for i in state.instances] == ["n0", "n1"] or [i["node"] for i in state.instances] == ["n1", "n0"]


def test_a_new_app_is_progressing_and_missing_until_it_runs() -> None:
    world, wanted = World.of(2), desired(app())
    assert (judged(world, wanted).sync, judged(world, wanted).health) == ("progressing", "missing")
    world.apply(plan(wanted, world.observed(), world.now), wanted)
    assert judged(world, wanted).health == "progressing"


def test_some_replicas_down_is_degraded_none_is_missing() -> None:
    world, wanted = settled()
    for n, place in enumerate(sorted(world.running)):
        world.running[place] = replace(world.running[place], phase="exited", health="unhealthy")
        assert judged(world, wanted).health == ("degraded", "missing")[n]


def test_a_copy_that_ends_again_and_again_is_not_healthy_though_it_runs_now() -> None:
    world, wanted = settled()
    place = sorted(world.running)[0]
    instance = replace(world.running[place], exit_code=137, oom=True)
    for n in range(BUDGET + 1):
        down = replace(instance, phase="failed", health="unhealthy", restarts=n)
        instance = replace(down, ended_at=ends_after(instance, down, world.now))
        up = replace(instance, phase="running", health="healthy", restarts=n + 1)
        instance = replace(up, ended_at=ends_after(instance, up, world.now))
        assert len(instance.ended_at) == n + 1, "the restart is not another end"
        world.now += 20
    world.running[place] = instance
    observed = world.observed()
    done = plan(wanted, observed, world.now)  # type: ignore[arg-type]
    state = judge(wanted, observed, done, join(observed), world.now)["blog"]  # type: ignore[arg-type]
    assert (state.health, state.replicas_healthy) == ("degraded", 1)
    assert state.reason == f"{place[0]} ended 5 times or more within 10m, last: killed: out of memory"
    later = judge(wanted, observed, done, join(observed), world.now + WINDOW)["blog"]  # type: ignore[arg-type]
    assert later.health == "healthy"


def test_restarts_that_came_between_two_reports_all_count() -> None:
    one = Instance("a-0-r", "a", 0, "r", 1, "n", "running", "healthy", restarts=1)
    assert ends_after(None, one, 5.0) == ()
    assert ends_after(one, replace(one, restarts=4), 5.0) == (5.0, 5.0, 5.0)
    assert ends_after(replace(one, ended_at=(1.0,)), one, 700.0) == ()


def test_a_copy_that_never_comes_up_is_no_progress_for_ever() -> None:
    world, wanted = settled()
    place = sorted(world.running)[0]
    world.running[place] = replace(world.running[place], phase="starting", health="starting", since=world.now)
    observed = world.observed()
    done = plan(wanted, observed, world.now)  # type: ignore[arg-type]
    for waited, health in ((59, "progressing"), (61, "degraded")):
        states = judge(wanted, observed, done, join(observed), world.now + waited)  # type: ignore[arg-type]
        assert states["blog"].health == health


def test_a_silent_node_is_unknown_not_missing() -> None:
    world, wanted = settled()
    world.nodes = {n: replace(v, reported=False) for n, v in world.nodes.items()}
    state = judged(world, wanted)
    assert (state.health, state.drift) == ("unknown", "unknown")


def test_drift_is_told_apart_from_health() -> None:
    world, wanted = settled()
    place = sorted(world.running)[0]
    world.running[place] = replace(world.running[place], drift=("memory 128Mi → 64Mi",))
    state = judged(world, wanted)
    assert (state.sync, state.health, state.drift) == ("synced", "healthy", "drifted")
    assert "memory 128Mi → 64Mi" in state.reason


def test_statuses_have_stable_texts_without_times() -> None:
    good = AppState("blog", "synced", "healthy", "none", replicas_wanted=2, replicas_healthy=2)
    said = reports.of_health({"blog": good})
    assert (said.state, said.description) == ("success", "1 app healthy, replicas: 2")
    bad = replace(good, health="degraded", replicas_healthy=1)
    assert reports.of_health({"blog": bad}).state == "failure"
    assert reports.of_health({"blog": replace(good, health="progressing")}).state == "pending"
    assert reports.of_app(replace(good, sync="held", reason="held: exit code 1")).description == "held: exit code 1"
    assert reports.of_plan("", 3, "apps/a.yaml:1:1: bad").description == "apps/a.yaml:1:1: bad (and 2 more)"
    assert reports.of_apply("applying", "x") == reports.Said("automator67/apply", "pending", "applying")
    assert reports.of_storage((), {}) is None
    data, old = VolumeId("blog", 0, "data"), VolumeId("wiki", 1, "old")
    said = [reports.of_storage((), {data: "", old: wrong}) for wrong in ("", "not backed up yet", "backup failed")]
    assert [(s.state, s.description) for s in said if s] == [
        ("success", "2 volumes backed up"),
        ("pending", "wiki/old of slot 1 not backed up yet"),
        ("failure", "wiki/old of slot 1 backup failed"),
    ]


def test_what_is_wrong_with_a_backup_is_what_came_last_of_it() -> None:
    blog = replace(app(), volumes=(Volume("data", "/data"),), backups=(Backup("data", url="s3:x"),))
    data = VolumeId("blog", 0, "data")

    def run(kind: RunKind, state: RunState, at: float) -> Run:
        return Run(f"{kind}{at}", kind, data, "n0", state, "", at, data, ended_at=at)

    def wrong(*runs: Run, kept: bool = True) -> str:
        held = {data: (Snapshot("s", 1.0),)} if kept else {}
        facts = VolumeFacts({("blog", 0): "n0"}, held, runs)
        (word,) = reports.backups(desired(blog), Observed(volumes=facts)).values()
        return word

    assert wrong(kept=False) == "not backed up yet"
    assert wrong(run("backup", "failed", 2.0)) == "backup failed"
    assert wrong(run("backup", "failed", 2.0), run("backup", "done", 3.0)) == ""
    assert wrong(run("backup", "done", 3.0), run("test", "failed", 4.0)) == "restore test failed"


def test_the_storage_status_tells_of_buckets_without_numbers_that_change() -> None:
    good, short = BucketFacts("photos", files=3), BucketFacts("films", short=2)
    volume = {VolumeId("blog", 0, "data"): ""}
    assert reports.of_storage([good], {}) == reports.Said("automator67/storage", "success", "1 bucket healthy")
    both = reports.of_storage([good, BucketFacts("x")], volume)
    assert both is not None
    assert both.description == "2 buckets healthy, 1 volume backed up"
    full = BucketFacts("films", bytes=90, quota=100)
    for wrong, word in ((short, "degraded"), (replace(short, lost=1), "lost"), (full, "full")):
        said = reports.of_storage([good, wrong], volume)
        assert said == reports.Said("automator67/storage", "failure", f"bucket films {word}")
        assert "films" in wrong.wrong or word == "full"
    assert reports.of_storage([replace(short, short=1)], {}) == reports.of_storage([short], {})
