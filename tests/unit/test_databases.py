"""Databases that a provider makes for shards: made once, found again after any crash, kept sealed, never removed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from automator67.engine.accounts import standing
from automator67.engine.apis import client as client_module
from automator67.engine.apis.client import ApiError, Client
from automator67.engine.apis.keeper import Keeper, Used
from automator67.engine.databases.neon import PROVIDER as NEON
from automator67.engine.databases.neon import NeonAccount
from automator67.engine.databases.provisioner import Account, provision, wanted
from automator67.engine.databases.supabase import PROVIDER as SUPABASE
from automator67.engine.databases.supabase import SupabaseAccount
from automator67.engine.desired import Desired, Node, Origin, Other
from automator67.engine.provisioned import ProvisionedUrls
from automator67.engine.secrets.keys import Keyring
from automator67.engine.tiers import Tier
from tests.support.contracts import contract
from tests.support.database_apis import NeonApi, SupabaseApi
from tests.support.standin import FAULTS, Call, HungUp, Reached
from tests.support.world import desired

WANT = frozenset({"main-s0", "main-s1"})


class World:
    """An account, its stand-in, and where connection strings are kept."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind, self.now = kind, 1000.0
        self.api: Any = NeonApi() if kind == "neon" else SupabaseApi()
        self.api.standin.clock = lambda: self.now
        self.keyring = Keyring(directory / "keys")
        self.keyring.ensure()
        self.directory = directory / "databases"
        self.learned: list[bytes] = []
        self.urls = ProvisionedUrls(self.directory, self.keyring, lambda: "home", lambda _, v: self.learned.append(v))

    def account(self) -> Account:
        """Return the account as an engine that has just started has it."""
        provider = NEON if self.kind == "neon" else SUPABASE
        header = {"Authorization": "Bearer db_test"}
        client = Client(provider, lambda: header, transport=Reached(self.api.standin), clock=lambda: self.now)
        if self.kind == "neon":
            return NeonAccount(client, "aws-eu-central-1")
        return SupabaseAccount(client, "ana", "eu-central-1", self.keyring.database_password)

    def settle(self) -> None:
        """Provision until all is there."""
        for _ in range(5):
            self.now += 60
            if not provision("home", self.account(), self.urls, WANT).conditions:
                return
        raise AssertionError("it is never ready")


