"""Compose projects become apps: variables, what is carried over, what is said of the rest."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.compose.carrying import Carried, carried
from automator67.engine.compose.project import read_project
from automator67.engine.compose.variables import VariableProblem, interpolated, read_env
from automator67.schemas.document import read
from automator67.schemas.source import read_yaml

CORPUS = sorted((Path(__file__).parents[1] / "fixtures" / "compose").glob("*.yaml"))
VALUES = {"A": "one", "EMPTY": "", "DB_PASSWORD": "hunter2", "APP_SECRET": "s3cret"}


def carry(services: str, git: str = "", files: dict[str, str] | None = None, **values: str) -> Carried:
    """Carry services over that are written as the lines below ``services:``."""
    lines = "\n".join(f"  {line}" for line in services.strip("\n").splitlines())
    project = read_project("compose.yaml", f"services:\n{lines}\n".encode(), VALUES | values)
    assert project.problems == []
    return carried(project, (files or {}).get, git=git)


def app(found: Carried, name: str = "a") -> Any:
    return read_yaml("", found.files[f"apps/{name}.yaml"].encode()).value


def notes(found: Carried) -> str:
    return "\n".join(f"{n.service}: {n.text}" for n in found.notes)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A", "one"), ("${A}x", "onex"), ("$$A", "$A"), ("$${A}", "${A}"), ("${EMPTY-x}", ""), ("${EMPTY:-x}", "x"),
        ("${NONE-x}", "x"), ("${NONE:-${A}}", "one"), ("${NONE:-${X:-y}}z", "yz"), ("${A+x}", "x"), ("${NONE+x}", ""),
        ("${EMPTY:+x}", ""), ("${EMPTY+x}", "x"), ("${A:?no}", "one"), ("${A?no}", "one"), ("100$", "100$"),
        ("a$b$", "a$"), ("${NONE:-{}}", "{}"), ("$1", "$1"),
    ],
)  # fmt: skip
def test_variables_mean_what_they_mean_to_compose(text: str, value: str) -> None:
    assert interpolated(text, VALUES, set()) == value


@pytest.mark.parametrize(
    ("text", "word"),
    [("${NONE?give it}", "NONE needs a value: give it"), ("${EMPTY:?}", "EMPTY needs"), ("${A", "} is missing"),
     ("${A!x}", "means nothing"), ("${X:-" * 30 + "}" * 30, "too deep")],
)  # fmt: skip
def test_variables_that_cannot_be(text: str, word: str) -> None:
    with pytest.raises(VariableProblem) as caught:
        interpolated(text, VALUES, set())
    assert word in str(caught.value)


@given(st.text(alphabet="${}:-?+AB x", max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    with contextlib.suppress(VariableProblem):
        assert isinstance(interpolated(text, VALUES, set()), str)


def test_an_env_file() -> None:
    text = "# no\nA=1\nexport B = two words # not this\nC='x # y'\nD=\"a\\nb\"\nE=\nBARE\nF=a=b\n"
    assert read_env(text) == {"A": "1", "B": "two words", "C": "x # y", "D": "a\nb", "E": "", "F": "a=b"}


@pytest.mark.parametrize("file", CORPUS, ids=lambda p: p.stem)
def test_what_comes_of_real_shapes_is_valid_and_hides_what_is_secret(file: Path) -> None:
    project = read_project(file.name, file.read_bytes(), VALUES)
    assert project.problems == []
    found = carried(project, lambda _: None, git="https://git.example.org/ana/x.git")
    assert found.files
    for path, text in found.files.items():
        document = read(path, text.encode())
        assert [str(p) for p in document.problems] == [], path
        assert "hunter2" not in text
        assert "change-me" not in text
    said = {n.service for n in found.notes} | {read_yaml("", t.encode()).value and p for p, t in found.files.items()}
    for service in project.services:
        assert service in said or any(f"service {service} of" in t for t in found.files.values())


def test_a_service_of_many_keys() -> None:
    found = carry("""
a:
  image: ghcr.io/ana/a:1
  command: run --fast "two words"
  ports: ["127.0.0.1:8080:80/tcp"]
  labels: {traefik.http.routers.a.rule: "Host(`a.example.org`)"}
  environment: {A: 1, B: true, C: "x $A"}
  user: "1000:1000"
  restart: on-failure:5
  stop_grace_period: 1m30s
  deploy: {replicas: 2, resources: {limits: {memory: 1g, cpus: "0.5"}}}
  healthcheck: {test: curl -f localhost, interval: 1m, timeout: 3s, retries: 4}
  cap_add: [CAP_NET_ADMIN]
""")
    assert app(found) == {
        "image": "ghcr.io/ana/a:1", "command": 'run --fast "two words"', "port": 80, "domain": "a.example.org",
        "resources": {"cpu": 0.5, "memory": "1Gi"}, "replicas": 2, "env": {"A": "1", "B": "true", "C": "x one"},
        "health": {"command": ["sh", "-c", "curl -f localhost"], "interval": "1m", "timeout": "3s",
                   "unhealthy_after": 4},
        "restart": "on-failure", "stop_timeout": "1m30s", "user": "1000:1000", "capabilities": ["NET_ADMIN"],
    }  # fmt: skip
    assert notes(found) == "a: capabilities: only where the node's own policy allows it (policy.toml)"


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("POSTGRES_PASSWORD", "x", True), ("API_TOKEN", "x", True), ("SECRET_KEY", "x", True),
        ("DATABASE_URL", "postgres://u:p@h/d", True), ("DATABASE_URL", "postgres://h/d", False),
        ("JWT_SECRET", "x", True), ("KEYBOARD", "x", False), ("PASSWORD_FILE", "/run/x", False),
        ("PUBLIC_KEY", "x", False), ("TOKEN_TTL", "60", False), ("PASSENGERS", "4", False),
        ("DB_PASS", "x", True), ("APP_KEY", "x", True), ("DB_PASSWORD", "", False),
    ],
)  # fmt: skip
def test_what_looks_like_a_password_is_to_be_sealed(key: str, value: str, secret: bool) -> None:
    found = carry(f"a: {{image: x, environment: {{{key}: '{value}'}}}}")
    assert isinstance(app(found)["env"][key], dict) == secret
    assert [s.value for s in found.secrets] == ([value] if secret else [])
    assert value == "" or not secret or value not in found.files["apps/a.yaml"].partition("env:")[2].split()


def test_volumes_mounts_and_what_is_beside_the_file() -> None:
    found = carry("""
