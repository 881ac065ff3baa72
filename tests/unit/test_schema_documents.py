"""Every mistake in one file is named with its place, in words a person can act on."""

from __future__ import annotations

import time

import pytest

from automator67.schemas.document import Document, read
from automator67.schemas.kinds import classify
from automator67.schemas.samples import SAMPLES
from automator67.schemas.source import MAX_PROBLEMS

FILES = {"cloud": "automator67.yaml", "app": "apps/blog.yaml", "node": "nodes/hel1.yaml",
         "shard": "shards/main.yaml", "bucket": "buckets/photos.yaml"}  # fmt: skip


def document(kind: str, text: str) -> Document:
    return read(FILES[kind], text.encode())


def said(kind: str, text: str) -> list[str]:
    """Return the problems without the file's name."""
    return [str(p).removeprefix(FILES[kind] + ":") for p in document(kind, text).problems]


@pytest.mark.parametrize("kind", FILES)
def test_samples_are_valid(kind: str) -> None:
    found = document(kind, SAMPLES[kind])
    assert found.problems == ()
    assert found.value is not None


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        # unknown keys
        ("image: a\nprots: [80]\n", ["2:1: prots: unknown key 'prots'; did you mean port?"]),
        ("image: a\nhealth:\n  pth: /\n", ["3:3: health.pth: unknown key 'pth'; did you mean path?"]),
        ("image: a\nx-mine: {anything: [goes]}\n", []),
        ("image: a\nmemory: 128Mi\n", ["2:1: memory: unknown key 'memory'; it belongs into resources"]),
        ("image: a\nhealthy_for: 1s\n", ["healthy_for: unknown key 'healthy_for'; it belongs into update"]),
        ("image: a\nupdate: {replicas: 2}\n", ["unknown key 'replicas'; it belongs to the top of the file"]),
        ("image: a\nenvironment: {A: b}\n", ["unknown key 'environment'; did you mean env?"]),
        ("image: a\nenviroment: {A: b}\n", ["unknown key 'enviroment'"]),
        ("name: blog\nimage: a\n", ["unknown key 'name'; the name of the file is its name: remove this"]),
        ("image: a\nhealthcheck: x\n", ["did you mean health?"]),
        ("image: a\n" + "k" * 1000 + ": 1\n", ["keys of your own begin with x-"]),
        # wrong types, with what to write instead
        ("image: a\nreplicas: many\n", ["2:1: replicas: 'many' is not a whole number"]),
        ("image: a\nreplicas: '2'\n", ["2:1: replicas: '2' is not a whole number; write 2 without quotes"]),
        ("image: a\nenv: [A=b]\n", ["2:1: env: a list is not keys and values; write for example {GREETING: hello"]),
        ("image: a\nupdate: fast\n", ["2:1: update: 'fast' is not keys and values"]),
        ("image: a\ndepends_on: db\n", ["2:1: depends_on: 'db' is not a list; write for example [db]"]),
        ("image: 1.4\n", ["1:1: image: 1.4 is not a text; write for example ghcr.io/ana/blog:1.4.2"]),
        ("image: {a: b}\n", ["1:1: image: a group of keys is not a text"]),
        ("image:\n", ["1:1: image: an empty value is not a text"]),
        ("- a\n", ["1:1: a list is not keys and values"]),
        ("hello\n", ["1:1: 'hello' is not keys and values"]),
        # values and forms
        ("image: a\nupdate: {strategy: rollin}\n", ["2:10: update.strategy: 'rollin' is not one of rolling,"]),
        ("image: a\nstop_timeout: soon\n", ["stop_timeout: 'soon' is not valid here: a duration", "for example 30s"]),
        ("image: a\nresources: {memory: 1 GB}\n", ["2:13: resources.memory: '1 GB' is not valid here: a size"]),
        ('image: "a\\n"\n', ["image: 'a\\n' is not valid here: a container image"]),
        ('image: a\nstop_timeout: "5m\\n"\n', ["stop_timeout: '5m\\n' is not valid here: a duration"]),
        ('image: a\nresources: {memory: "1Gi\\n"}\n', ["resources.memory: '1Gi\\n' is not valid here: a size"]),
        ("image: Blog:1\n", ["1:1: image: 'Blog:1' is not valid here: a container image"]),
        ("image: a b\n", ["1:1: image: 'a b' is not valid here"]),
        ("image: a\nport: 0\n", ["2:1: port: 0 must be at least 1"]),
        ("image: a\nport: 70000\n", ["2:1: port: 70000 must be at most 65535"]),
        ("image: a\nresources: {cpu: 0}\n", ["2:13: resources.cpu: 0 must be more than 0"]),
        ("image: a\nenv: {1A: x}\n", ["2:7: env.1A: this key is not valid here"]),
        ("image: a\nenv: {A: 1.10}\n", ["2:7: env.A: this number would become 1.1; quote it to keep its spelling"]),
        ("image: a\nenv: {A: True}\n", ["2:7: env.A: this word would become true; quote it to keep its spelling"]),
        ("image: a\nenv: {A: 0x1F, B: 007, C: +5}\n", ["env.A: this number would become 31", "env.B", "env.C"]),
        ("image: a\nenv: {A: {secrt: x}}\n", ["env.A"]),
        ("image: a\ndomain: -x-.org\n", ["2:1: domain: '-x-.org' is not valid here: a domain name"]),
        ("image: a\nplace: {avoid: [a, a]}\n", ["place.avoid: an entry is here twice"]),
        ("image: a\ncommand: []\n", ["command"]),
        ("image: a\nvolumes: [{name: d}]\n", ["2:11: volumes[0]: the key 'path' is missing; write for example"]),
        ("source: {ref: main}\n", ["source: the key 'git' is missing; write for example git: https://github.com"]),
        ("source: {git: 'https://a b'}\n", ["source.git"]),
        ("source: {git: https://a.example/x, ref: --upload-pack=x}\n", ["source.ref"]),
        ("image: a\nstop_timeout: " + "9" * 400 + "d\n", ["stop_timeout: at most 20 allowed here"]),
        ("image: a\nstop_timeout: " + "9" * 5000 + "d\n", ["stop_timeout: at most 20 allowed here"]),
        ("image: a\nresources: {memory: '" + "9" * 400 + "'}\n", ["resources.memory"]),
        # rules within an app
        ("command: echo 'a\n", ["command: this cannot be split into words: no closing quotation; write a list"]),
        ("image: a\ncommand: ' '\n", ["2:1: command: there is no program in it"]),
        ("image: a\nhealth: {command: '\"'}\n", ["health.command: this cannot be split into words"]),
        ("image: a\nbefore: {command: a\\}\n", ["before.command: this cannot be split into words: no escaped"]),
        ("", ["1:1: there is nothing to run; give it an image, a source or a command"]),
        ("image: a\nsource: {git: https://a.example/x}\n", ["source: an app has an image or a source, not both"]),
        ("runtime: docker\ncommand: x\n", ["1:1: runtime: the docker runtime needs an image or a source"]),
        ("runtime: process\nimage: a\n", ["the process runtime needs a command; write command: [...]"]),
        ("image: a\nhealth: /\n", ["2:1: health: a probe of a path needs a port; write port: 8080"]),
        ("image: a\nhealth: {tcp: true}\n", ["health: a probe of a port needs a port"]),
        ("image: a\nport: 1\nhealth: {path: /, tcp: true}\n", ["health: a probe has exactly one of"]),
        ("image: a\nport: 1\nhealth: {interval: 1s}\n", ["health: a probe has exactly one of"]),
        ("image: a\nupdate: {deadline: 5s}\n", ["update.deadline: no copy can be healthy long enough"]),
        ("runtime: process\nimage: a\ncommand: x\n", ["2:1: image: the process runtime runs no images"]),
        ("image: a\ndomain: a.org\ndomains: [b.org]\n", ["2:1: domain: there is domain and domains"]),
        ("image: a\nresources: {memory: 128}\n", ["resources.memory: 128B is too little; write for example 128Mi"]),
        ("image: a\nresources: {memory: 1Mi}\n", ["resources.memory: 1Mi is too little; write for example 16Mi"]),
        ("image: a\nport: 1\nhealth: {path: /, interval: 0s}\n", ["health.interval: 0s is too short", "100ms"]),
        ("image: a\nport: 1\nhealth: {path: /, timeout: 0s}\n", ["health.timeout: 0s is too short", "at least 10ms"]),
        ("image: a\nvolumes: [{name: d, path: /}]\n", ["volumes[0].path: '/' cannot be the place of a volume"]),
        ("image: a\nvolumes: [{name: d, path: /a/../etc}]\n", ["volumes[0].path: '/a/../etc' cannot be"]),
        ("image: a\nvolumes: [{name: d, path: /a}, {name: e, path: /a/}]\n", ["volumes[1].path: two volumes are at"]),
        ("image: a\nvolumes: [{name: d, path: /a, backup: {every: 1d}}]\n", ["a backup goes to exactly one of"]),
        ("image: a\nschedule: 99 3 * * *\n", ["2:1: schedule: 99 is not a minute (0 to 59); write for example"]),
        ("image: a\nschedule: {cron: 0 0 30 2 *}\n", ["schedule.cron: there is no such day in these months"]),
        ("image: a\nschedule: {cron: '@daily', timezone: Europe/Berln}\n", ["did you mean Europe/Berlin?"]),
        ("image: a\nadopt: true\nreplicas: 2\n", ["2:1: adopt: one container cannot be several replicas"]),
        ("image: a\nvolumes: [{name: d, path: /a}, {name: d, path: /b}]\n", ["volumes[1].name: two volumes are"]),
    ],
)  # fmt: skip
def test_apps(text: str, problems: list[str]) -> None:
    found = said("app", text)
    assert bool(found) == bool(problems), found
    for part in problems:
        assert any(part in line for line in found), found


