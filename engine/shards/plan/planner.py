"""Plans any statement. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plan.ddl import plan_ddl
from automator67.engine.shards.plan.model import OneShard, Plan, Refused
from automator67.engine.shards.plan.select import plan_select
from automator67.engine.shards.plan.statements import Statement, Unreadable, parse
from automator67.engine.shards.plan.writes import plan_write


def plan_statement(statement: Statement, catalog: Catalog, path: Sequence[str]) -> Plan:
    """Return how a statement is answered. Raises Refused, or Unreadable where PostgreSQL should say what it thinks."""
    if statement.kind in ("ddl", "truncate"):
        return plan_ddl(statement, catalog, path)
    if statement.kind == "session":
        word = statement.word(0)
        if word in ("DECLARE", "FETCH", "MOVE", "CLOSE", "LISTEN", "NOTIFY", "UNLISTEN", "LOCK", "CALL", "DO"):
            raise Refused(f"{word} cannot be used through the router")
        raise Unreadable("the router does not know this form")
    if statement.kind == "set":
        return OneShard("it is about the session", fixed=catalog.layout.default, writes=False)
    tree = parse(statement)
    if statement.kind == "write":
        return plan_write(statement, tree, catalog, path)
    if any(tree.find_all(exp.Insert, exp.Update, exp.Delete, exp.Merge)):
        raise Refused("a WITH query that changes rows cannot be used through the router", "Send it by itself.")
    if tree.args.get("into"):
        raise Refused("SELECT INTO cannot be used through the router", "Create the table first, then INSERT.")
    return plan_select(statement, tree, catalog, path)
