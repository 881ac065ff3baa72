"""How a statement is answered: plans, each with the reasons why its answer is right. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from automator67.engine.shards.plan.conditions import Condition


class Refused(Exception):
    """A statement that the router does not answer, since it could not prove the answer right (or knows it wrong)."""

    def __init__(self, reason: str, hint: str = "", code: str = "0A000") -> None:
        self.reason = reason
        self.hint = hint
        self.code = code
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class OneShard:
    """The statement as it is, on one shard. ``candidates`` name the same one, or the next plan counts.

    Without candidates it is the shard ``fixed``. ``writes`` says that it may change something there.
    """

    reason: str
    candidates: tuple[Condition, ...] = ()
    fixed: int | None = None
    writes: bool = True
    otherwise: Plan | None = None


@dataclass(frozen=True, slots=True)
class SortKey:
    """Rows are sorted by the output column at ``column``."""

    column: int
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class Concatenated:
    """The statement as it is, on several shards; rows one after another, or merged by ``order``; ``limit`` of them."""

    reason: str
    where: Condition
    order: tuple[SortKey, ...] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Fragment:
    """Rows that are brought to one shard, into a temporary table there.

    ``select`` runs on each shard that ``where`` lets through.
    """

    name: str
    select: str
    where: Condition
    primary: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gathered:
    """``final`` runs on the default shard, over temporary tables filled by the fragments.

    ``tier`` tells a merge of partial results from a join of pulled rows. None as ``final`` is the text as written.
    """

    tier: str
    reason: str
    fragments: tuple[Fragment, ...]
    final: str | None = None


@dataclass(frozen=True, slots=True)
class Fan:
    """The same statement on every shard that ``where`` lets through; row counts add up, unless it is a ``copy``."""

    reason: str
    where: Condition
    copy: bool = False
    ddl: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """An INSERT of several rows, each to its own shard. ``head`` and ``tail`` frame the rows of one shard."""

    reason: str
    head: str
    rows: tuple[str, ...]
    tail: str
    where: tuple[Condition, ...] = field(default_factory=tuple)


Plan = OneShard | Concatenated | Gathered | Fan | Rows


def tier_of(plan: Plan) -> str:
    """Return the tier of a plan, as people read it."""
    match plan:
        case OneShard():
            return "one shard"
        case Concatenated():
            return "merged" if plan.order else "concatenated"
        case Gathered():
            return plan.tier
        case Fan():
            return "every copy" if plan.copy else "every shard"
        case Rows():
            return "split by row"
