"""Which backups are due and why, and where they go."""

from __future__ import annotations

import pytest

from automator67.engine.backups.address import AddressError, repository
from automator67.engine.backups.schedule import AGAIN_SECONDS, Target, due, next_backup, targets, trouble
from automator67.engine.convert import app_of
from automator67.engine.desired import Node, Origin
from automator67.engine.observed import NodeView, Observed
from automator67.engine.plan.planner import plan
from automator67.engine.volumes import Backup, Run, RunKind, RunState, Snapshot, VolumeFacts, VolumeId
from tests.support.world import app, desired

V = VolumeId("blog", 0, "data")
DAY = 86400.0
ORIGIN = Origin("apps/blog.yaml", "b")


def target(**keys: object) -> Target:
    return Target(V, Backup("data", url="s3://host/bucket", **keys), "one")  # type: ignore[arg-type]


def run(kind: RunKind, state: RunState, at: float, message: str = "") -> Run:
    return Run(f"{kind}{at}", kind, V, "one", state, "", at, V, "s1", at, at + 10, message=message)


def facts(*runs: Run, snapshots: tuple[Snapshot, ...] = ()) -> VolumeFacts:
    return VolumeFacts({("blog", 0): "one"}, {V: snapshots} if snapshots else {}, runs)


def grant(bucket: str, prefix: str) -> tuple[str, str]:
    return f"key of {bucket}", f"opens {prefix}"


ABLE = {"one": True}
RUNS = {("blog", 0)}


def test_the_first_snapshot_is_due_at_once_and_the_next_when_its_time_has_come() -> None:
    (first,), _ = due([target()], facts(), ABLE, RUNS, 1000.0)
    assert (first.kind, first.reason) == ("backup", "it has no snapshot yet")
    done = facts(run("backup", "done", 1000.0), run("test", "done", 1100.0), snapshots=(Snapshot("s1", 1000.0),))
    assert due([target()], done, ABLE, RUNS, 1000.0 + DAY - 1) == ([], 1000.0 + DAY)
    (second,), _ = due([target()], done, ABLE, RUNS, 1000.0 + DAY)
    assert second.reason == "every 1d"
    assert next_backup(target(), done) == 1000.0 + DAY


def test_what_failed_is_tried_again_after_a_pause_and_says_why() -> None:
    failed = facts(run("backup", "failed", 1000.0, "no route"))
    assert due([target()], failed, ABLE, RUNS, 1011.0) == ([], 1010.0 + AGAIN_SECONDS)
    (again,), _ = due([target()], failed, ABLE, RUNS, 1010.0 + AGAIN_SECONDS)
    assert again.reason == "the last one failed: no route"
    (soon,), _ = due([target(every=60.0)], failed, ABLE, RUNS, 1070.0)
    assert soon.kind == "backup"


def test_a_restore_test_is_due_after_the_first_snapshot_and_then_from_time_to_time() -> None:
    snapshots = (Snapshot("s1", 1000.0),)
    untested = facts(run("backup", "done", 1000.0), snapshots=snapshots)
    (test,), _ = due([target()], untested, ABLE, RUNS, 1020.0)
    assert (test.kind, test.snapshot) == ("test", "s1")
    tested = facts(run("backup", "done", 1000.0), run("test", "done", 1020.0), snapshots=snapshots)
    assert due([target(every=100 * DAY)], tested, ABLE, RUNS, 1030.0 + 30 * DAY - 1)[0] == []
    assert [d.kind for d in due([target(every=100 * DAY)], tested, ABLE, RUNS, 1030.0 + 30 * DAY)[0]] == ["test"]


def test_nothing_is_due_where_something_is_under_way_or_the_node_cannot() -> None:
    wanted = facts(run("restore", "wanted", 1.0))
    assert due([target()], wanted, ABLE, RUNS, 1000.0) == ([], 0.0)
    assert due([target()], facts(), {"one": False}, RUNS, 1000.0) == ([], 0.0)
    assert due([target()], facts(), {}, RUNS, 1000.0) == ([], 0.0)


def test_the_first_snapshot_and_commands_wait_for_a_copy_that_runs() -> None:
    assert due([target()], facts(), ABLE, (), 1000.0)[0] == []
    done = facts(run("backup", "done", 1000.0), run("test", "done", 1.0), snapshots=(Snapshot("s1", 1000.0),))
    assert [d.kind for d in due([target()], done, ABLE, (), 1000.0 + DAY)[0]] == ["backup"]
    assert due([target(pre=("dump",))], done, ABLE, (), 1000.0 + DAY)[0] == []


