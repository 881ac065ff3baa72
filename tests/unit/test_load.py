"""Loading a commit: typed values with every default, revisions that change only when they must, caching."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from automator67.engine import load as load_module
from automator67.engine.desired import App, Place, Probe, SecretRef, Update, Volume
from automator67.engine.jobs import Before, Job
from automator67.engine.load import Loaded, Loader
from automator67.engine.repo.tree import Entry
from automator67.engine.settings import Settings
from automator67.schemas.samples import SAMPLES
from tests.support.sealed import sealed

BASE = {"automator67.yaml": "name: home\n", "nodes/hel1.yaml": "region: eu\n"}


class Repository:
    """Files by path, as a tree of blobs; counts what is read."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self.files = {p: t.encode() if isinstance(t, str) else t for p, t in files.items()}
        self.reads: list[str] = []
        self.modes: dict[str, int] = {}

    def entries(self) -> list[Entry]:
        return [
            Entry(path, hashlib.sha1(data).hexdigest(), len(data), self.modes.get(path, 0o100644))
            for path, data in sorted(self.files.items())
        ]

    def read(self, blob: str) -> bytes:
        self.reads.append(blob)
        return next(d for d in self.files.values() if hashlib.sha1(d).hexdigest() == blob)

    def load(self, loader: Loader | None = None, commit: str = "c1") -> Loaded:
        return (loader or Loader()).load(self.entries(), self.read, commit)


def load(files: Mapping[str, str | bytes]) -> Loaded:
    return Repository({**BASE, **files}).load()


def app(document: str | Mapping[str, Any], **more: str) -> App:
    """Return the app that a file asks for."""
    text = document if isinstance(document, str) else json.dumps(document)
    loaded = load({"apps/blog.yaml": text, **more})
    assert loaded.desired is not None, [str(p) for p in loaded.problems]
    return loaded.desired.apps["blog"]


def test_every_default() -> None:
    found = app("image: a")
    assert (found.name, found.origin.path, found.runtime, found.image) == ("blog", "apps/blog.yaml", "docker", "a")
    assert (found.command, found.port, found.replicas, found.cpu, found.memory) == ((), None, 1, 0.1, 128 * 2**20)
    assert (found.env, found.health, found.place, found.update) == ((), None, Place(), Update())
    assert (found.depends_on, found.volumes, found.domains, found.drift) == ((), (), (), "repair")
    assert (found.adopt, found.restart, found.stop_timeout, found.user) == (None, "always", 10.0, None)
    assert (found.job, found.before, found.once) == (None, None, False)
    assert found.document == {"image": "a"}
    assert len(found.rev) == 12


def test_defaults_in_the_schema_are_those_that_are_applied() -> None:
    """What the reference promises is what the engine does."""
    from automator67.schemas.kinds import schema
    from automator67.schemas.reference import find
    from automator67.schemas.units import seconds, size_bytes

    found = app("image: a\nport: 80\nhealth: {path: /}")
    assert found.health is not None
    said = {key: find(key).default for key in (
        "app.replicas", "app.resources.cpu", "app.resources.memory", "app.health.interval", "app.health.timeout",
        "app.health.healthy_after", "app.health.unhealthy_after", "app.health.start_period", "app.update.strategy",
        "app.update.max_extra", "app.update.healthy_for", "app.update.deadline", "app.drift", "app.restart",
        "app.stop_timeout", "app.place.spread",
    )}  # fmt: skip
    assert [
        found.replicas, found.cpu, found.memory, found.health.interval, found.health.timeout,
        found.health.healthy_after, found.health.unhealthy_after, found.health.start_period, found.update.strategy,
        found.update.max_extra, found.update.healthy_for, found.update.deadline, found.drift, found.restart,
        found.stop_timeout, found.place.spread,
    ] == [
        int(said["app.replicas"]), float(said["app.resources.cpu"]), size_bytes(said["app.resources.memory"]),
        seconds(said["app.health.interval"]), seconds(said["app.health.timeout"]),
        int(said["app.health.healthy_after"]), int(said["app.health.unhealthy_after"]),
        seconds(said["app.health.start_period"]), said["app.update.strategy"], int(said["app.update.max_extra"]),
        seconds(said["app.update.healthy_for"]), seconds(said["app.update.deadline"]), said["app.drift"],
        said["app.restart"], seconds(said["app.stop_timeout"]), said["app.place.spread"],
    ]  # fmt: skip
    beat = schema("cloud")["properties"]["heartbeat"]["properties"]
    settings = Settings()
    assert [seconds(beat[k]["default"]) for k in ("interval", "suspect_after", "unavailable_after")] == [
        settings.heartbeat, settings.suspect_after, settings.unavailable_after,
    ]  # fmt: skip
    assert int(find("cloud.limits.deletions").default) == settings.max_deletions


