"""Commands in instances: what is read of a request, where it goes, what an agent takes, what the history keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automator67.agent.exec_task import ExecTask, task_of
from automator67.engine.app_exec import Command, choose, read_command
from automator67.engine.control import ControlError
from automator67.engine.observed import Instance, NodeView
from automator67.engine.store.database import open_store
from automator67.engine.store.facts import MAX_EVENTS, add_events, audited
from automator67.schemas.messages.policy import Policy


def view(name: str, *instances: Instance, allowed: bool = True, **more: Any) -> NodeView:
    return replace(NodeView(name, "healthy", instances=instances, policy=Policy(exec=allowed)), **more)


def instance(slot: int, node: str, **more: Any) -> Instance:
    return replace(Instance(f"web-{slot}-a", "web", slot, "a", 1, node, "running"), **more)


COMMAND = Command("web", ("id",), "uid 0")


def test_the_first_healthy_instance_is_chosen_where_it_is_allowed() -> None:
    one = view("one", instance(0, "one", health="unhealthy"), instance(1, "one", health="healthy"))
    two = view("two", instance(2, "two"), allowed=False)
    views = {"one": one, "two": two}
    assert choose(views, COMMAND)[1].slot == 1
    assert choose(views, replace(COMMAND, instance="web-0-a"))[1].slot == 0
    for command, words in (
        (replace(COMMAND, node="two"), "refused by the policy of node two"),
        (replace(COMMAND, node="three"), "no instance of web is on node three; there are web-0-a, web-1-a, web-2-a"),
        (replace(COMMAND, instance="x"), "no instance of web is called x"),
        (replace(COMMAND, app="db"), "no instance of db is known"),
    ):
        with pytest.raises(ControlError, match=words):
            choose(views, command)
    for gone in (view("one", instance(0, "one", phase="exited")), view("one", instance(0, "one"), state="unavailable")):
        with pytest.raises(ControlError, match="no instance of web runs there"):
            choose({"one": gone}, COMMAND)


def test_requests_are_checked() -> None:
    assert read_command("web", "ana", {"argv": ["a", "b"], "node": "n"}) == Command("web", ("a", "b"), "ana", "n")
    for bad in (None, {}, {"argv": []}, {"argv": "ls"}, {"argv": [1]}, {"argv": ["a\0"]}, {"argv": [""]},
                {"argv": ["x"] * 257}, {"argv": ["x" * 70_000]}):  # fmt: skip
        with pytest.raises(ControlError):
            read_command("web", "ana", bad)


def test_what_an_agent_takes() -> None:
    doc = {"id": "t1", "kind": "exec", "instance": "web-0-a", "argv": ["id", "-u"], "by": "uid 0\n(root)"}
    assert task_of(doc) == ExecTask("t1", "web-0-a", ("id", "-u"), "uid 0 (root)")
    for bad in ({"kind": "logs"}, {"id": "../x"}, {"id": ""}, {"instance": 5}, {"argv": []}, {"argv": "id"},
                {"argv": ["a\0b"]}, {"argv": [""]}, {"argv": ["x" * 70_000]}):  # fmt: skip
        assert task_of(doc | bad) is None


def test_the_audit_outlives_other_events(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db")
    with store.begin() as tx:
        add_events(tx, [(1.0, "exec", "app/web", "uid 0 ran id", "")])
        add_events(tx, [(2.0, "suspect", "node/one", "x", "")] * (MAX_EVENTS + 10))
        add_events(tx, [(3.0, "exec", "app/web", "uid 0 ran ls", "")])
        assert [m for _, _, m in audited(tx, 10)] == ["uid 0 ran ls", "uid 0 ran id"]
    store.close()