@pytest.mark.parametrize(
    "text",
    [
        "image: a", "image: ghcr.io/ana/blog:1.4.2", "image: localhost:5000/a/b_c:x@sha256:" + "0" * 64,
        "command: sleep 3600", "command: [sleep, 3600]", "image: a\nport: 80\nhealth: /healthz",
        "image: a\nport: 80\nhealth: {tcp: true, timeout: 500ms}", "image: a\nhealth: {command: [true-ish, -x]}",
        "image: a\nhealth: false", "image: a\nenv: {A: text, B: 8080, C: true, D: '1.10', E: {secret: db}}",
        "image: a\nschedule: '0 3 * * *'", "image: a\nschedule: {cron: '@daily', timezone: Europe/Berlin}",
        "image: a\nadopt: true", "image: a\nadopt: old_blog", "image: a\nrestart: no", "image: a\nuser: 1000",
        "image: a\nuser: www-data:www-data", "image: a\ndomain: '*.example.org'",
        "image: a\ndomains: [a.org, {name: b.org}]",
        "image: a\nplace: {spread: provider, require: {region: eu, ssd: true}}", "image: a\nreplicas: 0",
        "runtime: process\nsource: {git: 'git@example.org:ana/x.git'}\ncommand: x\nvolumes: [{name: d, path: /d}]",
        "image: a\nx-a: &v {A: b}\nenv: *v",
    ],
)  # fmt: skip
def test_apps_that_are_fine(text: str) -> None:
    assert said("app", text) == []


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("cloud", "nam: home", "nam: unknown key 'nam'; did you mean name?"),
        ("cloud", "name: My Home", "name: 'My Home' is not valid here: lower-case letters"),
        ("cloud", "heartbeat: {interval: 60s}", "heartbeat.suspect_after: a node would be suspect (after 45 s) before"),
        ("cloud", "heartbeat: {interval: 0s}", "heartbeat.interval: an interval of 0 would never rest"),
        ("cloud", "heartbeat: {unavailable_after: 60s}", "longer than suspect_after by a heartbeat"),
        ("cloud", "heartbeat: {failing_after: 40s}", "must lie between suspect_after and unavailable_after"),
        ("cloud", "heartbeat: {recover_after: 10s}", "cannot be steady for less than a heartbeat"),
        ("cloud", "heartbeat: {lease: 60s}", "write at least 90s"),
        ("app", "{image: a, exclusive: true, replicas: 2}", "an exclusive app runs once"),
        ("app", "{image: a, exclusive: true, update: {strategy: canary}}", "two revisions side by side"),
        ("app", "{image: a, exclusive: true, adopt: true}", "started by somebody else"),
        ("cloud", "heartbeat: {unavailable_after: 40s}", "unavailable_after must be longer than suspect_after"),
        ("cloud", "limits: {deletions: -1}", "limits.deletions: -1 must be at least 0"),
        ("cloud", "alerts: [{on: [failing]}]", "alerts[0]: the key 'to' is missing"),
        ("cloud", "alerts: [{to: x, on: [failed, flying]}]", "'flying' is not one of"),
        ("cloud", "access: {users: [{email: ana, password: x}]}", "access.users[0].email: 'ana' is not valid here"),
        ("node", "kind: agnt", "kind: 'agnt' is not one of agent, swarm"),
        ("node", "kind: agnt", "did you mean agent?"),
        ("node", "capacity: {memory: lots}", "capacity.memory: 'lots' is not valid here: a size"),
        ("node", "gateway: maybe", "gateway: 'maybe' is not valid here"),
        ("node", "labels: {Disk: ssd}", "labels.Disk: this key is not valid here"),
        ("node", "maintenance: [{schedule: 0 25 * * *, for: 1h}]", "25 is not a hour (0 to 23)"),
        ("shard", "tables: {}", "the key 'shards' is missing"),
        ("shard", "shards: []", "shards: at least 1 needed here, 0 given"),
        ("shard", "shards: [{name: a}]", "shards[0]: a shard has exactly one of url and provider"),
        ("shard", "shards: [{name: a, url: {secret: x}}, {name: a, url: {secret: x}}]", "two shards are called a"),
        ("shard", "default: b\nshards: [{name: a, url: {secret: x}}]", "default: there is no shard b"),
        ("bucket", "replicas: 2", "the key 'providers' is missing"),
        ("bucket", "providers: [a]\ncode: '2'", "code: '2' is not valid here: erasure coding"),
    ],
)  # fmt: skip
def test_other_kinds(kind: str, text: str, problem: str) -> None:
    found = said(kind, text)
    assert any(problem in line for line in found), found