def test_everything_an_app_can_say() -> None:
    found = app(
        {
            "image": "a:1", "command": "run --fast 'two words'", "port": 8080,
            "resources": {"cpu": 1, "memory": "1Gi"}, "env": {"B": 1, "A": True, "S": {"secret": "db"}, "T": ""},
            "health": {"command": ["ok"], "interval": "1m", "timeout": "1500ms", "healthy_after": 2,
                       "unhealthy_after": 5, "start_period": "1h30m", "port": 9},
            "domains": ["a.org", {"name": "b.org", "path": "/x"}],
            "place": {"spread": "region", "require": {"region": "eu"}, "prefer": {"node": "hel1"}, "avoid": ["hel1"]},
            "update": {"max_extra": 0, "healthy_for": "0s", "deadline": "2d"}, "depends_on": ["z", "b"],
            "volumes": [{"name": "d", "path": "/d", "backup": {"bucket": "k"}}], "drift": "off", "adopt": "old",
            "restart": "no", "stop_timeout": "1w", "user": 1000, "replicas": 1,
        },
        **{"apps/z.yaml": "image: a", "apps/b.yaml": "image: a", "secrets/db.sealed": sealed("db"),
           "buckets/k.yaml": "providers: [hel1]\nreplicas: 1\nkey: {secret: db}"},
    )  # fmt: skip
    assert found.command == ("run", "--fast", "two words")
    assert found.env == (("A", "true"), ("B", "1"), ("S", SecretRef("db")), ("T", ""))
    assert found.health == Probe("command", "", ("ok",), 9, 60.0, 1.5, 2, 5, 5400.0)
    assert found.place == Place("region", (("region", "eu"),), (("node", "hel1"),), ("hel1",))
    assert found.update == Update("rolling", 0, 0.0, 172800.0)
    assert found.depends_on == ("b", "z")
    assert found.volumes == (Volume("d", "/d"),)
    assert found.domains == ("a.org", "b.org")
    assert (found.drift, found.adopt, found.restart, found.user) == ("off", "old", "no", "1000")
    assert (found.cpu, found.memory, found.stop_timeout) == (1.0, 2**30, 604800.0)


@pytest.mark.parametrize(
    ("health", "probe"),
    [
        ("/ok", Probe("http", "/ok", (), 80)), ({"path": "/ok"}, Probe("http", "/ok", (), 80)),
        ({"tcp": True}, Probe("tcp", "", (), 80)), ({"tcp": True, "port": 81}, Probe("tcp", "", (), 81)),
        ({"command": "test -e /x"}, Probe("command", "", ("test", "-e", "/x"), 80)), (False, None),
    ],
)  # fmt: skip
def test_probes_and_their_short_forms(health: Any, probe: Probe | None) -> None:
    assert app({"image": "a", "port": 80, "health": health}).health == probe


@pytest.mark.parametrize(
    ("document", "runtime"),
    [
        ("image: a", "docker"), ("command: x", "process"), ("runtime: process\ncommand: x", "process"),
        ("source: {git: 'https://a.example/x'}", "docker"), ("image: a\ncommand: x", "docker"),
    ],
)  # fmt: skip
def test_the_runtime_follows_from_what_there_is(document: str, runtime: str) -> None:
    assert app(document).runtime == runtime


