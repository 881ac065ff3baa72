"""What must happen before an app of a source can start: its image is built, once, on one node. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from automator67.engine.apps.steps import Prior
from automator67.engine.desired import App, Node
from automator67.engine.observed import Build, NodeView
from automator67.engine.plan.model import Action

WORKS = "healthy"


def building(
    app: App, builds: Mapping[str, Build], declared: Mapping[str, Node], nodes: Mapping[str, NodeView]
) -> Prior:
    """Return how far the image of an app is. An app that is not built needs nothing."""
    if app.source is None or app.image is None or app.runtime != "docker":
        return Prior()
    build = builds.get(app.image)
    if build is not None and build.state == "done":
        return Prior()
    if build is not None and build.state == "failed":
        return Prior(failed=f"its image could not be built of commit {app.source.commit[:12]}: {build.error}")
    resource, reason = f"app/{app.name}", f"{app.source.git} {app.source.ref} is at commit {app.source.commit[:12]}"
    step = f"build:{app.image}"
    if build is not None and _can_build(build.node, declared, nodes):
        waits = f"waits for {build.node} to build the image (automator67 logs {app.name} --build -f)"
        return Prior(Action(step, "build", resource, reason, node=build.node, rev=app.rev, waits=waits), waits)
    node = _least_loaded(declared, nodes)
    if node is None:
        waits = "waits for a node with the docker runtime that can build its image"
        return Prior(Action(step, "build", resource, reason, rev=app.rev, waits=waits), waits)
    if build is not None:
        reason += f"; node {build.node}, which was to build it, is away"
    return Prior(Action(step, "build", resource, reason, node=node, rev=app.rev), "waits for its image to be built")


def _least_loaded(declared: Mapping[str, Node], nodes: Mapping[str, NodeView]) -> str | None:
    able = [name for name in nodes if _can_build(name, declared, nodes)]
    return min(able, key=lambda name: (_load(nodes[name]), name), default=None)


def _can_build(name: str, declared: Mapping[str, Node], nodes: Mapping[str, NodeView]) -> bool:
    node, view = declared.get(name), nodes.get(name)
    if node is None or view is None or view.state != WORKS or "docker" not in view.runtimes:
        return False
    return node.kind == "agent" and node.schedulable and not node.drain


def _load(view: NodeView) -> tuple[bool, float]:
    """Rank by whether memory is short, then by how much of the processors is free."""
    short = view.memory_used > 0.9 * view.memory if view.memory else False
    return short, view.cpu_used - view.cpu