def test_the_document_says_it_all_and_a_change_of_it_restarts_nothing() -> None:
    words = {
        "url": {"secret": "u"},
        "every": "6h",
        "keep": 3,
        "test": "7d",
        "pre": "dump -x",
        "password": {"secret": "p"},
    }
    document = {"image": "x", "volumes": [{"name": "data", "path": "/d", "backup": words}]}
    found = app_of("blog", document, ORIGIN)
    assert found.backups == (
        Backup("data", url_secret="u", password="p", every=21600.0, keep=3, test=7 * DAY, pre=("dump", "-x")),
    )
    # A copy that may be replaced elsewhere is under a lease from its beginning: it is another revision.
    moving = app_of("blog", document | {"failover": "restore"}, ORIGIN)
    assert moving.failover == "restore"
    assert moving.rev != found.rev
    plain = app_of("blog", {"image": "x", "volumes": [{"name": "data", "path": "/d"}]}, ORIGIN)
    assert plain.backups == ()
    assert plain.rev == found.rev
    assert [t.volume for t in targets([found], {})] == [V]


@pytest.mark.parametrize(
    ("url", "name", "env"),
    [
        ("s3://s3.example.org/b/p/", "s3:https://s3.example.org/b/p/home/blog/0/data", {"AWS_ACCESS_KEY_ID": "k"}),
        ("s3+http://127.0.0.1:9000/b", "s3:http://127.0.0.1:9000/b/home/blog/0/data", {}),
        ("s3://h/b?region=eu-1", "s3:https://h/b/home/blog/0/data", {"AWS_DEFAULT_REGION": "eu-1"}),
        ("s3://in:si%2Fde@h/b", "s3:https://h/b/home/blog/0/data", {"AWS_SECRET_ACCESS_KEY": "v"}),
        ("sftp://ana@nas:2222/srv/b", "sftp://ana@nas:2222//srv/b/home/blog/0/data", {}),
        ("file:///srv/b", "/srv/b/home/blog/0/data", {}),
    ],
)
def test_where_snapshots_go(url: str, name: str, env: dict[str, str]) -> None:
    backup = Backup("data", url=url, access_key="a", secret_key="s", password="p")
    place = repository(backup, V, "home", {"a": "k", "s": "v", "p": "pw"}.__getitem__, "derived", grant)
    assert place.name == name
    assert place.env["RESTIC_PASSWORD"] == "pw"
    assert env.items() <= place.env.items()
    assert "pw" not in repr(place)


def test_keys_in_a_secret_url_and_a_password_that_nobody_named() -> None:
    place = repository(Backup("data", url_secret="u"), V, "home", lambda _: "s3://key:va%2Flue@h/b\n", "derived", grant)
    assert place.env == {"RESTIC_PASSWORD": "derived", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "va/lue"}
    assert place.name == "s3:https://h/b/home/blog/0/data"


@pytest.mark.parametrize(
    "url",
    ["", "http://h/b", "s3://h", "s3:///b", "s3://-oProxy/b", "file://h/x", "file:///", "file:///a/../etc", "sftp://h",
     "sftp://u:pw@h/x", "sftp://-x@h/x", "s3://h:abc/b", "s3://[::1/b", "s3://k:secretly@h/b?region=a b"],
)  # fmt: skip
def test_a_place_that_is_none_is_refused_in_words_without_its_secrets(url: str) -> None:
    with pytest.raises(AddressError) as caught:
        repository(Backup("data", url_secret="u"), V, "home", lambda _: url, "derived", grant)
    assert "the URL in secret u" in str(caught.value)
    assert "secretly" not in str(caught.value)


def test_in_a_bucket_of_the_cloud_a_volume_has_a_folder_of_its_own_and_a_key_to_it() -> None:
    place = repository(Backup("data", bucket="photos"), V, "home", lambda _: "", "derived", grant)
    assert place.name == "bucket:photos/backups/home/blog/0/data"
    assert place.env["RESTIC_PASSWORD"] == "derived"
    assert place.env["AWS_ACCESS_KEY_ID"] == "key of photos"
    assert place.env["AWS_SECRET_ACCESS_KEY"] == "opens backups/home/blog/0/data/"


def test_an_s3_url_without_keys_says_what_to_write() -> None:
    with pytest.raises(AddressError, match="say access_key: and secret_key:"):
        repository(Backup("data", url="s3://h/b"), V, "home", lambda _: "", "derived", grant)


def test_what_stands_in_the_way_is_said_in_the_plan() -> None:
    view = NodeView("one", "healthy", reported=True)
    node = Node("one", Origin("nodes/one.yaml", "n"))
    assert trouble(target(), node, view) == (
        "volume data is not backed up: node one has no restic; install it there (apt install restic)"
    )
    swarm = Node("one", Origin("nodes/one.yaml", "n"), kind="swarm")
    assert "of kind swarm" in trouble(target(), swarm, view)
    assert trouble(target(), node, NodeView("one", "healthy", reported=True, tools=frozenset({"restic"}))) == ""
    words = {"name": "data", "path": "/d", "backup": {"bucket": "photos"}}
    blog = app_of("blog", {"image": "x", "volumes": [words]}, ORIGIN)
    planned = plan(desired(blog), Observed(nodes={"one": view}, volumes=facts()), 0.0)
    assert ["node one has no restic" in b.reason for b in planned.blocked if "backed up" in b.reason] == [True]
    assert app("plain").backups == ()