a:
  image: x
  volumes: ["a:/data", "/srv/m:/m:ro", "./c:/c", "/anon", {type: tmpfs, target: /t}, "C:\\\\x:/w", "~/h:/h", "D:/x:/y"]
b: {image: x, volumes: ["a:/data"]}
""")
    assert app(found)["volumes"] == [{"name": "a", "path": "/data"}, {"name": "anon", "path": "/anon"}]
    assert app(found)["mounts"] == [{"host": "/srv/m", "path": "/m", "read_only": True}]
    said = notes(found)
    for word in (
        "./c beside the file",
        "tmpfs at /t",
        "C:\\x beside",
        "~/h beside",
        "D:/x beside",
        "b: volume a is that of a too",
    ):
        assert word in said


def test_ports_and_names() -> None:
    found = carry("""
a: {image: x, ports: ["80:8080", "81:81", "53:53/udp", "6000-6010:6000-6010"], expose: ["7"]}
b: {image: x, expose: [7], environment: {VIRTUAL_HOST: "b.example.org, *.b.example.org"}}
c: {image: x, labels: ["caddy=https://c.example.org", "caddy.reverse_proxy={{upstreams 90}}"]}
d: {image: x, labels: ["caddy=https://d.example.org"]}
""")
    assert app(found)["port"] == 8080
    assert "not carried over: 81" in notes(found)
    assert "udp port 53" in notes(found)
    assert "range" in notes(found)
    assert app(found, "b")["domains"] == ["b.example.org", "*.b.example.org"]
    assert (app(found, "c")["domain"], app(found, "c")["port"]) == ("c.example.org", 90)
    assert "d: it answers at d.example.org, but no port is written" in notes(found)


def test_what_is_built_needs_a_repository() -> None:
    found = carry("a: {build: ./web}\nb: {image: x, depends_on: [a]}")
    assert list(found.files) == ["apps/b.yaml"]
    assert "a: it is built: say where its repository is with --git URL" in notes(found)
    assert "b: it depends on a, which is not carried over" in notes(found)
    found = carry("a: {build: {context: ./web/, dockerfile: D}}", git="https://git.example.org/x.git")
    assert app(found)["source"] == {"git": "https://git.example.org/x.git", "path": "web", "dockerfile": "D"}


def test_extends_env_files_and_order() -> None:
    found = carry(
        """
base: {image: x, environment: [A=1, B=2], ports: ["80"]}
a:
  extends: {service: base}
  env_file: [one.env, {path: two.env}, missing.env]
  environment: {B: 3}
  depends_on: {base: {condition: service_healthy}, b: {condition: service_completed_successfully}}
b: {image: x}
""",
        files={"one.env": "C=1\nB=0\n", "two.env": "C=2\n"},
    )
    assert app(found)["env"] == {"C": "2", "B": "3", "A": "1"}
    assert app(found)["port"] == 80
    assert app(found)["depends_on"] == ["base"]
    assert "missing.env cannot be read" in notes(found)
    assert "waits until b has ended well" in notes(found)


def test_profiles_are_asked_for() -> None:
    text = b"services: {a: {image: x}, b: {image: x, profiles: [debug]}}"
    assert list(carried(read_project("f", text, {}), lambda _: None).files) == ["apps/a.yaml"]
    assert "--profile debug" in notes(carried(read_project("f", text, {}), lambda _: None))
    assert len(carried(read_project("f", text, {}, ["debug"]), lambda _: None).files) == 2
    assert len(carried(read_project("f", text, {}, ["debug"]), lambda _: None, only=["b"]).files) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no services"), ("services: []", "no services"), ("web: {image: x}", "old form"),
        ("services: {a: x}", "no group"),
        ("services: {a: {extends: {service: nobody}}}", "nobody, which cannot be found"),
        ("services: {a: {extends: b, image: x}, b: {extends: a}}", "cannot be found"),
        ("services: {a: {image: '${X:?give it}'}}", "X needs a value: give it"), ("services: [", "f:"),
        ("a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c]\n"
         "e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\nservices: {a: {image: x}}", "f:"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_where_and_why(text: str, word: str) -> None:
    project = read_project("f", text.encode(), {})
    assert project.problems
    assert any(word in str(p) for p in project.problems)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    ["image", "build", "command", "environment", "env_file", "ports", "expose", "labels", "volumes", "deploy", "tmpfs",
     "healthcheck", "depends_on", "restart", "user", "cap_add", "devices", "secrets", "scale", "mem_limit", "cpus",
     "network_mode", "privileged", "stop_grace_period", "profiles", "extends", "x-any"]
)  # fmt: skip


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.dictionaries(_KEYS, _ANY, max_size=6), min_size=1, max_size=3)
)
def test_whatever_is_written_what_comes_out_is_valid(services: Any) -> None:
    project = read_project("f", json.dumps({"services": services}).encode(), {})
    found = carried(project, lambda _: None, git="https://git.example.org/x.git")
    for path, text in found.files.items():
        assert [str(p) for p in read(path, text.encode()).problems if p.severity == "error"] == []