@pytest.fixture(params=["neon", "supabase"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(client_module, "PAUSES", (0.0, 0.0))
    made = World(request.param, tmp_path)
    yield made
    assert not made.api.standin.broken


def test_databases_are_made_once_and_where_they_are_is_kept_sealed(world: World) -> None:
    world.settle()
    assert sorted(world.api.names()) == ["a67-home-main-s0", "a67-home-main-s1"]
    urls = {name: world.urls.get(name) for name in WANT}
    assert all(url.startswith("postgresql://") for url in urls.values())
    assert len(set(urls.values())) == 2
    if world.kind == "supabase":
        assert {p in "".join(urls.values()) for p in world.api.passwords.values()} == {True}
    writes = len(world.api.standin.writes())
    assert writes == 2
    world.settle()
    assert len(world.api.standin.writes()) == writes
    for file in world.directory.iterdir():
        assert not any(url.encode() in file.read_bytes() for url in urls.values())
    assert set(world.learned) >= {url.encode() for url in urls.values()}


@pytest.mark.parametrize("moment", ["fault", "afterwards"])
def test_a_crash_at_any_write_makes_nothing_twice(world: World, moment: str) -> None:
    for cut in range(2):
        sent = 0

        def kill(call: Call, cut: int = cut) -> None:
            nonlocal sent
            if call.method != "GET":
                sent += 1
                if sent == cut + 1:
                    raise HungUp

        setattr(world.api.standin, moment, kill)
        with pytest.raises(ApiError):
            world.settle()
        setattr(world.api.standin, moment, lambda _: None)
        world.settle()
        assert sorted(world.api.names()) == ["a67-home-main-s0", "a67-home-main-s1"]
        world.api.projects.clear()


def test_an_engine_that_lost_its_state_finds_the_same_databases(world: World) -> None:
    world.settle()
    before = {name: world.urls.get(name) for name in WANT}
    for file in world.directory.iterdir():
        file.unlink()
    assert world.urls.get("main-s0") == ""
    world.settle()
    assert {name: world.urls.get(name) for name in WANT} == before
    assert len(world.api.names()) == 2


def test_what_is_under_way_is_told_and_looked_at_soon(world: World) -> None:
    world.api.busy = True
    for _ in range(3):
        world.now += 60
        done = provision("home", world.account(), world.urls, WANT)
    assert done.again == 5.0
    assert [c for c in done.conditions if "main-s0 is being made" in c]
    assert not world.directory.exists()


def test_two_of_one_name_are_left_to_a_person(world: World) -> None:
    for _ in range(2):
        world.api.make("a67-home-main-s0")
    with pytest.raises(ApiError, match="2 projects called a67-home-main-s0"):
        provision("home", world.account(), world.urls, WANT)
    assert not world.api.standin.writes()


def test_nothing_is_ever_removed(world: World) -> None:
    world.settle()
    provision("home", world.account(), world.urls, frozenset())
    assert len(world.api.names()) == 2
    assert not [c for c in world.api.standin.calls if c.method == "DELETE"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("write", [False, True])
def test_an_account_that_does_not_answer_is_not_empty(world: World, fault: str, write: bool) -> None:
    def broken(call: Call) -> None:
        if (call.method != "GET") == write:
            raise FAULTS[fault]()

    world.api.standin.fault = broken
    with pytest.raises(ApiError) as raised:
        provision("home", world.account(), world.urls, WANT)
    assert "db_test" not in str(raised.value)
    assert not world.api.names()
    world.api.standin.fault = lambda _: None
    world.settle()
    assert len(world.api.names()) == 2


def test_a_list_that_is_not_whole_makes_nothing(tmp_path: Path) -> None:
    world = World("neon", tmp_path)
    world.api.unavailable = ["cold-bonus-9"]
    with pytest.raises(ApiError, match="cannot list all projects"):
        provision("home", world.account(), world.urls, WANT)
    assert not world.api.names()


def test_a_project_that_was_paused_is_restored(tmp_path: Path) -> None:
    world = World("supabase", tmp_path)
    world.settle()
    for project in world.api.projects.values():
        project["status"] = "INACTIVE"
    assert provision("home", world.account(), world.urls, WANT).conditions
    world.settle()
    assert {p["status"] for p in world.api.projects.values()} == {"ACTIVE_HEALTHY"}
    next(iter(world.api.projects.values()))["status"] = "INIT_FAILED"
    with pytest.raises(ApiError, match="is init failed"):
        provision("home", world.account(), world.urls, WANT)


def test_shards_say_which_databases_are_wanted_of_whom() -> None:
    shards = [
        {"name": "s0", "provider": "neon1"},
        {"name": "s1", "url": "postgresql://x"},
        {"name": "s2", "provider": "p"},
    ]
    nodes = {n: Node(n, Origin("", ""), kind=k) for n, k in (("neon1", "neon"), ("spare", "supabase"), ("p", "agent"))}
    desired = Desired("c" * 40, nodes=nodes, others=(Other("shard", "main", Origin("", ""), {"shards": shards}),))
    assert wanted(desired) == {"neon1": {"main-s0"}, "spare": frozenset()}


def test_answers_that_neon_really_gave() -> None:
    text = contract("neon/cassettes/test_create_project.yaml").read_text()
    recorded = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["interactions"]
    listed = json.loads(next(i["response"]["body"]["string"] for i in recorded if i["request"]["method"] == "GET"))
    made = json.loads(next(i["response"]["body"]["string"] for i in recorded if i["request"]["method"] == "POST"))

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/operations"):
            return httpx.Response(200, json={"operations": made["operations"]})
        return httpx.Response(200, json=listed)

    name = listed["projects"][0]["name"]
    account = NeonAccount(Client(NEON, dict, transport=httpx.MockTransport(answer)), "aws-us-east-2")
    # Its operations were still running.
    assert account.ensure(name) == ""


def test_what_neon_counted_is_told_for_the_whole_account(tmp_path: Path) -> None:
    world = World("neon", tmp_path)
    world.settle()
    world.api.counted = {
        "data_transfer_bytes": 2_000_000_000, "synthetic_storage_size": 300_000_000,
        "consumption_period_start": "2026-11-01T00:00:00Z", "consumption_period_end": "2026-12-01T00:00:00Z",
    }  # fmt: skip
    world.now += 60
    done = provision("home", world.account(), world.urls, WANT)
    assert done.used == Used(4e9, 3e8, (1_793_491_200.0, 1_796_083_200.0))
    assert not world.api.standin.broken

    class Told:
        message: Mapping[str, Any] = {}

        def report(self, node: str, message: Mapping[str, Any]) -> None:
            self.message = message

        def unreachable(self, node: str, why: str) -> None:
            raise AssertionError(why)

        def beat(self) -> float:
            return 30.0

    told = Told()
    keeper: Keeper[frozenset[str]] = Keeper("neon1", lambda _: done, lambda: None, told)
    keeper.want(WANT)
    keeper.turn()
    node = replace(Node("neon1", Origin("nodes/neon1.yaml", "b"), "neon"), tier=Tier("neon", egress=5 * 10**9))
    (quota,) = standing(desired(nodes={"neon1": node}), {}, {"neon1": told.message}, {}, (0.0, 0.0), 1_794_787_200.0)
    assert (quota.resource, quota.used, quota.state) == ("egress", 4e9, "near")
    assert quota.projected == pytest.approx(8e9)