SHARDS = "shards: [{name: s0, url: {secret: x}}, {name: s1, url: {secret: x}}]\ntables:\n  "


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("t: {strategy: hash}", "3:3: tables.t: a hash table needs a key; write for example key: id"),
        ("t: {strategy: hsh, key: id}", "tables.t.strategy: 'hsh' is not one of hash, range"),
        ("t: {strategy: range, key: a}", "tables.t: a range table needs ranges"),
        ("t: {strategy: directory, key: a}", "tables.t: a directory table needs directory"),
        ("t: {strategy: hash, key: a, ranges: [{shard: s0}]}", "ranges belongs to strategy range, not hash"),
        ("t: {strategy: hash, key: a, with: u}", "tables.t.with: there is no other table u"),
        ("t: {strategy: hash, key: a, with: t}", "tables.t.with: there is no other table t"),
        ("t: {strategy: hash, key: a, with: user}\n  users: {strategy: hash, key: a}", "did you mean users?"),
        ("t: {strategy: hash, key: a, with: u}\n  u: {strategy: everywhere}", "co-located tables share a strategy"),
        ("t: {strategy: range, key: a, ranges: [{below: 5, shard: s0}]}", "values from 5 on have no shard"),
        ("t: {strategy: range, key: a, ranges: [{shard: s0}, {shard: s1}]}", "only the last range may be without"),
        ("t: {strategy: range, key: a, ranges: [{below: 5, shard: s0}, {below: 5, shard: s1}, {shard: s0}]}",
         "ranges[1].below: 5 is not above 5: the ranges overlap"),
        ("t: {strategy: range, key: a, ranges: [{below: 9, shard: s0}, {below: 5, shard: s1}, {shard: s0}]}",
         "the ranges overlap"),
        ("t: {strategy: range, key: a, ranges: [{below: 2026-01-01, shard: s0}, {below: 5, shard: s1}, {shard: s0}]}",
         "5 and 2026-01-01 cannot be compared"),
        ("t: {strategy: range, key: a, ranges: [{below: 1, shard: s9}, {shard: s1}]}", "there is no shard s9"),
        ("t: {strategy: directory, key: a, directory: {x: s7}}", "tables.t.directory.x: there is no shard s7"),
        ("t: {strategy: directory, key: a, directory: {x: s0}, default: s7}", "default: there is no shard s7"),
    ],
)  # fmt: skip
def test_tables(table: str, problem: str) -> None:
    found = said("shard", SHARDS + table + "\n")
    assert any(problem in line for line in found), found