def test_whole_numbers_are_ints_however_they_are_written() -> None:
    found = app("image: a\nreplicas: 2.0\nport: 8080.0\nresources: {cpu: 1.0}\nhealth: {tcp: true, healthy_after: 3.0}")
    assert repr((found.replicas, found.port)) == "(2, 8080)"
    assert found.rev == app("image: a\nreplicas: 2\nport: 8080\nresources: {cpu: 1}").rev


def test_adopt_true_means_a_container_of_the_apps_name() -> None:
    assert app("image: a\nadopt: true").adopt == "blog"
    assert app("image: a\nadopt: false").adopt is None


FULL: dict[str, Any] = {
    "image": "a:1", "command": ["x"], "port": 80, "resources": {"cpu": 0.5, "memory": "64Mi"}, "env": {"A": "1"},
    "volumes": [{"name": "d", "path": "/d"}], "user": "www",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"image": "a:2"}, {"command": ["y"]}, {"port": 81}, {"resources": {"cpu": 0.6, "memory": "64Mi"}},
        {"resources": {"cpu": 0.5, "memory": "65Mi"}}, {"env": {"A": "2"}}, {"env": {"A": "1", "B": "2"}},
        {"env": {"A": {"secret": "s"}}}, {"volumes": [{"name": "d", "path": "/e"}]}, {"user": "root"}, {"volumes": []},
    ],
)  # fmt: skip
def test_what_needs_a_new_instance_changes_the_revision(change: dict[str, Any]) -> None:
    more = {"secrets/s.sealed": sealed("s")}
    assert app({**FULL, **change}, **more).rev != app(FULL, **more).rev


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 3}, {"health": "/"}, {"place": {"spread": "none"}}, {"update": {"deadline": "9m"}},
        {"drift": "off"}, {"depends_on": ["z"]}, {"domain": "a.org"}, {"adopt": True}, {"x-note": "hi"},
        {"env": {"A": 1}}, {"resources": {"memory": "64Mi", "cpu": 0.50}}, {"command": "x"}, {"runtime": "docker"},
    ],
)  # fmt: skip
def test_what_needs_no_new_instance_keeps_the_revision(change: dict[str, Any]) -> None:
    more = {"apps/z.yaml": "image: a"}
    assert app({**FULL, **change}, **more).rev == app(FULL, **more).rev


def test_the_order_of_keys_and_comments_keep_the_revision_but_not_the_blob() -> None:
    one = app("image: a\nenv: {A: x, B: y}")
    two = app("# hello\nenv: {B: y, A: x}\nimage: a")
    assert one.rev == two.rev
    assert one.origin.blob != two.origin.blob


def test_jobs_and_what_runs_before() -> None:
    assert app("image: a\nschedule: '@daily'").job == Job("@daily")
    full = "schedule: {cron: 0 3 * * *, timezone: Europe/Berlin, overlap: queue, missed: skip, timeout: 5m}"
    assert app(f"image: a\n{full}").job == Job("0 3 * * *", "Europe/Berlin", "queue", "skip", 300.0)
    assert app("image: a\nbefore: {command: a b, timeout: 1m}").before == Before(("a", "b"), 60.0)
    assert app("image: a").rev == app("image: a\nschedule: '@deploy'").rev, "when it runs is no part of what runs"


def test_nodes_and_settings() -> None:
    files = {
        "automator67.yaml": "name: lab\nlimits: {deletions: 7}\nstatuses: {per_app: true}\n"
        "heartbeat: {interval: 1s, suspect_after: 3s, unavailable_after: 1m}\n",
        "nodes/a.yaml": "kind: render\ntoken: {secret: s}\nlabels: {n: 1, t: true, s: x}\n"
        "quota: {services: 1, storage: 5GB}\n",
        "secrets/s.sealed": sealed("s"),
        "nodes/b.yaml": "provider: hetzner\ncapacity: {cpu: 2, memory: 900Mi, disk: 10GB}\n"
        "schedulable: false\ngateway: {}\n",
    }
    loaded = load(files)
    assert loaded.desired is not None
    s = loaded.desired.settings
    assert (s.name, s.max_deletions, s.statuses_per_app) == ("lab", 7, True)
    assert (s.heartbeat, s.suspect_after, s.unavailable_after) == (1.0, 3.0, 60.0)
    a, b = loaded.desired.nodes["a"], loaded.desired.nodes["b"]
    assert (a.kind, a.provider, a.labels) == ("render", "render", (("n", "1"), ("s", "x"), ("t", "true")))
    assert ("services", 1.0) in a.quota
    assert (b.kind, b.provider, b.cpu, b.memory, b.disk) == ("agent", "hetzner", 2, 900 * 2**20, 10 * 10**9)
    assert (a.schedulable, b.schedulable, a.gateway, b.gateway) == (True, False, False, True)


