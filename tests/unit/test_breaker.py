"""Breakers before providers and forges: what goes out, what is said, what is written down."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from automator67.engine.alerts.targets import SendFailed
from automator67.engine.apis.client import ApiError, Client, Paused, Provider
from automator67.engine.breaker import Breaker, BreakerOpen, Breakers
from automator67.engine.chronicle import Chronicle, Judged
from automator67.engine.circuit import Policy, Standing, most_calls
from automator67.engine.cli.status import command as status
from automator67.engine.forges.github import GitHub
from automator67.engine.forges.notes import NotesReporter
from automator67.engine.forges.statuses import Due, Status
from automator67.engine.herald import Herald
from automator67.engine.remote_errors import RemoteUnreachable
from automator67.engine.shards.layout import Shard
from automator67.engine.shards.pool import POLICY, Pool
from automator67.engine.shards.wire.address import read_url
from automator67.engine.shards.wire.backend import ShardError
from automator67.engine.standing_files import StandingFile
from automator67.engine.store.alerts import enqueue, waiting
from automator67.engine.store.breakers import standings
from automator67.engine.store.database import Store, open_store
from automator67.engine.store.tables import events

START = 1_700_000_000.0


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def breaker(clock: Clock, policy: Policy = Policy()) -> Breaker:  # noqa: B008
    return Breaker("node far", policy, clock=clock, chance=lambda: 1.0)


def test_a_provider_that_answers_500_for_an_hour_gets_only_the_probes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automator67.engine.apis.client.PAUSES", (0.0, 0.0))
    calls, well = list[float](), False

    def answer(_: httpx.Request) -> httpx.Response:
        calls.append(clock.now - START)
        return httpx.Response(200, json=["here"]) if well else httpx.Response(500, json={"message": "oh no"})

    before = breaker(clock)
    client = Client(
        Provider("Far", "https://api.example.org"), dict, transport=httpx.MockTransport(answer), breaker=before
    )
    refused = 0
    for _ in range(3600):
        with pytest.raises(ApiError) as raised:
            client.get("/services")
        refused += isinstance(raised.value, Paused)
        clock.now += 1
    assert 10 <= len(calls) <= most_calls(Policy(), 3600)
    assert refused > 3500
    assert "node far is left alone until " in str(raised.value)
    assert "(Far is in trouble: oh no)" in str(raised.value)
    assert 0 < (raised.value.retry_after or 0) <= 300
    well = True
    clock.now += 300
    assert client.get("/services") == ["here"]
    assert client.get("/services") == ["here"]
    assert before.standing("node/far").phase == "closed"


def test_what_a_provider_refuses_it_has_answered(clock: Clock) -> None:
    before = breaker(clock)
    transport = httpx.MockTransport(lambda _: httpx.Response(401, json={"message": "who are you"}))
    client = Client(Provider("Far", "https://api.example.org"), dict, transport=transport, breaker=before)
    for _ in range(20):
        with pytest.raises(ApiError, match="does not let us in"):
            client.get("/services")
    assert before.standing("node/far").phase == "closed"


def test_a_call_that_is_cancelled_says_nothing_about_the_other_side(clock: Clock) -> None:
    before = breaker(clock, Policy(failures=1, first=10))
    with pytest.raises(OSError, match="x"), before.call(lambda _: True):
        raise OSError("x")
    clock.now += 10
    with pytest.raises(asyncio.CancelledError), before.call(lambda _: True):
        raise asyncio.CancelledError
    with before.call(lambda _: True), pytest.raises(BreakerOpen, match="is being tried"), before.call(lambda _: True):
        pass
    assert before.standing("far") == Standing("far", "closed", refused=1)


def test_a_forge_that_fails_is_left_alone_for_statuses(clock: Clock) -> None:
    asked = 0

    def down(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(502)

    github = GitHub("ana", "cloud", lambda: "ghp_x", breaker=breaker(clock))
    github._client = httpx.Client(transport=httpx.MockTransport(down))
    batch = [Due("a" * 40, Status(f"automator67/{n}", "success", "fine")) for n in range(12)]
    told = [failure for _, failure in github.post(batch)]
    assert asked == Policy().failures
    assert [f.retry_after is not None for f in told if f] == [False] * 5 + [True] * 7
    assert "node far is left alone until" in str(told[-1])


def test_a_remote_that_cannot_be_reached_is_left_alone_for_notes(clock: Clock) -> None:
    class Gone:
        edits = 0

        def edit(self, edits: object) -> None:
            self.edits += 1
            raise RemoteUnreachable("no route to host")

    notes = Gone()
    reporter = NotesReporter(notes, breaker(clock))
    batch = [Due("a" * 40, Status("automator67/apply", "success", "fine"))]
    told = [failure for _ in range(9) for _, failure in reporter.post(batch)]
    assert notes.edits == 5
    assert told[-1] is not None
    assert "left alone" in str(told[-1])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store.db") as opened:
        yield opened


def test_what_opens_is_seen_in_status_and_history_and_what_closes_too(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    all_of_them = Breakers()
    far = all_of_them.before("node/far", "node far", Policy(failures=1))
    forge = all_of_them.before("forge", "the forge")
    chronicle = Chronicle(store, all_of_them, tmp_path / "sql", clock, lambda text: text.replace("s3cret", "***"))
    chronicle.tick(Judged())
    with pytest.raises(OSError, match="token"), far.call(lambda _: True):
        raise OSError("token s3cret\nis wrong")
    chronicle.tick(Judged())
    with store.read() as tx:
        found = {s.name: s for s in standings(tx)}
        told = [(e.kind, e.resource, e.message) for e in tx.execute(events.select())]
    assert {name: s.phase for name, s in found.items()} == {"forge": "closed", "node/far": "open"}
    assert found["node/far"].why == "token *** is wrong"
    assert told == [("breaker", "node/far", "left alone, since it fails: token *** is wrong")]
    shown = CliRunner().invoke(status, ["--state", str(tmp_path)]).output
    assert "LEFT ALONE" in shown
    assert "node/far" in shown.split("LEFT ALONE")[1]
    assert "forge" not in shown.split("LEFT ALONE")[1]
    assert '"phase": "open"' in CliRunner().invoke(status, ["--state", str(tmp_path), "--json"]).output

    far = all_of_them.before("node/far", "node far")
    chronicle.tick(Judged())
    with store.read() as tx:
        told = [e.message for e in tx.execute(events.select())]
    assert told[-1] == "it answers again"
    del forge
    assert [s.name for s in all_of_them.standings()] == ["node/far"]


def test_a_shard_that_is_down_is_answered_for_at_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[int, list[ShardError]]:
        reached = 0

        def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal reached
            reached += 1
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        address = read_url(f"postgresql://app:pw@127.0.0.1:{port}/db?sslmode=disable")
        pool = Pool(Shard("s0"), 0, address, Breaker("shard s0", POLICY, clock=clock, chance=lambda: 0.0))
        told = []
        for _ in range(40):
            with pytest.raises(ShardError) as raised:
                await pool.take()
            told.append(raised.value)
            clock.now += 0.1
        server.close()
        return reached, told

    reached, told = asyncio.run(run())
    # Three to open it; in the four seconds that follow one probe after 1 s, one 2 s later.
    assert reached == 5
    assert {error.code for error in told} == {"08006"}
    assert "shard s0 is left alone until" in str(told[-1])


def test_how_the_shards_of_a_router_stand_is_read_while_it_lives(
    store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sql"
    folder.mkdir()
    router = Breakers()
    shard = router.before("shard/shop/s0", "shard s0", Policy(failures=1))
    with pytest.raises(OSError, match="gone"), shard.call(lambda _: True):
        raise OSError("gone")
    told = StandingFile(folder, "shop")
    told.tell(router.standings())
    (folder / "torn.breakers.json").write_text('[{"name": "shard/x')
    chronicle = Chronicle(store, Breakers(), folder, clock, str)
    chronicle.tick(Judged())
    with store.read() as tx:
        assert [(s.name, s.phase) for s in standings(tx)] == [("shard/shop/s0", "open")]
    os.utime(folder / "shop.breakers.json", (0, 0))
    chronicle.tick(Judged())
    with store.read() as tx:
        assert standings(tx) == []
    told.remove()
    assert not (folder / "shop.breakers.json").exists()


def test_an_alert_target_that_fails_is_left_alone_and_told_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, well = 0, False

    def send(url: str, message: object) -> None:
        nonlocal sent
        sent += 1
        if not well:
            raise SendFailed("no answer")

    monkeypatch.setattr("automator67.engine.herald.send", send)
    clock, all_of_them = Clock(), Breakers()
    herald = Herald(store, str, lambda: True, all_of_them, clock)
    herald._before["url-1"] = breaker(clock)
    doc = {"to": {"url": "https://hooks.example.org"}, "message": {"title": "down"}}
    with store.begin() as tx:
        enqueue(tx, [("m1", "url-1", doc)], clock())
    with store.read() as tx:
        ((message, _),) = waiting(tx)
    for _ in range(20):
        herald._try(message)
    assert sent == Policy().failures
    with store.read() as tx:
        ((_, due),) = waiting(tx)
    assert due > clock() + 20
    well = True
    clock.now = due
    herald._try(message)
    with store.read() as tx:
        assert waiting(tx) == []
