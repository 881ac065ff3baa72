"""Runs a command in an instance of an app for a person, and writes down who ran what where."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from automator67.engine.audit import Audit
from automator67.engine.control import ControlError
from automator67.engine.copies import LOST_STATES
from automator67.engine.nodes.tasks import Task, TaskBroker, TaskError
from automator67.engine.observed import Instance, NodeView

MOST_ARGUMENTS = 256
LONGEST_ARGUMENTS = 60 * 1024


class Person(Protocol):
    """Who asked: the other end of a connection."""

    async def input(self) -> bytes | None:
        """Return the next bytes of input; None at their end. Raises ConnectionError when the person is gone."""

    async def output(self, stream: str, data: bytes) -> None:
        """Show bytes of a stream (``out`` or ``err``)."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run, for whom (``uid 0 (root)``), and where if that matters."""

    app: str
    argv: tuple[str, ...]
    by: str
    node: str = ""
    instance: str = ""


def read_command(app: str, by: str, doc: Any) -> Command:
    """Return the command of a request. Raises ControlError."""
    argv = doc.get("argv") if isinstance(doc, dict) else None
    if not isinstance(argv, list) or not argv or not all(isinstance(a, str) and "\0" not in a for a in argv):
        raise ControlError("there is no command to run; write it after --")
    if len(argv) > MOST_ARGUMENTS or sum(map(len, argv)) > LONGEST_ARGUMENTS or not argv[0]:
        raise ControlError(f"the command is longer than {MOST_ARGUMENTS} words or {LONGEST_ARGUMENTS} bytes")
    return Command(app, tuple(argv), by, str(doc.get("node", "")), str(doc.get("instance", "")))


def choose(views: Mapping[str, NodeView], command: Command) -> tuple[NodeView, Instance]:
    """Return where to run it: the first running instance that fits, healthy ones first. Raises ControlError. Pure."""
    mine = [(v, i) for v in views.values() for i in v.instances if i.app == command.app]
    if not mine:
        raise ControlError(f"no instance of {command.app} is known; see automator67 status")
    fits = [
        (v, i) for v, i in mine if command.node in ("", v.name) and command.instance in ("", i.id)
    ]  # fmt: skip
    if not fits:
        where = f"on node {command.node}" if command.node else f"called {command.instance}"
        raise ControlError(
            f"no instance of {command.app} is {where}; there are {', '.join(sorted(i.id for _, i in mine))}"
        )
    there = [(v, i) for v, i in fits if v.state not in LOST_STATES and i.phase == "running"]
    if not there:
        raise ControlError(f"no instance of {command.app} runs there: {fits[0][1].id} is {fits[0][1].phase}")
    allowed = [(v, i) for v, i in there if v.policy.exec]
    if not allowed:
        raise ControlError(
            f"refused by the policy of node {there[0][0].name}: exec is not allowed (policy.toml: exec = true)"
        )
    return min(allowed, key=lambda pair: (pair[1].health not in ("none", "healthy"), pair[1].slot, pair[1].id))


async def app_exec(
    broker: TaskBroker, views: Mapping[str, NodeView], command: Command, person: Person, audit: Audit
) -> AsyncIterator[Mapping[str, Any]]:
    """Run a command; yield ``{"instance", "node"}`` when it begins and ``{"exit": code}`` when it has ended.

    What it writes goes to ``person``. The history gets a line before anything is run and one at the end, also when it
    is refused. Raises ControlError.
    """
    words = f"{command.by}: {json.dumps(command.argv, ensure_ascii=False)}"
    resource = f"app/{command.app}"
    try:
        view, instance = choose(views, command)
    except ControlError as error:
        await audit(resource, f"refused {words}: {error}")
        raise
    where = f"in {instance.id} on {view.name}"
    await audit(resource, f"{words} {where}")
    yield {"instance": instance.id, "node": view.name}
    outcome = "was cut off"
    try:
        fields = {"instance": instance.id, "argv": list(command.argv), "by": command.by}
        async with broker.ask(view.name, "exec", **fields) as task:
            upward = asyncio.create_task(_carry(task, person))
            try:
                code = await _show(task, person)
            finally:
                upward.cancel()
                await asyncio.gather(upward, return_exceptions=True)
        outcome = f"ended with {code}"
    except TaskError as error:
        outcome = f"failed: {error}"
        raise ControlError(str(error)) from error
    finally:
        await audit(resource, f"{words} {where} {outcome}")
    yield {"exit": code}


async def _carry(task: Task, person: Person) -> None:
    try:
        while (data := await person.input()) is not None:
            await task.room_above()
            task.send(data)
    except ConnectionError:
        # Nobody is there any more: the agent notices, and kills the command.
        task.close()
        task.end("it was cut off: nobody reads any more")
        return
    task.send(None)


async def _show(task: Task, person: Person) -> int:
    async for batch in task.batches():
        for line in batch:
            if isinstance(line.get("exit"), int):
                return int(line["exit"])
            if isinstance(line.get("d"), str):
                try:
                    data = base64.b64decode(line["d"], validate=True)
                except binascii.Error:
                    continue
                await person.output("err" if line.get("s") == "err" else "out", data)
    raise TaskError("the node said nothing of how it ended")
