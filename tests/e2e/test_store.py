"""The store on SQLite and on a real PostgreSQL: the same suite over both."""

from __future__ import annotations

import importlib
import pkgutil
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select

import automator67.engine.store
from automator67.engine.apps.revisions import from_spec, to_spec
from automator67.engine.desired import Place, Probe, SecretRef, Volume
from automator67.engine.judge import AppState
from automator67.engine.observed import Assignment, Hold
from automator67.engine.plan.model import Action
from automator67.engine.store import commits, facts, intents
from automator67.engine.store.database import Store, StoreReadOnly, StoreUnavailable, open_store
from automator67.engine.store.tables import actions, meta, metadata
from tests.support.stores import postgres_server, store_url  # noqa: F401
from tests.support.world import app


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:  # noqa: F811
    with open_store(store_url) as opened:
        yield opened


def test_migrations_give_exactly_the_declared_tables(store: Store) -> None:
    for module in pkgutil.iter_modules(automator67.engine.store.__path__):
        if module.name.endswith("tables"):
            importlib.import_module(f"automator67.engine.store.{module.name}")
    with store.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []


def test_a_reader_cannot_write_even_with_plain_sql(store_url: str) -> None:  # noqa: F811
    open_store(store_url).close()
    with open_store(store_url, readonly=True) as reader:
        with pytest.raises(StoreReadOnly), reader.read() as tx:
            tx.execute(insert(meta).values(key="k", value="v"))
        with pytest.raises(StoreReadOnly), reader.begin():
            pass


def test_opening_again_keeps_what_is_there(store_url: str) -> None:  # noqa: F811
    first = open_store(store_url)
    with first.begin() as tx:
        facts.set_fact(tx, "head", "abc")
    first.close()
    with open_store(store_url) as again, again.read() as tx:
        assert facts.fact(tx, "head") == "abc"


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    def broken() -> None:
        with store.begin() as tx:
            facts.set_fact(tx, "head", "abc")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    with store.read() as tx:
        assert facts.fact(tx, "head") == ""


