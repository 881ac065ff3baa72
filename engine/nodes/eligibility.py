"""Which nodes come into question at all: for any app, and for one app by what both declare. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from automator67.engine.capabilities import CAPABILITIES, unfit
from automator67.engine.desired import App, Node
from automator67.engine.observed import NodeView
from automator67.engine.quotas import used_up
from automator67.schemas.messages.policy import Demands, Policy, refusal

DISK_FULL = 0.9


def closed(node: Node, view: NodeView) -> str:
    """Return why nothing new can be placed on a node, whatever the app, or nothing."""
    if node.kind not in CAPABILITIES:
        return f"kind {node.kind} cannot be placed on by this version"
    if node.drain:
        return "drain: true"
    if not node.schedulable:
        return "schedulable: false"
    if node.window is not None:
        return node.window.text
    if view.state == "never":
        if node.kind == "agent":
            return "no agent has joined as this node yet"
        return view.reason or "it has not been looked at yet"
    if view.state != "healthy":
        return f"the node is {view.state}"
    if not view.reported:
        return "the node has not reported since the engine started"
    if why := used_up(view.quotas):
        return why
    if view.disk and view.disk_used > DISK_FULL * view.disk:
        return f"its disk is {view.disk_used / view.disk:.0%} full"
    return ""


def misplaced(app: App, node: Node | None, name: str) -> str:
    """Return why an instance of the app that runs on a node may not stay there, or nothing."""
    if node is None:
        return f"node {name} is no longer declared"
    if why := unfit(node.kind, app):
        return f"node {name}: {why}"
    if node.drain:
        return f"node {name} is drained"
    if node.window is not None and node.window.drain:
        return f"node {name} is drained: {node.window.text}"
    return label_mismatch(app, node, labels_of(node))


def remark(node: Node, copies: int) -> str:
    """Return what there is to say of a node that is well but does not take part as usual, or nothing.

    ``copies``: how many of ours are still there.
    """
    said = [node.window.text] if node.window is not None else []
    if node.leaving:
        left = f"{copies} {'copy is' if copies == 1 else 'copies are'} still here"
        said.append(f"draining: {left}" if copies else "drained: nothing of ours runs here")
    elif not node.schedulable:
        said.append("cordoned: schedulable: false")
    return "; ".join(said)


def access_refused(app: App, policy: Policy) -> str:
    """Return which of the app's demands on its node the node's owner does not allow, or nothing."""
    a = app.access
    mounts = tuple((m.host, m.read_only) for m in a.mounts)
    return refusal(Demands(a.privileged, a.host_network, mounts, a.capabilities, a.devices), policy)


def label_mismatch(app: App, node: Node, labels: Mapping[str, str]) -> str:
    """Return which of the app's demands on labels the node does not meet, or nothing."""
    if node.name in app.place.avoid:
        return f"place.avoid names node {node.name}"
    for key, value in app.place.require:
        if labels.get(key) != value:
            return f"node {node.name} has no label {key}: {value}"
    return ""


def labels_of(node: Node) -> dict[str, str]:
    """Return all labels of a node; node, region and provider are labels every node has."""
    return dict(node.labels) | {"node": node.name, "region": node.region, "provider": node.provider}