def test_kinds_of_later_versions_are_checked_and_kept() -> None:
    files = {"shards/main.yaml": SAMPLES["shard"], "buckets/photos.yaml": SAMPLES["bucket"],
             "nodes/r2-free.yaml": "kind: r2", "nodes/b2-free.yaml": "kind: b2",
             "secrets/s0-url.sealed": sealed("s0-url"),
             "secrets/s1-url.sealed": sealed("s1-url"), "secrets/photos-key.sealed": sealed("photos-key"),
             "queries/top.sql": "-- Top\nselect 1"}  # fmt: skip
    loaded = load(files)
    assert loaded.desired is not None, [str(p) for p in loaded.problems]
    assert {(o.kind, o.name) for o in loaded.desired.others} == {("shard", "main"), ("bucket", "photos")}
    assert loaded.desired.secrets == {"s0-url", "s1-url", "photos-key"}


def test_a_problem_anywhere_means_nothing_is_desired() -> None:
    loaded = load({"apps/a.yaml": "image: a", "apps/b.yaml": "imag: b"})
    assert loaded.desired is None
    assert [p.code for p in loaded.problems if p.severity == "error"] != []


def test_warnings_do_not_keep_a_commit_from_being_used() -> None:
    loaded = load({"apps/a.yaml": "image: a\nplace: {prefer: {disk: x}}"})
    assert loaded.desired is not None


@pytest.mark.parametrize(("mode", "code"), [(0o120000, "link"), (0o160000, "submodule")])
def test_links_and_submodules_are_refused_unread(mode: int, code: str) -> None:
    repository = Repository({**BASE, "apps/a.yaml": "../../etc/passwd"})
    repository.modes["apps/a.yaml"] = mode
    loaded = repository.load()
    assert loaded.desired is None
    assert [(p.file, p.code) for p in loaded.problems] == [("apps/a.yaml", code)]
    assert hashlib.sha1(b"../../etc/passwd").hexdigest() not in repository.reads


@pytest.mark.parametrize(
    ("mode", "words"), [(0o120000, "symbolic link"), (0o160000, "submodule"), (0o100644, "not a folder")]
)
def test_a_folder_of_resources_that_is_none_is_refused(mode: int, words: str) -> None:
    repository = Repository({**BASE, "apps": "other"})
    repository.modes["apps"] = mode
    loaded = repository.load()
    assert loaded.desired is None, "no app may be taken for removed"
    (problem,) = loaded.problems
    assert (problem.file, words in problem.message) == ("apps", True)


def test_a_folder_that_is_nearly_called_right_is_told_and_the_rest_is_used() -> None:
    loaded = load({"app/web.yaml": "image: a", "apps/blog.yaml": "image: a"})
    assert loaded.desired is not None
    assert list(loaded.desired.apps) == ["blog"]
    (warning,) = loaded.problems
    assert (warning.severity, warning.hint) == ("warning", "did you mean apps/?")


def test_a_repository_without_settings_is_not_a_wish_for_nothing() -> None:
    for files in ({}, {"README.md": "x"}, {"nodes/hel1.yaml": "region: eu", "apps/a.yaml": "image: a"}):
        loaded = Repository(files).load()
        assert loaded.desired is None
        assert [(p.file, p.code) for p in loaded.problems] == [("automator67.yaml", "no-settings")]


def test_a_link_that_means_nothing_to_us_is_left_alone() -> None:
    repository = Repository({**BASE, "apps/README.md": "../README.md"})
    repository.modes["apps/README.md"] = 0o120000
    assert repository.load().problems == ()


