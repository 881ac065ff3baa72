"""The comment below a pull request: what it would do, as Markdown that nobody can break out of. Pure.

All that comes from files is set as code with every sign but letters and digits as a character reference (CommonMark
6.2), so that it can be no markup, link, mention or end of a table's cell, in whatever way a forge extends Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator

from automator67.engine.plan.model import Action, Change, Plan
from automator67.engine.plan.render import told
from automator67.engine.pull_plan import Proposed

MAX_BYTES = 65_000
"""GitHub takes 65,536 characters; bytes are never fewer, and some room is left."""
_LONGEST = 300
_CUT = "\n\n_Cut here: the forge takes no more. `automator67 plan` shows all of it._\n"


def marker(cloud: str) -> str:
    """Return how our comment begins. ``cloud`` is the cloud's name, which the schemas keep to letters and hyphens."""
    return f"<!-- automator67:plan:{cloud} -->"


def comment(cloud: str, found: Proposed) -> str:
    """Return the whole comment."""
    good, verdict = found.verdict
    head = [marker(cloud), f"### {'Plan' if good else 'No plan'}: {code(verdict)}", ""]
    if found.fork:
        head += ["From a fork: planned with the settings of the branch it is for, without any secret.", ""]
        if found.policy:
            head += ["**It changes `automator67.yaml`: those changes did not count for this plan.**", ""]
    return _fitted(head, [*_problems(found), *(_plan(found.plan, found) if found.plan else ())])


def closed(cloud: str) -> str:
    """Return what stays of the comment when the pull request is no longer open."""
    return f"{marker(cloud)}\nThis pull request is closed; the plan that stood here is done with.\n"


def code(text: str) -> str:
    """Return any text as one line of code, whatever is in it."""
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"<code>{''.join(map(_safe, shown))}</code>" if shown else ""


def _safe(c: str) -> str:
    if c == " " or (c.isalnum() and c.isprintable()):
        return c
    return f"&#{ord(c)};" if c.isprintable() else f"&#92;u{ord(c):04x}"


def _problems(found: Proposed) -> Iterator[str]:
    if found.problems:
        yield "\n| where | what |\n| --- | --- |"
    for p in found.problems:
        text = f"{p.path}: {p.message}" if p.path else p.message
        yield f"| {code(f'{p.file}:{p.line}:{p.column}')} | {code(text + (f'; {p.hint}' if p.hint else ''))} |"


def _plan(plan: Plan, found: Proposed) -> Iterator[str]:
    changes = [*plan.changes, *found.files]
    if changes:
        yield "\n| resource | what | risk | why | where |\n| --- | --- | --- | --- | --- |"
    for change in changes:
        yield _row(change, [a for a in plan.actions if a.resource == change.resource])
    for blocked in plan.blocked:
        yield f"\n**Blocked** {code(blocked.resource)}: {code(blocked.reason)}"
    for warning in plan.warnings:
        yield f"\n**Note**: {code(warning)}"
    for resource, note in sorted(plan.notes.items()):
        yield f"\n**Note** {code(resource)}: {code(note)}"
    steps = [a for a in plan.actions if a.verb != "keep"]
    if steps:
        yield f"\n**Steps** ({len(steps)})\n"
        for n, a in enumerate(steps, start=1):
            yield f"{n}. {code(told(a))}{' — ' + code(a.waits) if a.waits else ''}"
    if found.waiting:
        yield f"\nNot from here: {found.waiting} resources that the branch is still to change by itself."


def _row(change: Change, actions: list[Action]) -> str:
    shown = [
        f"{f.path}: changed" if f.secret else f"{f.path}: {f.old or 'unset'} → {f.new or 'unset'}"
        for f in change.fields
    ]
    why = " <br> ".join(map(code, shown[:8] or change.reasons[:8]))
    if len(shown) > 8:
        why += f" <br> and {len(shown) - 8} more"
    risk = "safe" if change.risk == "safe" else f"**{change.risk}**"
    return f"| {code(change.resource)} | {change.kind} | {risk} | {why} | {code(_where(actions))} |"


def _where(actions: list[Action]) -> str:
    """Return where copies start and stop: ``+hel1 +nbg1 -fsn1``."""
    starts = [f"+{a.node}" for a in actions if a.verb == "start" and a.node]
    return " ".join([*starts, *(f"-{a.node}" for a in actions if a.verb == "stop" and a.node)])


def _fitted(head: list[str], lines: list[str]) -> str:
    """Return head and whole lines, as many as the forge takes: never the half of a line or of a reference."""
    text = "\n".join(head)
    room = MAX_BYTES - len(text.encode()) - len(_CUT)
    for n, line in enumerate(lines):
        room -= len(line.encode()) + 1
        if room < 0:
            return "\n".join([text, *lines[:n]]) + _CUT
    return "\n".join([text, *lines]) + "\n"
