"""What a person reads of the steps for one app: a single change, its kind, its reasons, the keys that differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.observed import Revision
from automator67.engine.plan.diff import field_changes, pin_changes, secret_changes
from automator67.engine.plan.model import Action, Change, ChangeKind, FieldChange, Risk

_SHOWN = 4


def describe(app: App, copies: Sequence[Copy], actions: Sequence[Action], deployed: Revision | None) -> Change | None:
    """Return the change that ``actions`` and the new file mean for an app; None when there is none."""
    fields: tuple[FieldChange, ...] = ()
    if deployed is not None:
        fields = _fields(deployed.spec, app)
    steps = [a for a in actions if a.verb in ("start", "drain", "resume", "stop")]
    if not fields and not steps and deployed is not None:
        return None
    risk: Risk = "restarts" if any(a.risk == "restarts" for a in steps) else "safe"
    kind = _kind(app, copies, steps, deployed, fields)
    reasons = (f"{app.origin.path} is new", *_texts(pin_changes({}, app))) if kind == "create" else _texts(fields)
    if not reasons:
        reasons = tuple(dict.fromkeys(a.reason.split(";")[0] for a in steps))
    return Change(f"app/{app.name}", kind, reasons, risk, fields)


def how_changed(spec: Mapping[str, Any], app: App) -> str:
    """Return the first differences between a stored revision and an app in one line: ``image 1.4 → 1.5``."""
    return ", ".join(_texts(_fields(spec, app))[:2])


def _fields(spec: Mapping[str, Any], app: App) -> tuple[FieldChange, ...]:
    fields: tuple[FieldChange, ...] = ()
    if spec["origin"][1] != app.origin.blob:
        fields = field_changes(spec.get("document", {}), app.document)
    return fields + pin_changes(spec, app) + secret_changes(spec, app)


def _kind(
    app: App,
    copies: Sequence[Copy],
    steps: Sequence[Action],
    deployed: Revision | None,
    fields: Sequence[FieldChange],
) -> ChangeKind:
    if deployed is None and not copies:
        return "create"
    if deployed is not None and deployed.rev == app.rev and any(f.path == "replicas" for f in fields):
        return "scale"
    if fields or any(c.rev != app.rev for c in copies):
        return "update"
    moved = any(a.verb == "stop" and a.rev == app.rev for a in steps)
    return "move" if moved else "repair"


def _texts(fields: Sequence[FieldChange]) -> tuple[str, ...]:
    return tuple(
        f"{f.path} (a secret): changed" if f.secret else f"{f.path} {f.old or 'unset'} → {f.new or 'unset'}"
        for f in fields[:_SHOWN]
    )