def test_what_is_not_read_may_be_large() -> None:
    large = "x" * 3 * 2**20
    repository = Repository(
        {**BASE, "apps/README.md": large, "queries/q.sql": "select 1", "secrets/x.sealed": sealed("x")}
    )
    loaded = repository.load()
    assert loaded.problems == ()
    assert len(repository.reads) == 3


def test_a_file_that_becomes_a_link_with_the_same_content_is_refused() -> None:
    repository = Repository({**BASE, "apps/a.yaml": "image: a"})
    loader = Loader()
    assert repository.load(loader).desired is not None
    repository.modes["apps/a.yaml"] = 0o120000
    assert repository.load(loader).desired is None


def test_too_much_in_all_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "MAX_TOTAL", 1000)
    repository = Repository({**BASE, **{f"apps/a{n}.yaml": "image: a # " + "x" * 400 for n in range(9)}})
    loaded = repository.load()
    assert loaded.desired is None
    assert [p.code for p in loaded.problems] == ["too-much"]
    assert len(repository.reads) <= 3


def test_a_commit_and_its_revert_are_parsed_once_each() -> None:
    loader = Loader()
    versions = [Repository({**BASE, "apps/a.yaml": f"image: a:{n}"}) for n in (1, 2)]
    for _ in range(3):
        for version in versions:
            version.load(loader)
    assert [len(version.reads) for version in versions] == [3, 1]


def test_a_huge_file_is_refused_unread() -> None:
    repository = Repository({**BASE, "apps/a.yaml": b"x" * (2**20 + 1)})
    loaded = repository.load()
    assert [(p.file, p.code) for p in loaded.problems] == [("apps/a.yaml", "too-large")]
    assert len(repository.reads) == 2


def test_a_file_is_parsed_once_per_content() -> None:
    repository = Repository({**BASE, **{f"apps/a{n}.yaml": f"image: a:{n}" for n in range(20)}})
    loader = Loader()
    first = repository.load(loader)
    assert first.desired is not None
    assert len(repository.reads) == 22
    repository.reads.clear()
    assert repository.load(loader, "c2").desired is not None
    assert repository.reads == []
    repository.files["apps/a7.yaml"] = b"image: b"
    again = repository.load(loader, "c3")
    assert again.desired is not None
    assert len(repository.reads) == 1
    assert again.desired.apps["a7"].image == "b"
    assert again.desired.apps["a6"] is first.desired.apps["a6"]
    assert (first.desired.commit, again.desired.commit) == ("c1", "c3")


def test_a_loader_that_has_seen_much_finds_the_same_as_a_new_one() -> None:
    loader = Loader()
    steps: list[dict[str, str]] = [
        {"apps/a.yaml": "image: a", "apps/b.yaml": "image: b\ndepends_on: [a]"},
        {"apps/b.yaml": "image: b\ndepends_on: [a]"},
        {"apps/b.yaml": "image: ["},
        {"apps/a.yaml": "image: a", "apps/b.yaml": "image: b\ndepends_on: [a]"},
        {"apps/c.yaml": "image: b\ndepends_on: [a]", "apps/a.yaml": "image: b\ndepends_on: [a]"},
        {},
        {"apps/b.yaml": "image: a", "apps/a.yaml": "image: b"},
    ]
    for files in steps:
        repository = Repository({**BASE, **files})
        assert repository.load(loader) == repository.load()


def test_content_is_not_kept_for_ever() -> None:
    loader = Loader()
    for n in range(50):
        Repository({**BASE, "apps/a.yaml": f"image: a:{n}"}).load(loader)
    assert len(loader._parsed) + len(loader._before) <= 8


def test_loading_does_not_depend_on_the_order_of_entries() -> None:
    repository = Repository({**BASE, "apps/a.yaml": "image: a", "apps/b.yaml": "image: b"})
    forward = Loader().load(repository.entries(), repository.read, "c")
    backward = Loader().load(repository.entries()[::-1], repository.read, "c")
    assert forward.desired == backward.desired
