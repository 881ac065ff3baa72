"""Which copies at providers take the requests of which public names now, for a router that has no gateway. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automator67.engine.apps.routes import Traffic, reach
from automator67.engine.copies import Copy
from automator67.engine.desired import App, Desired
from automator67.engine.names.worker import FarSite
from automator67.engine.observed import NodeView


def far_sites(
    desired: Desired, views: Mapping[str, NodeView], copies: Mapping[str, Sequence[Copy]], traffic: Traffic
) -> tuple[FarSite, ...]:
    """Return all public names, each with the copies that answer at a URL of their own."""
    found = []
    for app in desired.apps.values():
        if app.port is None or not app.sites:
            continue
        awake, asleep = _origins(app, desired, views, copies, traffic)
        closed = bool(app.allow or app.basic)
        found += [FarSite(s.host, s.path, s.redirect, closed, awake, asleep) for s in app.sites]
    return tuple(sorted(found))


def _origins(
    app: App,
    desired: Desired,
    views: Mapping[str, NodeView],
    copies: Mapping[str, Sequence[Copy]],
    traffic: Traffic,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    awake, asleep = set[str](), set[str]()
    for share in traffic(app, copies.get(app.name, ())):
        view, node = views.get(share.node), desired.nodes.get(share.node)
        address = next((i.address for i in view.instances if i.id == share.instance), "") if view else ""
        how = reach(address, node) if node is not None else {}
        if "remote" in how:
            (asleep if how["standby"] else awake).add(how["remote"])
    return tuple(sorted(awake)), tuple(sorted(asleep))
