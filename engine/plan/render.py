"""A plan as text for people and as plain data for programs. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from automator67.engine.plan.model import Action, Change, Plan

_SIGN = {"create": "+", "delete": "-", "adopt": "=", "none": " "}
_PAST = {
    "create": "created", "update": "updated", "scale": "scaled", "move": "moved", "repair": "repaired",
    "adopt": "adopted", "delete": "deleted",
}  # fmt: skip


def summary(plan: Plan) -> str:
    """Return one stable line: ``1 to create, 2 to update, 1 blocked``."""
    counts = Counter[str](c.kind for c in plan.changes)
    parts = [f"{counts[kind]} to {kind}" for kind in _PAST if counts[kind]]
    if plan.blocked:
        parts.append(f"{len({b.resource for b in plan.blocked})} blocked")
    return ", ".join(parts) or "nothing to do"


def past(text: str) -> str:
    """Return a summary as it reads when it has happened: ``1 to create`` becomes ``1 created``."""
    words = text.split(", ")
    done = [f"{w.split(' to ')[0]} {_PAST[w.split(' to ')[1]]}" if " to " in w and w != "nothing to do" else w
            for w in words]  # fmt: skip
    return ", ".join(done) if text != "nothing to do" else "nothing to change"


def told(action: Action) -> str:
    """Return one line that says what a step does, where and why: ``start blog-0-… on hel1: image 1.4 → 1.5``."""
    where = f" on {action.node}" if action.node else ""
    return f"{action.verb} {action.instance or action.resource}{where}: {action.reason}"


def as_text(plan: Plan) -> str:
    """Return the plan as a person reads it in a terminal: one block per changed resource, then what waits."""
    lines = [line for change in plan.changes for line in _change(change)]
    steps = [a for a in plan.actions if a.verb not in ("keep",)]
    if steps:
        lines += ["", "steps:"]
        for n, a in enumerate(steps, start=1):
            lines.append(f"  {n}. {told(a)}")
            if a.waits:
                lines.append(f"     {a.waits}")
    lines += [f"! {b.resource}: {b.reason}" for b in plan.blocked]
    lines += [f"i {resource}: {note}" for resource, note in sorted(plan.notes.items())]
    lines += [f"! {text}" for text in plan.warnings]
    tail = f"{summary(plan)}; {plan.unchanged} unchanged"
    return "\n".join([*lines, "", tail] if lines else [tail])


def as_data(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON data: the fields of ``engine/plan/model.py`` and a summary."""
    return {
        "commit": plan.commit,
        "summary": summary(plan),
        "changes": [asdict(c) for c in plan.changes],
        "actions": [asdict(a) | {"ready": a.ready} for a in plan.actions],
        "blocked": [asdict(b) for b in plan.blocked],
        "warnings": list(plan.warnings),
        "notes": dict(plan.notes),
        "unchanged": plan.unchanged,
    }


def _change(change: Change) -> list[str]:
    risk = "" if change.risk == "safe" else f"  [{change.risk}]"
    lines = [f"{_SIGN.get(change.kind, '~')} {change.resource}  {change.kind}{risk}"]
    lines += [f"    {reason}" for reason in change.reasons if " → " not in reason]
    for f in change.fields:
        if f.secret:
            lines.append(f"    {f.path} (a secret): changed")
        elif f.old and f.new:
            lines.append(f"    {f.path}: {f.old} → {f.new}")
        else:
            lines.append(f"    {f.path}: {'+ ' + f.new if f.new else '- ' + f.old}")
    return lines
