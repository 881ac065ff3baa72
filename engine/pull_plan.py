"""What a pull request would do: its merge against the branch, and against what is deployed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from automator67.engine.desired import App, Desired, Node, Other
from automator67.engine.observed import Observed
from automator67.engine.plan.diff import field_changes
from automator67.engine.plan.model import Action, Change, Plan
from automator67.engine.plan.planner import plan
from automator67.engine.plan.render import summary
from automator67.engine.secrets.contents import assumed
from automator67.schemas.problem import Problem


@dataclass(frozen=True, slots=True)
class Proposed:
    """What a pull request means. ``problems`` are all that are there, errors first.

    ``plan`` has only what the pull request itself brings; ``waiting`` counts the resources that the branch has still
    to change without it. ``files`` are changes of what is no app. ``policy``: it changes automator67.yaml, which of a
    fork does not count.
    """

    head: str
    base: str
    fork: bool
    problems: tuple[Problem, ...] = ()
    refused: str = ""
    plan: Plan | None = None
    files: tuple[Change, ...] = ()
    waiting: int = 0
    policy: bool = False

    @property
    def verdict(self) -> tuple[bool, str]:
        """Whether it can be merged as far as we can see, and one line that says what it would do or why not."""
        errors = [p for p in self.problems if p.severity == "error"]
        if self.plan is None:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            return False, self.refused or f"{errors[0] if errors else 'it cannot be read'}{more}"
        files = f"{len(self.files)} other files changed" if self.files else ""
        done = summary(self.plan)
        return True, ", ".join(filter(None, [done if files == "" or done != "nothing to do" else "", files]))


def proposed(
    base: Desired | None, wanted: Desired, observed: Observed, now: float, *, fork: bool, problems: tuple[Problem, ...]
) -> Proposed:
    """Return what ``wanted``, the merge, would do. ``base`` is the branch, None when it cannot be read.

    A fork is planned with the branch's settings: what a stranger writes does not loosen what he is judged by.
    """
    head = wanted.commit
    before = base or Desired("")
    policy = before.settings.document != wanted.settings.document
    if fork and base is not None:
        wanted = replace(wanted, settings=base.settings)
    apps = {name: assumed(app, observed.deployed.get(name)) for name, app in wanted.apps.items()}
    whole = plan(replace(wanted, apps=apps), observed, now)
    mine = _touched(before, wanted)
    files = _files(before, wanted, policy)
    # Nodes that come, go or change may move any app.
    own = whole if any(c.resource.startswith("node/") for c in files) else _only(whole, mine)
    return Proposed(
        head, before.commit, fork, problems, "", own, files, len(whole.changes) - len(own.changes), policy
    )  # fmt: skip


def _touched(base: Desired, wanted: Desired) -> frozenset[str]:
    names = {*base.apps, *wanted.apps}
    return frozenset(f"app/{n}" for n in names if _as_asked(base.apps.get(n)) != _as_asked(wanted.apps.get(n)))


def _as_asked(app: App | None) -> tuple[object, ...] | None:
    return None if app is None else (app.origin.blob, app.rev, app.blocked)


def _only(whole: Plan, mine: frozenset[str]) -> Plan:
    def ours(action: Action) -> bool:
        return action.resource in mine

    return Plan(
        whole.commit,
        tuple(c for c in whole.changes if c.resource in mine),
        tuple(filter(ours, whole.actions)),
        tuple(b for b in whole.blocked if b.resource in mine),
        whole.warnings,
        whole.unchanged,
        notes={resource: note for resource, note in whole.notes.items() if resource in mine},
    )


def _files(base: Desired, wanted: Desired, policy: bool) -> tuple[Change, ...]:
    old, new = _documents(base), _documents(wanted)
    found = []
    for name in sorted({*old, *new}):
        if name in old and name in new and old[name].document == new[name].document:
            continue
        if name not in old:
            found.append(Change(name, "create", (f"{new[name].origin.path} is new",)))
        elif name not in new:
            found.append(Change(name, "delete", (f"{old[name].origin.path} is gone",)))
        else:
            found.append(Change(name, "update", (), "safe", field_changes(old[name].document, new[name].document)))
    if policy:
        found.append(Change("automator67.yaml", "update", ("the settings of the whole cloud change",)))
    return tuple(found)


def _documents(desired: Desired) -> Mapping[str, Node | Other]:
    nodes: dict[str, Node | Other] = {f"node/{name}": node for name, node in desired.nodes.items()}
    return nodes | {f"{other.kind}/{other.name}": other for other in desired.others}
