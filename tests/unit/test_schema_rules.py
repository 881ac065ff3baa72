"""What no single file can show to be wrong, and the check of a whole repository and of a directory."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

from automator67.schemas import repository
from automator67.schemas.problem import Problem
from automator67.schemas.repository import check_directory, check_files
from tests.support.sealed import sealed

BASE = {
    "automator67.yaml": "name: home\n",
    "nodes/hel1.yaml": "region: eu\nprovider: hetzner\nlabels: {disk: ssd}\n",
    "nodes/nyc1.yaml": "region: us\nprovider: digitalocean\n",
    "nodes/r2-free.yaml": "kind: r2\n",
    "nodes/b2-free.yaml": "kind: b2\n",
    "nodes/render-free.yaml": "kind: render\ntoken: {secret: blog-db}\n",
    "apps/db.yaml": "image: postgres:17\n",
    "buckets/photos.yaml": "providers: [r2-free, b2-free]\n",
    "secrets/blog-db.sealed": sealed("blog-db"),
}


def check(files: dict[str, str]) -> list[Problem]:
    """Return what is wrong with the base and these files on top."""
    return list(check_files({path: text.encode() for path, text in {**BASE, **files}.items()}).problems)


def only(files: dict[str, str]) -> Problem:
    problems = check(files)
    assert len(problems) == 1, [str(p) for p in problems]
    return problems[0]


def test_the_base_is_valid() -> None:
    assert check({}) == []


def app(rest: str) -> dict[str, str]:
    return {"apps/blog.yaml": f"image: a\n{rest}\n"}


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        (app("env: {A: {secret: blog-bd}}"), "unknown-secret",
         "apps/blog.yaml:2:11: env.A.secret: there is no secret blog-bd; did you mean blog-db?"),
        (app("env: {A: {secret: zzz}}"), "unknown-secret", "there is no secret zzz; make it: automator67 seal zzz"),
        ({"nodes/x.yaml": "kind: koyeb\ntoken: {secret: zzz}"}, "unknown-secret", "nodes/x.yaml:2:9: token.secret:"),
        ({"automator67.yaml": "name: home\nalerts: [{to: {secret: zzz}}]"}, "unknown-secret", "alerts[0].to.secret"),
        (app("depends_on: [dbs]"), "unknown-app",
         "apps/blog.yaml:2:14: depends_on[0]: there is no app dbs; did you mean db?"),
        (app("depends_on: [zzzzz]"), "unknown-app", "there is no app zzzzz"),
        (app("place: {avoid: [hel2]}"), "unknown-node", "place.avoid[0]: there is no node hel2; did you mean hel1?"),
        (app("place: {require: {disk: sdd}}"), "unknown-label", "no node has disk: sdd; did you mean ssd?"),
        (app("place: {require: {gpu: true}}"), "unknown-label", "place.require.gpu: no node has gpu: true"),
        (app("place: {require: {region: ap}}"), "unknown-label", "no node has region: ap; nodes have region: eu, us"),
        (app("place: {require: {node: hel9}}"), "unknown-label", "no node has node: hel9; did you mean hel1?"),
        (app("volumes: [{name: d, path: /d, backup: {bucket: photo}}]"), "unknown-bucket",
         "volumes[0].backup.bucket: there is no bucket photo; did you mean photos?"),
        ({"buckets/b.yaml": "providers: [r2-fre, b2-free]"}, "unknown-provider", "did you mean r2-free?"),
        ({"buckets/b.yaml": "providers: [r2-free, render-free]"}, "wrong-provider", "of kind render stores no files"),
        ({"buckets/b.yaml": "providers: [r2-free]"}, "replicas", "2 replicas need 2 providers, 1 given"),
        ({"buckets/b.yaml": "providers: [r2-free, b2-free]\nreplicas: 3"}, "replicas",
         "buckets/b.yaml:2:1: replicas: 3 replicas need 3 providers, 2 given; add providers or ask for less"),
        ({"buckets/b.yaml": "providers: [r2-free, b2-free]\ncode: 2+1"}, "replicas",
         "code: code 2+1 need 3 providers, 2 given"),
        ({"buckets/b.yaml": "providers: [r2-free, b2-free]\nchunk: 1"}, "out-of-range",
         "chunk: a chunk has 64Ki to 512Mi, not 1B"),
        ({"buckets/b.yaml": "providers: [{node: r2-free, quota: 5GB}, {node: b2-free, quota: 5GB}]\nquota: 6GB"},
         "quota",
         "takes 11.2Gi; the providers allow 9.3Gi; lower it, or add a provider"),
        ({"shards/m.yaml": "shards: [{name: a, provider: hel1}]"}, "unknown-provider",
         "there is no node hel1 of kind neon or supabase"),
    ],
)  # fmt: skip
def test_names_that_lead_nowhere(files: dict[str, str], code: str, said: str) -> None:
    problem = only(files)
    assert problem.code == code
    assert problem.severity == "error"
    assert said in str(problem)


def test_preferences_and_spread_only_warn() -> None:
    problem = only(app("place: {prefer: {disk: nvme}}"))
    assert (problem.severity, problem.code) == ("warning", "unknown-label")
    # render-free has its kind as provider, so there are five: three agents' and storage accounts, two more.
    problem = only(app("replicas: 9\nplace: {spread: provider}"))
    assert (problem.severity, problem.code) == ("warning", "spread")
    assert "9 replicas cannot be on 9 providers" in problem.message
    assert check(app("replicas: 2\nplace: {spread: region}")) == []


def test_a_circle_of_dependencies_is_shown_whole() -> None:
    files = {"apps/a.yaml": "image: a\ndepends_on: [b]", "apps/b.yaml": "image: a\ndepends_on: [c]",
             "apps/c.yaml": "image: a\ndepends_on: [a]"}  # fmt: skip
    problem = only(files)
    assert problem.code == "cycle"
    circle = problem.message.partition(": ")[2].split(" → ")
    assert len(circle) == 4
    assert circle[0] == circle[-1]
    for one, next_one in pairwise(circle):
        assert next_one in {"a": "b", "b": "c", "c": "a"}[one]
    assert only(app("depends_on: [blog]")).code == "cycle"
    # A long chain is no circle.
    assert (
        check({f"apps/a{n}.yaml": f"image: a\ndepends_on: [{'db' if not n else f'a{n - 1}'}]" for n in range(500)})
        == []
    )


def test_two_apps_on_one_domain() -> None:
    problem = only({"apps/a.yaml": "image: a\ndomain: x.org", "apps/b.yaml": "image: a\ndomains: [y.org, x.org]"})
    assert problem.code == "shared-domain"
    assert str(problem) == "apps/b.yaml:2:18: domains[1]: x.org belongs to app a already"
    # Different paths of one domain can belong to different apps.
    assert check({"apps/a.yaml": "image: a\ndomains: [{name: x.org, path: /a}]",
                  "apps/b.yaml": "image: a\ndomains: [{name: x.org, path: /b}]"}) == []  # fmt: skip


def test_memory_of_all_apps_must_fit_where_every_node_says_what_it_has() -> None:
    nodes = {"nodes/hel1.yaml": "capacity: {memory: 512Mi}", "nodes/nyc1.yaml": "capacity: {memory: 512Mi}"}
    nodes["nodes/render-free.yaml"] = "kind: neon"  # Runs no apps.
    big = {"apps/big.yaml": "image: a\nreplicas: 7\nresources: {memory: 128Mi}"}
    assert check(nodes | big) == []  # 7 × 128Mi, and db's 128Mi by default
    problem = only(nodes | big | {"apps/one-more.yaml": "image: a\nresources: {memory: 16Mi}"})
    assert problem.code == "capacity"
    assert "of memory; all nodes together declare 1Gi" in problem.message
    assert check({**nodes, "nodes/nyc1.yaml": "region: us"} | big | {"apps/x.yaml": "image: a\nreplicas: 50"}) == []
    job = {"apps/job.yaml": "image: a\nschedule: '0 3 * * *'\nresources: {memory: 900Mi}"}
    assert check(nodes | big | job) == []


def test_one_name_may_be_used_by_several_kinds() -> None:
    assert check({"apps/photos.yaml": "image: a", "nodes/photos.yaml": "region: eu"}) == []


@pytest.mark.parametrize("pair", [("apps/blog.yaml", "apps/blog.yml"), ("nodes/x.yaml", "nodes/x.yml")])
def test_two_files_of_one_name(pair: tuple[str, str]) -> None:
    problem = only(dict.fromkeys(pair, "image: a" if pair[0].startswith("apps") else "region: eu"))
    assert (problem.file, problem.code) == (pair[1], "same-name")
    assert f"{pair[0]} is the" in problem.message


def test_labels_that_no_node_has_together() -> None:
    problem = only(app("place: {require: {region: us, disk: ssd}}"))
    assert str(problem) == (
        "apps/blog.yaml:2:9: place.require: no node has all of disk: ssd, region: us; ask for less, or label a node so"
    )
    assert check(app("place: {require: {region: eu, disk: ssd, node: hel1}}")) == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ("[{path: /run/a, secret: blog-db}, {path: /run/a, secret: blog-db}]", "another file is at /run/a already"),
        ("[{path: /data, secret: blog-db}]", "a volume is at /data already"),
        ("[{path: /run/../etc/passwd, secret: blog-db}]", "cannot be the place of a file"),
        ("[{path: /run/, secret: blog-db}]", "cannot be the place of a file"),
        ("[{path: /run/a, secret: blog-bd}]", "there is no secret blog-bd; did you mean blog-db?"),
    ],
)
def test_files_of_secrets(files: str, words: str) -> None:
    assert words in str(only(app(f"volumes: [{{name: d, path: /data}}]\nfiles: {files}")))
    assert check(app("files: [{path: /run/a, secret: blog-db}, {path: /run/b, secret: blog-db}]")) == []


def test_a_variable_that_is_called_secret_is_no_reference() -> None:
    assert check(app("env: {secret: a text}\nplace: {prefer: {region: eu}}")) == []


def test_keys_of_ones_own_are_free_even_of_secrets() -> None:
    assert check(app("x-later: {url: {secret: zzz}}")) == []


def test_a_broken_file_does_not_hide_the_problems_of_others() -> None:
    problems = check(
        {"apps/a.yaml": "image: [", "apps/b.yaml": "image: a\nenv: {A: {secret: zzz}}", "nodes/c.yaml": "x: 1"}
    )
    assert {p.file for p in problems} == {"apps/a.yaml", "apps/b.yaml", "nodes/c.yaml"}
    assert [p.file for p in problems] == sorted(p.file for p in problems)


def test_errors_come_before_warnings() -> None:
    problems = check({**app("place: {prefer: {disk: nvme}}"), "apps/zz.yaml": "image: A"})
    assert [p.severity for p in problems] == ["error", "warning"]


def test_positions_survive_aliases_and_unicode() -> None:
    problem = only({"apps/blog.yaml": "image: a\nx-é: &e {disk: sdd}\nplace: {require: *e}\n"})
    assert (problem.line, problem.column, problem.path) == (3, 9, "place.require.disk")


# -- directories ---------------------------------------------------------------------------------------------------


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_a_directory_is_checked_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, BASE | {"README.md": "x", ".git/config": "x", "docs/x.yaml": "[", "apps/README.md": "x"})
    assert check_directory(tmp_path).problems == ()
    write(tmp_path, {"apps/bad.yaml": "imag: a\n", "app/blog.yaml": "image: a\n", "apps/sub/x.yaml": "image: a\n"})
    found = {p.file: (p.code, p.severity) for p in check_directory(tmp_path).problems}
    assert found["apps/bad.yaml"][1] == "error"
    assert found["app/blog.yaml"][1] == "warning"
    assert found["apps/sub/x.yaml"][1] == "warning"


def test_a_directory_without_settings(tmp_path: Path) -> None:
    write(tmp_path, {"apps/blog.yaml": "image: a"})
    (problem,) = check_directory(tmp_path).problems
    assert (problem.file, problem.code) == ("automator67.yaml", "no-settings")


def test_links_are_not_followed_wherever_they_lead(tmp_path: Path) -> None:
    secret = tmp_path / "outside.yaml"
    secret.write_text("image: hunter2\n")
    root = tmp_path / "repo"
    write(root, BASE)
    (root / "apps" / "out.yaml").symlink_to(secret)
    (root / "apps" / "in.yaml").symlink_to(root / "apps" / "db.yaml")
    (root / "apps" / "loop.yaml").symlink_to("loop.yaml")
    (root / "apps" / "dir").symlink_to(tmp_path)
    (root / "queries").symlink_to("/etc")
    problems = check_directory(root).problems
    assert {p.file for p in problems} == {"apps/out.yaml", "apps/in.yaml", "apps/loop.yaml", "apps/dir", "queries"}
    assert {p.message for p in problems} == {"this is a symbolic link"}
    assert not [p for p in problems if "hunter2" in str(p)]


def test_a_settings_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "automator67.yaml").symlink_to("/etc/passwd")
    assert [p.message for p in check_directory(tmp_path).problems] == ["this is a symbolic link"]


def test_huge_files_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, BASE)
    with (tmp_path / "apps" / "huge.yaml").open("wb") as file:
        file.truncate(100 * 2**20)
    started = time.process_time()
    problems = check_directory(tmp_path).problems
    assert time.process_time() - started < 1
    assert [(p.file, p.code) for p in problems] == [("apps/huge.yaml", "too-large")]


def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    write(tmp_path, BASE)
    os.mkfifo(tmp_path / "apps" / "pipe.yaml")
    problems = check_directory(tmp_path).problems
    assert [(p.file, p.message) for p in problems] == [("apps/pipe.yaml", "this is not a file")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_a_problem_of_that_file(tmp_path: Path) -> None:
    write(tmp_path, BASE)
    (tmp_path / "apps" / "db.yaml").chmod(0)
    assert [p.file for p in check_directory(tmp_path).problems] == ["apps/db.yaml"]


def test_a_directory_of_too_much_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "MAX_TOTAL", 2 * 2**20)
    write(tmp_path, {"automator67.yaml": "name: home\n"} | {f"apps/a{n}.yaml": "#" * 2**20 for n in range(5)})
    problems = check_directory(tmp_path).problems
    assert [p.code for p in problems if p.file == "apps/a2.yaml"] == ["too-large"]
    assert not [p for p in problems if p.file > "apps/a2.yaml" and p.file < "automator67.yaml"]


def test_a_directory_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        check_directory(tmp_path / "nowhere")


def test_names_that_are_not_text(tmp_path: Path) -> None:
    write(tmp_path, BASE)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/apps/\xff.yaml"))).write_text("image: a")
    problems = check_directory(tmp_path).problems
    assert len(problems) == 1
    assert "cannot be the name" in problems[0].message
    assert problems[0].file == "apps/\\xff.yaml"
    str(problems[0]).encode()


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("kind: swarm\nurl: unix:///run/docker.sock\n", ""),
        ("kind: swarm\nurl: tcp://127.0.0.1:2375\n", ""),
        ("kind: swarm\n", "a swarm needs a url"),
        ("kind: agent\nurl: unix:///run/docker.sock\n", "url is for kind: swarm"),
        (
            "kind: swarm\nurl: tcp://swarm.example.org:2375\n",
            "without tls anybody on the way could take over the swarm",
        ),
        ("kind: swarm\nurl: tcp://127.0.0.1.example.org:2375\n", "without tls anybody"),
    ],
)
def test_a_swarm_is_reached_by_a_url_and_over_a_network_with_tls(node: str, said: str) -> None:
    found = "; ".join(p.message for p in check({"nodes/cluster.yaml": node}))
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("document", "code", "text"),
    [
        ("kind: render", "relation", "an account of kind render needs a token"),
        ("kind: cloudrun\ntoken: {secret: blog-db}", "relation", "Cloud Run needs a project"),
        ("kind: cloudflare\ntoken: {secret: blog-db}", "relation", "kind cloudflare holds the names of a domain"),
        ("kind: desec\ndomain: example.org", "relation", "an account of kind desec needs a token"),
        (
            "kind: duckdns\ndomain: example.org\ntoken: {secret: blog-db}", "relation",
            "DuckDNS holds only names below duckdns.org",
        ),
    ],
)  # fmt: skip
def test_an_account_says_what_lets_us_in_and_what_it_is_for(document: str, code: str, text: str) -> None:
    problem = only({"nodes/account.yaml": document})
    assert (problem.code, problem.file) == (code, "nodes/account.yaml")
    assert text in problem.message


@pytest.mark.parametrize(
    "document",
    [
        "kind: render\ntoken: {secret: blog-db}\nregion: eu",
        "kind: cloudrun\ntoken: {secret: blog-db}\naccount: my-project-1",
        "kind: duckdns\ndomain: ana.duckdns.org\ntoken: {secret: blog-db}",
    ],
)
def test_an_account_that_is_whole(document: str) -> None:
    assert check({"nodes/account.yaml": document}) == []
