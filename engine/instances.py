"""A node's desired state, as its agent is told: every instance assigned to it, in full. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from automator67.engine.desired import Access, App, SecretRef
from automator67.engine.image_name import tree_key
from automator67.engine.jobs import Runs, as_run, run_number
from automator67.engine.observed import Assignment

Instances = dict[str, list[dict[str, Any]]]
NONE = Runs()
Seal = Callable[[Assignment, App], Mapping[str, Any]]
"""Returns what secrets add to an instance's message: nothing, ``sealed``, or ``keep`` where they cannot be had."""


def desired_instances(
    assignments: Iterable[Assignment],
    nodes: Iterable[str],
    app_of: Callable[[str, str], App | None],
    seal: Seal = lambda _assignment, _app: {},
    runs: Runs = NONE,
) -> Instances:
    """Return by node the complete list of instance messages (docs/protocol.md), for every node in ``nodes``.

    ``app_of(app, rev)`` gives the specification of a revision; where there is none any more the instance is only
    kept as it is.
    """
    wanted: Instances = {name: [] for name in nodes}
    for a in assignments:
        if a.want != "stop" and a.node in wanted:
            app, number = app_of(a.app, a.rev), run_number(a.app, a.instance)
            if app is not None and number:
                run = runs.find(a.app, number)
                app = as_run(app, run.command if run else ())
            wanted[a.node].append(_message(a, app, seal))
    for messages in wanted.values():
        messages.sort(key=lambda m: str(m["id"]))
    return wanted


@dataclass(frozen=True, slots=True)
class NodeDesired:
    """A node's complete desired state: its revision (a hash of the content) and the message as JSON bytes.

    ``names``: those that its gateway has from the cloud's own CA; None: it has no edge.
    """

    rev: str
    body: bytes
    names: tuple[str, ...] | None = None


def node_desired(
    node: str, cloud: str, instances: Sequence[Mapping[str, Any]], edge: Mapping[str, Any] | None
) -> NodeDesired:
    """Return what a node is told: its instances, and what its edge needs if it has one (docs/protocol.md)."""
    content = {"node": node, "cloud": cloud, "instances": instances} | ({"edge": edge} if edge else {})
    rev = content_revision(content)
    body = json.dumps({"proto": 1, "rev": rev, **content}, ensure_ascii=False).encode()
    return NodeDesired(rev, body, tuple(edge["names"]) if edge else None)


def content_revision(content: Mapping[str, Any]) -> str:
    """Return the revision of a node's desired state: a hash of its content, the same after a restart.

    Of what is encrypted to the node, only that it is there counts: the encryption is different every time, and the
    values count in the revisions of their apps.
    """
    instances = [_without_box(message) for message in content["instances"]]
    text = json.dumps({**content, "instances": instances}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_box(message: Mapping[str, Any]) -> Mapping[str, Any]:
    sealed = message.get("sealed")
    return {**message, "sealed": {**sealed, "box": ""}} if sealed else message


def place_part(app: App) -> dict[str, Any]:
    """Return what is added to an instance's message for a place that the engine looks after itself.

    How copies are replaced, and its secrets: by name and with where they are written, the values are had when the
    place is acted on.
    """
    part: dict[str, Any] = {"update": {"max_extra": app.update.max_extra, "healthy_for": app.update.healthy_for}}
    if app.secrets:
        part["secrets"] = {
            "env": {key: value.name for key, value in app.env if isinstance(value, SecretRef)},
            "files": [[f.path, f.secret] for f in app.files],
            "registry": app.registry,
            "written": {use.name: [use.path, use.blob] for use in app.secrets},
        }
    return part


def _message(a: Assignment, app: App | None, seal: Seal) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": a.instance, "app": a.app, "slot": a.slot, "rev": a.rev, "epoch": a.epoch, "adopt": a.adopt,
    }  # fmt: skip
    if app is None:
        return message | {"keep": True}
    secret = seal(a, app)
    if "keep" in secret:
        return message | dict(secret)
    message |= secret
    if app.source is not None and app.runtime == "process":
        message["tree"] = tree_key(app.source.commit, app.source.path)
    if app.fenced:
        message["fence"] = True
    if app.once:
        message["once"] = True
    if app.access != Access():
        message["access"] = asdict(app.access)
    return message | {
        "runtime": app.runtime,
        "image": app.image,
        "command": list(app.command),
        "env": {key: value for key, value in app.env if not isinstance(value, SecretRef)},
        "port": app.port,
        "cpu": app.cpu,
        "memory": app.memory,
        "volumes": [{"name": v.name, "path": v.path} for v in app.volumes],
        "health": _probe(app),
        "restart": app.restart,
        "stop_timeout": app.stop_timeout,
        "drift": app.drift,
        "user": app.user,
    }


def _probe(app: App) -> Mapping[str, Any] | None:
    if app.health is None:
        return None
    h = app.health
    return {
        "kind": h.kind, "target": h.target, "command": list(h.command), "port": h.port, "interval": h.interval,
        "timeout": h.timeout, "healthy_after": h.healthy_after, "unhealthy_after": h.unhealthy_after,
        "start_period": h.start_period,
    }  # fmt: skip
