"""Reading the desired state: all or nothing, with words."""

from __future__ import annotations

from typing import Any

import pytest

from automator67.agent.desired import DesiredError, keep_known, parse
from automator67.agent.model import Probe, Volume
from tests.support.fake_engine import container_instance, http_probe, process_instance


def doc(*instances: dict[str, Any]) -> dict[str, Any]:
    return {"proto": 1, "rev": "r", "node": "n1", "cloud": "home", "instances": list(instances), "unknown": 1}


def test_a_whole_message() -> None:
    probe = http_probe("/healthz", port=81, interval=0.01)
    web = container_instance(
        "web", "i:1", "serve", env={"K": "v"}, port=80, health=probe, volumes=[{"name": "d", "path": "/d"}], extra=1
    )
    desired = parse(doc(web, {"id": "old-0-x", "app": "old", "slot": 0, "rev": "x", "epoch": 2, "keep": True}))
    assert (desired.rev, desired.node, desired.cloud) == ("r", "n1", "home")
    first, second = desired.instances
    assert (first.image, first.command, first.env, first.port) == ("i:1", ("serve",), (("K", "v"),), 80)
    assert first.volumes == (Volume("d", "/d"),)
    # Not more often than ten times a second, whatever is asked.
    assert first.health == Probe("http", "/healthz", port=81, interval=0.1, timeout=2)
    assert (second.id, second.keep, second.epoch) == ("old-0-x", True, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "../x"}, "instances[0].id: not a name"),
        ({"id": "-x"}, "instances[0].id: not a name"),
        ({"id": "x" * 129}, "instances[0].id: not a name"),
        ({"app": None}, "instances[0].app: not text"),
        ({"slot": -1}, "instances[0].slot: not a number of 0 or more"),
        ({"slot": 0.5}, "instances[0].slot: not a whole number"),
        ({"slot": True}, "instances[0].slot: not a number of 0 or more"),
        ({"runtime": "vm"}, "instances[0].runtime: must be one of docker, process"),
        ({"image": None}, "instances[0].image: the docker runtime needs an image"),
        ({"command": "ls"}, "instances[0].command: not a list"),
        ({"command": ["a\0b"]}, "instances[0].command: not a list of text"),
        ({"env": {"A=B": "c"}}, "instances[0].env: not names with text values"),
        ({"env": {"A": 1}}, "instances[0].env: not names with text values"),
        ({"port": 65536}, "instances[0].port: not a port"),
        ({"memory": 1e400}, "instances[0].memory: not a number of 0 or more"),
        ({"memory": float("nan")}, "instances[0].memory: not a number of 0 or more"),
        ({"volumes": [{"name": "d", "path": "../etc"}]}, "instances[0].volumes[0].path: must be absolute"),
        ({"volumes": [{"name": "/d", "path": "/d"}]}, "instances[0].volumes[0].name: not a name"),
        ({"health": {"kind": "http", "target": "x"}}, "instances[0].health.target: an http probe needs a path"),
        ({"health": {"kind": "http", "target": "/a b"}}, "instances[0].health.target: an http probe needs a path"),
        ({"health": {"kind": "command"}}, "instances[0].health.command: a command probe needs a command"),
        ({"health": []}, "instances[0].health: not an object"),
        ({"restart": "sometimes"}, "instances[0].restart: must be one of always, on-failure, no"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DesiredError) as e:
        parse(doc(container_instance("web", "i:1") | change))
    assert str(e.value).startswith(words)


def test_messages_that_are_none() -> None:
    bad: object
    for bad in (None, [], "x", {}, doc() | {"node": "A"}, doc() | {"instances": {}}):
        with pytest.raises(DesiredError):
            parse(bad)
    with pytest.raises(DesiredError, match="the same id twice"):
        parse(doc(process_instance("a", "x"), process_instance("a", "x")))
    with pytest.raises(DesiredError, match="needs a command"):
        parse(doc(process_instance("a")))


def test_an_entry_to_be_kept_keeps_what_is_known_of_it() -> None:
    old = parse(doc(container_instance("web", "i:1", health=http_probe())))
    bare = {"id": "web-0-aaaa", "app": "web", "slot": 0, "rev": "aaaa", "epoch": 3, "adopt": "x", "keep": True}
    (w,) = keep_known(parse(doc(bare)), old).instances
    assert w.keep
    assert (w.epoch, w.adopt, w.image) == (3, "x", "i:1")
    assert w.health is not None
    (unknown,) = keep_known(parse(doc(bare)), parse(doc())).instances
    assert unknown.health is None