def test_writers_wait_for_each_other(store: Store) -> None:
    def add() -> None:
        for _ in range(20):
            with store.begin() as tx:
                facts.set_fact(tx, "n", str(int(facts.fact(tx, "n", "0")) + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    with store.read() as tx:
        assert facts.fact(tx, "n") == "80"


def test_intents_round_trip(store: Store) -> None:
    a = Assignment("blog-0-r", "blog", 0, "r", "n0", 1, "run", 5.0, "c1")
    h = Hold("blog", "r", "blob", "c1", "exit code 1", 6.0)
    with store.begin() as tx:
        intents.assign(tx, a)
        intents.assign(tx, replace(a, epoch=2))
        intents.hold(tx, h)
        intents.hold(tx, h)
        intents.ask_revision(tx, "blog", "r", "c1", to_spec(app(rev="r")), 1.0)
        intents.ask_revision(tx, "blog", "s", "c2", to_spec(app(rev="s")), 2.0)
        intents.mark_healthy(tx, "blog", "r", 3.0)
        intents.confirm(tx, "c1", 1.0)
        intents.confirm(tx, "c1", 1.0)
        intents.record_actions(tx, "c1", [Action("x", "start", "app/blog", "new", instance="blog-0-r", node="n0")], 1.0)
        intents.record_actions(tx, "c1", [Action("y", "hold", "app/blog", "bad")], 1.0)
    with store.read() as tx:
        i = intents.load_intents(tx)
    assert i.assignments == (replace(a, epoch=2),)
    assert i.holds == {"blog": h}
    assert i.deployed["blog"].rev == "s"
    assert i.last_good["blog"].rev == "r"
    assert i.confirmed == {"c1"}
    assert [(o.verb, o.instance) for o in i.open_actions] == [("start", "blog-0-r")]
    with store.begin() as tx:
        intents.unassign(tx, "blog-0-r", "n0")
        intents.close_action(tx, i.open_actions[0].seq, "done", 9.0)
        intents.release(tx, "blog")
    with store.read() as tx:
        i = intents.load_intents(tx)
        assert tx.scalars(select(actions.c.state).order_by(actions.c.seq)).all() == ["done", "done"]
    assert i.assignments[0].want == "stop"
    assert not i.open_actions
    assert not i.holds
    with store.begin() as tx:
        intents.forget_assignment(tx, "blog-0-r", "n0")
        intents.forget_app(tx, "blog")
    with store.read() as tx:
        i = intents.load_intents(tx)
    assert not i.assignments
    assert not i.deployed


def test_old_revisions_are_dropped_but_never_those_in_use(store: Store) -> None:
    with store.begin() as tx:
        for n in range(30):
            intents.ask_revision(tx, "blog", f"r{n}", "c", to_spec(app(rev=f"r{n}")), float(n + 1))
        intents.assign(tx, Assignment("blog-0-r3", "blog", 0, "r3", "n0", 1, "run", 5.0, "c1"))
        intents.mark_healthy(tx, "blog", "r29", 40.0)
    with store.read() as tx:
        kept = set(intents.load_intents(tx).specs)
    assert kept == {("blog", "r3"), *(("blog", f"r{n}") for n in range(20, 30))}


def test_a_stored_spec_gives_the_same_app_back() -> None:
    full = app(
        env=(("A", "b"), ("S", SecretRef("s"))), health=Probe("http", "/x", interval=1.0), volumes=(Volume("d", "/d"),),
        place=Place("provider", (("region", "eu"),), (), ("n1",)), depends_on=("db",), command=("a", "b"), port=80,
    )  # fmt: skip
    assert from_spec(to_spec(full)) == full


def test_commits_supersede_each_other(store: Store) -> None:
    with store.begin() as tx:
        commits.see_commit(tx, "a" * 40, "Ana", "one", 1.0, 2.0)
        commits.see_commit(tx, "b" * 40, "Ana", "two", 1.0, 3.0)
        commits.set_commit(tx, "b" * 40, "applied", "1 created", 4.0, plan={"summary": "1 to create"})
    with store.read() as tx:
        newest, older = commits.recent_commits(tx)
        assert (newest.state, newest.plan["summary"], newest.finished_at) == ("applied", "1 to create", 4.0)
        assert (older.state, older.summary) == ("superseded", "a newer commit took over")
        assert commits.find_commit(tx, "aaaa") == older
        assert commits.find_commit(tx, "%") is None
    with store.begin() as tx:
        commits.see_commit(tx, "a" * 40, "Ana", "one", 1.0, 5.0)
    with store.read() as tx:
        assert [c.id[0] for c in commits.recent_commits(tx)] == ["a", "b"], "a forced push back makes it the newest"


def test_app_states_write_only_what_differs(store: Store) -> None:
    one = AppState("blog", "synced", "healthy", "none", instances=({"id": "blog-0"},))
    with store.begin() as tx:
        facts.set_app_states(tx, {}, {"blog": one, "db": replace(one, app="db")}, 1.0)
    with store.read() as tx:
        before = facts.app_state_rows(tx)
    assert before["blog"] == one
    with store.begin() as tx:
        facts.set_app_states(tx, before, {"blog": replace(one, health="missing")}, 2.0)
    with store.read() as tx:
        assert [s.health for s in facts.app_state_rows(tx).values()] == ["missing"]


def test_the_log_of_events_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "MAX_EVENTS", 10)
    with store.begin() as tx:
        for n in range(25):
            facts.add_events(tx, [(float(n), "start", "app/blog", f"event {n}", "")])
    with store.read() as tx:
        from automator67.engine.store.tables import events

        assert len(tx.execute(select(events)).all()) == 10


def test_a_locked_store_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automator67.engine.store.database.BUSY_SECONDS", 0.2)
    store = open_store(tmp_path / "store.db")
    with store.begin() as tx:
        facts.set_fact(tx, "head", "a")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"), store.begin():
        pass
    other.execute("ROLLBACK")
    other.close()
    with store.begin() as tx:
        facts.set_fact(tx, "head", "abc")
    store.close()


def test_no_store_yet_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="start the engine first"):
        open_store(tmp_path / "none.db", readonly=True)
