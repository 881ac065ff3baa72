"""What a plan says of backups that the commit asks for and that cannot be made. Pure."""

from __future__ import annotations

from automator67.engine.backups.schedule import targets, trouble
from automator67.engine.plan.found import Pass
from automator67.engine.plan.model import Blocked


def backup_troubles(p: Pass) -> list[Blocked]:
    """Return for each app with a volume that cannot be backed up why that is, once for each reason."""
    homes = {(c.app, c.slot): c.node for mine in p.copies.values() for c in mine} | dict(p.observed.volumes.homes)
    found: dict[Blocked, None] = {}
    for target in targets(p.desired.apps.values(), homes):
        why = trouble(target, p.desired.nodes.get(target.node), p.observed.nodes.get(target.node))
        if why:
            found[Blocked(f"app/{target.volume.app}", why)] = None
    return list(found)
