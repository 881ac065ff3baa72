"""The plans of statements seen before, found by their text or by a template of it; bounded, forgotten after DDL."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plan.model import Concatenated, Fan, Gathered, OneShard, Plan, Refused, Rows
from automator67.engine.shards.plan.planner import plan_statement
from automator67.engine.shards.plan.statements import Statement, Unreadable, split
from automator67.engine.shards.plan.templates import HEAD, template_of, values_in
from automator67.engine.shards.wire import messages as m

MAX_PLANS = 2000
MAX_TEXT_BYTES = 4 << 20
"""The texts of all plans together."""
MAX_CACHED_TEXT = 16 * 1024
"""Longer texts are planned each time: they are hardly ever seen twice."""

Path = tuple[str, ...]


@dataclass(slots=True)
class Described:
    """What PostgreSQL says of a statement: the types of its parameters, its columns (None: it returns no rows)."""

    parameters: tuple[int, ...]
    fields: list[m.Field] | None


@dataclass(slots=True)
class Planned:
    """A statement that was looked at: its plan, or why there is none; what PostgreSQL says of it, once asked.

    ``epoch`` is that of the catalog it was planned by; ``spent`` the seconds that all its executions took.
    """

    statement: Statement
    plan: Plan | Refused | Unreadable
    described: dict[tuple[int, ...], Described] = field(default_factory=dict)
    epoch: int = 0
    uses: int = 0
    spent: float = 0.0
    longest: float = 0.0
    microseconds: float = 0.0

    def took(self, seconds: float) -> None:
        """Count an execution."""
        self.uses += 1
        self.spent += seconds
        self.longest = max(self.longest, seconds)


@dataclass(frozen=True, slots=True)
class Known:
    """A planned statement, and the values of a text that is one of its kind."""

    planned: Planned
    values: tuple[str, ...] = ()


@dataclass(slots=True)
class _Kind:
    """Texts of one template; without a plan they are planned one by one."""

    pattern: re.Pattern[str]
    planned: Planned | None


class Plans:
    """Plans by text and search path."""

    def __init__(self, catalog: Catalog) -> None:
        self.epoch = 0
        self.catalog = catalog
        self._plans: OrderedDict[tuple[str, Path], Planned] = OrderedDict()
        self._kinds: dict[tuple[str, Path], list[_Kind]] = {}
        self._paths: dict[Path, Path] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._plans)

    def all(self) -> list[Planned]:
        """Return all plans, those used last at the end."""
        return list(self._plans.values())

    def renew(self, catalog: Catalog) -> None:
        """Forget every plan: tables have changed."""
        self.epoch += 1
        self.catalog = catalog
        self._forget()
        self._paths.clear()

    def _forget(self) -> None:
        self._plans.clear()
        self._kinds.clear()
        self._bytes = 0

    def fresh(self, planned: Planned) -> bool:
        """Whether a plan was made by what is known now."""
        return planned.epoch == self.epoch

    def known(self, text: str, path: Path) -> Known | None:
        """Return the plan of a text that is one statement, where it or one of its kind was seen before."""
        real = self._paths.get(path)
        if real is None:
            return None
        for kind in self._kinds.get((text[:HEAD], real), ()):
            values = values_in(kind.pattern, text)
            if values is not None:
                return Known(kind.planned, values) if kind.planned else self._exactly(text, real)
        return self._exactly(text, real)

    def _exactly(self, text: str, path: Path) -> Known | None:
        found = self._plans.get((text, path))
        return Known(found) if found is not None else None

    def _real(self, path: Path) -> Path:
        found = self._paths.get(path)
        if found is None:
            found = self._paths[path] = tuple(schema for schema in path if schema in self.catalog.schemas)
        return found

    def planned(self, statement: Statement, path: Path) -> Planned:
        """Return the plan of a statement as it is written, with names looked for along ``path``."""
        path = self._real(path)
        key = (statement.text, path)
        found = self._plans.get(key)
        if found is None:
            found = self._plan(statement, path)
            self._keep(key, found)
        else:
            self._plans.move_to_end(key)
        return found

    def learned(self, statement: Statement, path: Path) -> Known:
        """Return the plan of a statement's kind; where there is none, of the statement itself."""
        known = self.known(statement.text, path)
        if known is not None:
            return known
        path = self._real(path)
        template = template_of(statement.text) if statement.kind in ("select", "write") else None
        if template is not None:
            key = (template.head, path)
            kinds = self._kinds.setdefault(key, [])
            if not any(kind.pattern == template.pattern for kind in kinds):
                planned = self._plan(split(template.text)[0], path)
                same = isinstance(planned.plan, Plan) and _same_for_all_values(planned.plan)
                kinds.append(_Kind(template.pattern, planned if same else None))
                self._keep((template.text, path), planned)
                if same:
                    return Known(planned, template.values)
        return Known(self.planned(statement, path))

    def _plan(self, statement: Statement, path: Path) -> Planned:
        started = time.perf_counter()
        try:
            plan: Plan | Refused | Unreadable = plan_statement(statement, self.catalog, path)
        except (Refused, Unreadable) as reason:
            plan = reason
        return Planned(statement, plan, epoch=self.epoch, microseconds=(time.perf_counter() - started) * 1e6)

    def _keep(self, key: tuple[str, Path], planned: Planned) -> None:
        if len(key[0]) > MAX_CACHED_TEXT:
            return
        self._plans[key] = planned
        self._bytes += len(key[0])
        if self._bytes > MAX_TEXT_BYTES or len(self._kinds) > MAX_PLANS:
            self._forget()
        while len(self._plans) > MAX_PLANS:
            (text, path), _ = self._plans.popitem(last=False)
            self._bytes -= len(text)
            self._kinds.pop((text[:HEAD], path), None)


def _same_for_all_values(plan: Plan) -> bool:
    """Whether nothing of the text but its values' places went into a plan."""
    match plan:
        case OneShard():
            return plan.otherwise is None or _same_for_all_values(plan.otherwise)
        case Gathered():
            return plan.final is None
        case Rows():
            return len(plan.rows) == 1
        case Concatenated() | Fan():
            return True
