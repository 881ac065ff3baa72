"""The runner of a place and the fleet of them, with the adapter that docs/adding-a-place.md shows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from automator67.engine.breaker import Breaker, Breakers
from automator67.engine.desired import Node, Origin
from automator67.engine.places.fleet import Adapter, Fleet
from automator67.engine.places.protocol import Act, Message, Opened, Place, PlaceError
from automator67.engine.places.runner import Runner
from tests.support.cloud import wait_for
from tests.unit.test_places import message

ROOT = Path(__file__).resolve().parents[2]


def skeleton() -> str:
    """Return the adapter of the document."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-place.md").read_text(), re.DOTALL)
    return str(code)


def memory_place(name: str = "n") -> Any:
    names: dict[str, Any] = {"__name__": "skeleton"}
    exec(compile(skeleton(), "adding-a-place.md", "exec"), names)
    return names["MemoryPlace"](name)


class Desk:
    """What the engine wants and hears; ``wanted`` is None while it is not known."""

    def __init__(self, *wanted: Message) -> None:
        self.wanted: Sequence[Message] | None = list(wanted)
        self.reports: list[Mapping[str, Any]] = []
        self.failures: list[str] = []
        self.secrets: Opened | PlaceError = Opened()

    def report(self, node: str, message: Mapping[str, Any]) -> None:
        self.reports.append(message)

    def unreachable(self, node: str, why: str) -> None:
        self.failures.append(why)

    def beat(self) -> float:
        return 30.0

    def desired(self, node: str) -> tuple[str, Sequence[Message]] | None:
        return None if self.wanted is None else ("r1", self.wanted)

    def opened(self, message: Message) -> Opened:
        if isinstance(self.secrets, PlaceError):
            raise self.secrets
        return self.secrets

    def shown(self) -> list[tuple[str, str]]:
        return [(i["id"], i["phase"]) for i in self.reports[-1]["instances"]]


def test_the_documents_adapter_follows_the_protocol(tmp_path: Path) -> None:
    code = skeleton() + (
        "\n\nfrom automator67.engine.places.protocol import Place\n\nplace: Place = MemoryPlace('n')\n"
    )
    (tmp_path / "skeleton.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(tmp_path / "skeleton.py")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_turn_makes_what_is_wanted_and_the_next_finds_nothing_to_do() -> None:
    place, desk = memory_place(), Desk(message(0), message(1))
    runner = Runner(place, desk)
    assert runner.turn() is True
    assert desk.shown() == [("web-0-aaaa", "pending"), ("web-1-aaaa", "pending")]
    assert desk.reports[-1]["rev_applied"] == ""
    assert runner.turn() is False
    assert desk.shown() == [("web-0-aaaa", "running"), ("web-1-aaaa", "running")]
    assert desk.reports[-1]["rev_applied"] == "r1"
    desk.wanted = []
    runner.turn()
    runner.turn()
    assert not place.there
    assert runner.empty


def test_what_is_not_known_to_be_wanted_is_not_taken_for_unwanted() -> None:
    place, desk = memory_place(), Desk(message(0))
    runner = Runner(place, desk)
    runner.turn()
    desk.wanted = None
    Runner(place, desk).turn()
    assert list(place.there) == ["web"]
    assert desk.shown() == [("web-0-aaaa", "running")]
    assert not runner.empty


def test_a_place_that_does_not_answer_reports_nothing() -> None:
    place, desk = memory_place(), Desk(message(0))
    runner = Runner(place, desk)
    runner.turn()
    place.reachable = False
    before = len(desk.reports)
    runner.turn()
    assert len(desk.reports) == before
    assert desk.failures == ["the place does not answer"]


def test_an_act_that_fails_is_tried_again_later_and_a_new_wish_at_once() -> None:
    clock = [100.0]
    place, desk = memory_place(), Desk(message(0))
    tried: list[str] = []

    def refuse(action: Act) -> None:
        tried.append(action.verb)
        raise PlaceError("the place is full")

    place.act = refuse
    runner = Runner(place, desk, monotonic=lambda: clock[0])
    runner.turn()
    runner.turn()
    assert tried == ["create"]
    assert desk.reports[-1]["instances"][0]["detail"] == "the place is full"
    clock[0] += 1.1
    runner.turn()
    runner.turn()
    clock[0] += 1.1
    runner.turn()
    assert len(tried) == 2, "the second pause is longer"
    desk.wanted = [message(0, "bbbb", 2)]
    runner.turn()
    assert len(tried) == 3


@pytest.mark.parametrize(("drift", "phase"), [("repair", "running"), ("report", "missing")])
def test_what_was_removed_by_hand_comes_back_or_is_reported(drift: str, phase: str) -> None:
    place, desk = memory_place(), Desk(message(0, drift=drift))
    runner = Runner(place, desk)
    runner.turn()
    runner.turn()
    place.there.clear()
    runner.turn()
    assert desk.reports[-1]["instances"][0]["drift"] == ["removed by hand"]
    runner.turn()
    assert desk.shown() == [("web-0-aaaa", phase)]


def test_an_app_whose_secret_does_not_open_waits_and_what_runs_stays() -> None:
    place, desk = memory_place(), Desk(message(0))
    runner = Runner(place, desk)
    runner.turn()
    desk.secrets = PlaceError("secret db: this engine does not have the key")
    desk.wanted = [message(0, "bbbb", 2)]
    runner.turn()
    assert place.there["web"].rev == "aaaa"
    assert "does not have the key" in str(desk.reports[-1]["instances"])


def test_a_fleet_follows_the_declared_nodes() -> None:
    made: list[tuple[str, Hashable]] = []
    places: dict[str, Any] = {}

    def make(name: str, cloud: str, configuration: Hashable, breaker: Breaker) -> Place:
        made.append((name, configuration))
        places[name] = memory_place(name)
        place: Place = places[name]
        return place

    def configure(node: Node, secret: Any) -> Hashable:
        return secret(str(node.document["token"]))

    def secret(name: str) -> bytes:
        if name == "lost":
            raise PlaceError("there is no secret lost")
        return name.encode()

    def node(token: str, kind: str = "memory") -> dict[str, Node]:
        return {"m": Node("m", Origin("nodes/m.yaml", "b"), kind, document={"token": token})}

    desk = Desk(message(0))
    fleet = Fleet(desk, Breakers(), {"memory": Adapter(configure, make)})
    try:
        fleet.follow("home", node("a"), secret)
        fleet.follow("home", node("a"), secret)
        wait_for("a copy", lambda: places["m"].there)
        assert made == [("m", b"a")]
        fleet.follow("home", node("b"), secret)
        assert made == [("m", b"a"), ("m", b"b")]
        fleet.follow("home", node("lost"), secret)
        assert fleet.place("m") is places["m"], "what runs goes on with the configuration of before"
        wait_for("a copy", lambda: places["m"].there)
        fleet.follow("home", {}, secret)
        assert fleet.place("m") is not None, "something of ours is there"
        desk.wanted = []
        fleet.wake("m")
        wait_for("the end", lambda: fleet.follow("home", {}, secret) or fleet.place("m") is None)
        fleet.follow("home", node("lost"), secret)
        assert desk.failures[-1] == "there is no secret lost"
    finally:
        fleet.close()
