"""Hostile text in every place where YAML holds a name: refused by validation, or harmless and accepted all the way.

And what a hostile engine might send straight to an agent: refused there, or harmless.
"""

from __future__ import annotations

import json
import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.desired import DesiredError, parse
from automator67.agent.docker_spec import create_args
from automator67.engine.instances import desired_instances
from automator67.engine.observed import Assignment
from tests.unit.test_load import load

WORD = frozenset(string.ascii_letters + string.digits + "._/:@-")
HOSTILE = [
    "; rm -rf /", "$(id)", "`id`", "a\nb", "a\n", "-v", "--privileged", "../../etc/passwd", "/../x", "a b", "a\tb",
    "a|b", "a&b", "a>b", "'", '"', "a\0b", "\u202eb", "ａ", "a:b:c", "%2e%2e", "a\\b", "{{x}}", "${x}", "~", "*", "",
]  # fmt: skip
texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.tuples(st.sampled_from(["a", "/a", "web", "ghcr.io/a/b", "/dev/a"]), st.sampled_from(HOSTILE)).map("".join),
    st.text(max_size=12),
    st.text(string.ascii_lowercase + "./:-@", max_size=12),
)


def document(place: str, text: str) -> dict[str, Any]:
    base: dict[str, Any] = {"image": "a"}
    values: dict[str, Any] = {
        "image": {"image": text},
        "user": {"user": text},
        "domain": {"domain": text, "port": 80},
        "volume name": {"volumes": [{"name": text, "path": "/x"}]},
        "volume path": {"volumes": [{"name": "x", "path": text}]},
        "mount host": {"mounts": [{"host": text, "path": "/x"}]},
        "mount path": {"mounts": [{"host": "/x", "path": text}]},
        "capability": {"capabilities": [text]},
        "device": {"devices": [text]},
        "env": {"env": {text: "v"}},
        "probe": {"port": 80, "health": {"path": text}},
        "adopt": {"adopt": text},
        "source": {"image": None, "source": {"git": text}},
        "ref": {"image": None, "source": {"git": "https://example.org/a", "ref": text}},
        "path": {"image": None, "source": {"git": "https://example.org/a", "path": text}},
        "dockerfile": {"image": None, "source": {"git": "https://example.org/a", "dockerfile": text}},
        "require": {"place": {"require": {"disk": text}}},
    }
    found = base | values[place]
    return {key: value for key, value in found.items() if value is not None}


PLACES = [
    "image", "user", "domain", "volume name", "volume path", "mount host", "mount path", "capability", "device", "env",
    "probe", "adopt", "source", "ref", "path", "dockerfile", "require",
]  # fmt: skip
LETTERS = {
    "image": WORD, "user": WORD, "domain": WORD | {"*"}, "volume name": WORD, "capability": WORD | {"_"},
    "device": WORD | {"_"}, "adopt": WORD | {"_"}, "ref": WORD | {"_"},
}  # fmt: skip
"""Where a name goes on to another program or an API, and what it may then consist of."""


@given(st.sampled_from(PLACES), texts)
def test_what_validation_accepts_is_harmless_and_the_agent_takes_it(place: str, text: str) -> None:
    loaded = load({"apps/blog.yaml": json.dumps(document(place, text))})
    if loaded.desired is None:
        assert loaded.problems
        return
    assert not any(ord(c) < 32 or c == "\x7f" for c in text) or place in ("require",)
    if place in LETTERS and text:
        assert LETTERS[place] | {"_"} >= set(text), f"{place}: {text!r}"
        assert not text.startswith("-"), f"{place}: {text!r}"
    if place in ("ref", "path", "dockerfile", "source"):
        assert not text.startswith("-")
        assert ".." not in text.split("/") or place == "source", f"{place}: {text!r}"
        return
    app = loaded.desired.apps["blog"]
    a = Assignment("blog-0-abc", "blog", 0, "abc", "n", 1, "run", 0.0, "c", app.adopt)
    (message,) = desired_instances([a], ["n"], lambda *_: app)["n"]
    (wanted,) = parse(json.loads(json.dumps({"rev": "r", "node": "n", "cloud": "c", "instances": [message]}))).instances
    json.dumps(create_args(wanted, "/s", "c", "n", "a67-"))


hostile_messages = st.fixed_dictionaries(
    {},
    optional={
        "id": texts, "app": texts, "rev": texts, "image": texts, "user": texts, "adopt": texts,
        "command": st.lists(texts, max_size=2),
        "env": st.dictionaries(texts, texts, max_size=2),
        "volumes": st.lists(st.fixed_dictionaries({"name": texts, "path": texts}), max_size=1),
        "access": st.fixed_dictionaries({}, optional={
            "mounts": st.lists(st.fixed_dictionaries({"host": texts, "path": texts}), max_size=1),
            "capabilities": st.lists(texts, max_size=1), "devices": st.lists(texts, max_size=1),
        }),
    },
)  # fmt: skip


@given(hostile_messages)
def test_an_agent_takes_no_hostile_name_from_its_engine(fields: dict[str, Any]) -> None:
    base = {"id": "a-0-x", "app": "a", "slot": 0, "rev": "x", "epoch": 1, "runtime": "docker", "image": "a"}
    try:
        (w,) = parse({"rev": "r", "node": "n", "cloud": "c", "instances": [base | fields]}).instances
    except DesiredError:
        return
    names = [w.id, w.app, w.rev, w.image, *(v.name for v in w.volumes), *w.access.devices, *w.access.capabilities]
    for name in [*names, *([w.user] if w.user else [])]:
        assert name
        assert name[0] != "-"
        assert set(name) <= WORD | {"_"}
        assert ".." not in name.split("/")
    for path in [*(v.path for v in w.volumes), *(p for m in w.access.mounts for p in (m.host, m.path))]:
        assert path.startswith("/")
        assert ".." not in path.split("/")
        assert "\0" not in path