def test_a_problem_is_one_printable_line_whatever_the_file_is_called() -> None:
    for path, text in (("apps/\x1b[2J\n.yaml", "image: a"), ("apps/a.yaml", 'image: a\n"\\e[2J\\n": 1')):
        (problem,) = read(path, text.encode()).problems
        assert str(problem).isprintable()


def test_every_problem_of_a_file_is_found_in_its_order() -> None:
    found = document("app", "image: A\nprots: 1\nreplicas: x\nupdate: {strategy: y}\n").problems
    assert [p.path for p in found] == ["image", "prots", "replicas", "update.strategy"]
    assert [p.line for p in found] == [1, 2, 3, 4]
    assert {p.code for p in found} == {"bad-format", "unknown-key", "wrong-type", "wrong-value"}


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"k{n}: 1\n" for n in range(40_000)),
        "image: a\nenv:\n" + "".join(f" k-{n}: 1\n" for n in range(40_000)),
        "image: a\nenv:\n" + "".join(f" k{n}: [1]\n" for n in range(20_000)),
        "image: a\nplace: {avoid: [" + "A," * 40_000 + "]}\n",
    ],
)
def test_a_file_with_very_many_mistakes_names_some_of_them_quickly(text: str) -> None:
    started = time.process_time()
    found = document("app", text).problems
    assert time.process_time() - started < 3
    assert 1 <= len(found) <= MAX_PROBLEMS


def test_what_could_be_a_secret_is_never_repeated() -> None:
    for kind, text in (
        ("cloud", "access: {users: [{email: a@b, password: hunter2}]}"),
        ("cloud", "alerts: [{to: [hunter2]}]"),
        ("cloud", "access: {oauth: [{provider: github, allow: [a], client_secret: hunter2}]}"),
        ("app", "image: a\nenv: {PASSWORD: [hunter2]}"),
        ("app", "image: a\nenv: hunter2"),
        ("app", "image: a\nenv: {PASSWORD: {secret: Hunter2 hunter2}}"),
        ("app", "image: a\nregistry: hunter2"),
        ("node", "token: hunter2"),
        ("shard", "shards: [{name: a, url: mysql://ana:hunter2@db}]"),
        ("bucket", "providers: [a]\naccess: [{id: abc, secret: hunter2}]"),
    ):
        found = said(kind, text)
        assert found
        assert not [line for line in found if "hunter2" in line], found


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("automator67.yaml", "cloud", "cloud"), ("apps/blog.yaml", "app", "blog"), ("apps/blog.yml", "app", "blog"),
        ("nodes/a1.yaml", "node", "a1"), ("shards/main.yaml", "shard", "main"), ("buckets/b.yaml", "bucket", "b"),
        ("secrets/blog-db.sealed", "secret", "blog-db"), ("secrets/all.sops.yaml", "secret", "all"),
        ("queries/Top users.sql", "query", "Top users"), ("README.md", None, ""), ("apps/README.md", None, ""),
        ("apps/.gitkeep", None, ""), ("docs/x.yaml", None, ""), (".github/workflows/x.yml", None, ""),
        ("src/apps/blog.yaml", None, ""),
    ],
)  # fmt: skip
def test_files_and_their_kinds(path: str, kind: str | None, name: str) -> None:
    found = classify(path)
    assert (found.kind, found.name, found.trouble) == (kind, name, "")


@pytest.mark.parametrize(
    ("path", "trouble", "warning"),
    [
        ("automator67.yml", "call it automator67.yaml", True), ("app/blog.yaml", "did you mean apps/?", True),
        ("Apps/blog.yaml", "did you mean apps/?", True),
        ("node/a.yml", "did you mean nodes/?", True), ("apps/sub/blog.yaml", "move it to apps/", True),
        ("apps/blog.json", "its name must end in .yaml", True), ("secrets/db.yaml", "must end in .sealed", True),
        ("queries/q.yaml", "must end in .sql", True), ("apps/Blog.yaml", "use lower-case letters", False),
        ("apps/-x.yaml", "use lower-case letters", False), ("apps/" + "a" * 41 + ".yaml", "at most 40", False),
        ("apps/a b.yaml", "lower-case", False), ("apps/.yaml", "", True), ("nodes/é.yaml", "lower-case", False),
        ("apps/a\\x0a.yaml", "lower-case", False), ("secrets/A.sealed", "lower-case", False),
    ],
)  # fmt: skip
def test_files_that_look_like_a_mistake(path: str, trouble: str, warning: bool) -> None:
    found = classify(path)
    if path == "apps/.yaml":  # a hidden file, or a name that is missing: either way nothing is read
        assert found.kind is None or found.trouble
        return
    assert trouble in f"{found.trouble}; {found.hint}"
    assert found.warning is warning
    problem = read(path, b"image: a").problems[0]
    assert problem.severity == ("warning" if warning else "error")
