"""Names that follow gateways: which records are wanted, and providers that get them with few and safe calls."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.apis import client as client_module
from automator67.engine.apis.client import ApiError, Client
from automator67.engine.apis.keeper import Keeper
from automator67.engine.desired import Desired, Node, Origin, Site
from automator67.engine.names.cloudflare import PROVIDER as CLOUDFLARE
from automator67.engine.names.cloudflare import CloudflareZone
from automator67.engine.names.desec import PROVIDER as DESEC
from automator67.engine.names.desec import DesecZone
from automator67.engine.names.duckdns import PROVIDER as DUCKDNS
from automator67.engine.names.duckdns import DuckDnsName
from automator67.engine.names.registrar import Zone, keep
from automator67.engine.names.wanted import NOWHERE, Record, Wanted, changes, shortcomings, wanted
from automator67.engine.names.worker import FarSite, worker
from automator67.engine.observed import NodeState, NodeView, Observed
from automator67.engine.plan.planner import plan
from tests.support.name_apis import CloudflareApi, DesecApi, Script
from tests.support.standin import FAULTS, Call, Reached, Refused
from tests.support.world import app

ONE, TWO, SIX = "203.0.113.1", "203.0.113.2", "2001:db8::6"
HERE, THERE = "8.8.4.4", "2606:4700::1"


def gateway(name: str, address: str = "", **keys: Any) -> Node:
    return Node(name, Origin("", ""), gateway=True, address=address, **keys)


def cloud(*nodes: Node, hosts: tuple[str, ...] = ("blog.example.org",)) -> Desired:
    apps = [app(f"a{n}", port=80, sites=(Site(host),), domains=(host,)) for n, host in enumerate(hosts)]
    return Desired("c" * 40, nodes={n.name: n for n in nodes}, apps={a.name: a for a in apps})


def seen(**states: NodeState) -> dict[str, NodeView]:
    return {name: NodeView(name, state) for name, state in states.items()}


def test_every_name_of_the_zone_leads_to_every_healthy_gateway() -> None:
    desired = cloud(gateway("g1", ONE), gateway("g2", SIX), hosts=("example.org", "b.example.org", "notexample.org"))
    found = wanted("example.org", desired, seen(g1="healthy", g2="suspect"))
    assert found.records == {
        Record(host, *what)
        for host in ("example.org", "b.example.org")
        for what in (("A", ONE), ("AAAA", SIX))
    }  # fmt: skip


@pytest.mark.parametrize("state", ["unavailable", "failing", "revoked", "never"])
def test_a_gateway_that_is_gone_is_taken_out_unless_it_is_the_last(state: NodeState) -> None:
    desired = cloud(gateway("g1", ONE), gateway("g2", TWO))
    assert wanted("example.org", desired, seen(g1=state, g2="healthy")).records == {
        Record("blog.example.org", "A", TWO)
    }
    none = wanted("example.org", desired, seen(g1=state, g2=state))
    assert (none.records, none.kept) == (frozenset(), {"blog.example.org"})
    ours = [Record("blog.example.org", "A", ONE)]
    assert changes(none, ours, ()).remove == ()


def test_what_leaves_and_what_serves_other_names_only_gets_no_record() -> None:
    only = gateway("g1", ONE, document={"gateway": {"domains": ["other.example.org"]}})
    desired = cloud(only, gateway("g2", TWO), gateway("g3", "203.0.113.3", drain=True))
    found = wanted("example.org", desired, seen(g1="healthy", g2="healthy", g3="healthy"))
    assert {r.content for r in found.records} == {TWO}


def test_only_an_address_that_everybody_reaches_is_taken_from_what_is_seen() -> None:
    for address, good in ((HERE, True), (THERE, True), ("10.0.0.1", False), ("127.0.0.1", False), ("", False)):
        views = {"g1": replace(seen(g1="healthy")["g1"], address=address)}
        found = wanted("example.org", cloud(gateway("g1")), views)
        assert {r.content for r in found.records} == ({address} if good else set())
        assert bool(found.troubles) == (not good)
    # What a person wrote is not judged.
    assert wanted("example.org", cloud(gateway("g1", "10.0.0.1")), seen(g1="healthy")).records


NAMES = st.sampled_from(["a.example.org", "b.example.org", "c.example.org"])
RECORDS = st.frozensets(st.builds(Record, NAMES, st.just("A"), st.sampled_from([ONE, TWO])))


@given(RECORDS, st.frozensets(NAMES), RECORDS, st.frozensets(NAMES))
def test_changes_lead_to_what_is_wanted_and_touch_nothing_else(
    records: frozenset[Record], kept: frozenset[str], ours: frozenset[Record], others: frozenset[str]
) -> None:
    want = Wanted(records, kept - {r.name for r in records})
    do = changes(want, ours, others)
    after = (ours | set(do.add)) - set(do.remove)
    assert {r for r in after if r.name not in others | want.kept} == {r for r in records if r.name not in others}
    assert {r for r in ours if r.name in want.kept} <= after
    assert not {r.name for r in do.add} & others
    again = changes(want, after, others)
    assert (again.add, again.remove) == ((), ())


def test_a_plan_says_what_providers_of_names_cannot_do() -> None:
    nodes = {
        k: Node(k, Origin("", ""), kind=k, document={"domain": "x.example.org"})
        for k in ("cloudflare", "desec", "duckdns")
    }
    said = plan(Desired("c" * 40, nodes=nodes), Observed(), 0.0).warnings
    assert len(said) == 2
    assert any("no TTL below an hour" in text for text in said)
    assert any("one address" in text for text in said)
    assert not shortcomings(nodes["cloudflare"], cloud())
    router = Node("names", Origin("", ""), kind="cloudflare", document={"domain": "example.org", "worker": True})
    locked = Desired("c" * 40, apps={"a": app("a", port=80, sites=(Site("b.example.org"),), allow=("192.0.2.0/24",))})
    assert "a answer 403" in shortcomings(router, locked)
    assert not shortcomings(router, cloud())


class ZoneUnderTest:
    """A zone, its stand-in, and a way to have the same zone again after a restart."""

    def __init__(self, kind: str) -> None:
        self.api: Any = CloudflareApi("example.org") if kind == "cloudflare" else DesecApi("example.org")
        self.kind, self.now = kind, 1000.0
        self.api.standin.clock = lambda: self.now

    def zone(self) -> Zone:
        header = {"Authorization": "Bearer cf_test" if self.kind == "cloudflare" else "Token desec_test"}
        provider = CLOUDFLARE if self.kind == "cloudflare" else DESEC
        client = Client(provider, lambda: header, transport=Reached(self.api.standin), clock=lambda: self.now)
        return (CloudflareZone if self.kind == "cloudflare" else DesecZone)(client, "home", "example.org")


@pytest.fixture(params=["cloudflare", "desec"])
def under(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(client_module, "PAUSES", (0.0, 0.0))
    one = ZoneUnderTest(request.param)
    yield one
    assert not one.api.standin.broken


def want(*contents: str, name: str = "blog.example.org", kept: tuple[str, ...] = ()) -> Wanted:
    records = frozenset(Record(name, "AAAA" if ":" in c else "A", c) for c in contents)
    return Wanted(records, frozenset(kept))


def test_records_follow_and_what_is_as_it_should_be_is_only_read(under: ZoneUnderTest) -> None:
    zone = under.zone()
    zone.follow(want(ONE, SIX))
    assert under.api.addresses() == {("blog.example.org", ONE), ("blog.example.org", SIX)}
    writes = len(under.api.standin.writes())
    under.now += 100
    assert zone.follow(want(ONE, SIX)) == changes(Wanted(), (), ())
    assert len(under.api.standin.writes()) == writes
    under.now += 100
    zone.follow(want(TWO))
    assert under.api.addresses() == {("blog.example.org", TWO)}
    # A zone that was opened anew knows what is its own.
    under.now += 100
    under.zone().follow(Wanted())
    assert under.api.addresses() == set()


@pytest.mark.parametrize("name", ["example.org", "*.example.org", "deep.blog.example.org"])
def test_any_name_of_the_zone(under: ZoneUnderTest, name: str) -> None:
    under.zone().follow(want(ONE, name=name))
    assert under.api.addresses() == {(name, ONE)}
    under.now += 100
    under.zone().follow(want(TWO, name=name))
    assert under.api.addresses() == {(name, TWO)}


def test_records_of_others_are_never_touched(under: ZoneUnderTest) -> None:
    under.api.add("blog.example.org", "198.51.100.9")
    did = under.zone().follow(want(ONE))
    assert did.foreign == ("blog.example.org",)
    assert under.api.addresses() == {("blog.example.org", "198.51.100.9")}
    under.now += 100
    under.zone().follow(Wanted())
    assert under.api.addresses() == {("blog.example.org", "198.51.100.9")}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("write", [False, True])
def test_a_provider_that_does_not_answer_changes_nothing_and_is_told(
    under: ZoneUnderTest, fault: str, write: bool
) -> None:
    zone = under.zone()
    zone.follow(want(ONE))
    under.now += 100

    def broken(call: Call) -> None:
        if (call.method != "GET") == write:
            raise FAULTS[fault]()

    under.api.standin.fault = broken
    with pytest.raises(ApiError) as raised:
        zone.follow(want(TWO))
    assert "_test" not in str(raised.value)
    assert ("blog.example.org", ONE) in under.api.addresses()
    under.api.standin.fault = lambda _: None
    under.now += 100
    zone.follow(want(TWO))
    assert under.api.addresses() == {("blog.example.org", TWO)}


SITES = [FarSite("blog.example.org", awake=("blog.onrender.com:443",)), FarSite("old.example.org", redirect="b.org")]


@pytest.fixture
def cloudflare(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(client_module, "PAUSES", (0.0, 0.0))
    one = ZoneUnderTest("cloudflare")
    yield one
    assert not one.api.standin.broken


def by_worker(*sites: FarSite) -> Wanted:
    return Wanted(frozenset(Record(s.host, "AAAA", NOWHERE) for s in sites), worker=worker(sites))


def test_a_name_goes_to_the_worker_while_no_gateway_can_take_it() -> None:
    desired, far = cloud(gateway("g1", ONE)), [FarSite("blog.example.org"), FarSite("blog.example.com")]
    up = wanted("example.org", desired, seen(g1="healthy"), far)
    down = wanted("example.org", desired, seen(g1="unavailable"), far)
    assert up.records == {Record("blog.example.org", "A", ONE)}
    assert down.records == {Record("blog.example.org", "AAAA", NOWHERE)}
    assert not down.kept
    assert up.worker == down.worker == worker(far[:1])


def test_the_worker_and_its_routes_follow_and_are_only_read_when_they_are_as_they_should_be(
    cloudflare: ZoneUnderTest,
) -> None:
    api, zone = cloudflare.api, cloudflare.zone()
    assert zone.follow(by_worker(*SITES)).worker == "new"
    (script,) = api.scripts.values()
    assert "blog.onrender.com:443" in script.modules["sites.mjs"]
    assert {r["pattern"] for r in api.routes.values()} == {"blog.example.org/*", "old.example.org/*"}
    assert {(r["name"], r["content"], r["proxied"]) for r in api.records.values()} == {
        ("blog.example.org", NOWHERE, True), ("old.example.org", NOWHERE, True),
    }  # fmt: skip
    writes = len(api.standin.writes())
    assert cloudflare.zone().follow(by_worker(*SITES)).worker == ""
    assert len(api.standin.writes()) == writes
    assert zone.follow(by_worker(replace(SITES[0], awake=("blog.koyeb.app:443",)))).worker == "changed"
    assert len(api.scripts) == 1
    assert {r["pattern"] for r in api.routes.values()} == {"blog.example.org/*"}
    assert cloudflare.zone().follow(want(ONE)).worker == "removed"
    assert (api.scripts, api.routes, api.addresses()) == ({}, {}, {("blog.example.org", ONE)})


def test_a_worker_and_a_route_that_are_not_ours_stay(cloudflare: ZoneUnderTest) -> None:
    api = cloudflare.api
    api.scripts["theirs"] = Script({}, [])
    api.routes["1" * 32] = {"id": "1" * 32, "pattern": "blog.example.org/*", "script": "theirs"}
    with pytest.raises(ApiError, match=r"blog\.example\.org/\* goes to another Worker"):
        cloudflare.zone().follow(by_worker(*SITES))
    assert api.routes["1" * 32]["script"] == "theirs"
    (name,) = set(api.scripts) - {"theirs"}
    api.scripts[name].tags = ["somebody"]
    with pytest.raises(ApiError, match="is not ours"):
        cloudflare.zone().follow(by_worker(*SITES))
    cloudflare.zone().follow(want(ONE))
    assert name in api.scripts


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_is_finished_after_a_fault_at_any_call(cloudflare: ZoneUnderTest, fault: str) -> None:
    api = cloudflare.api
    for nth in range(1, 9):
        cloudflare.now += 1000
        calls = [0]

        def broken(_: Call, nth: int = nth, calls: list[int] = calls) -> None:
            calls[0] += 1
            if calls[0] == nth:
                raise FAULTS[fault]()

        api.standin.fault = broken
        site = FarSite("blog.example.org", awake=(f"n{nth}.example.com:443",))
        with contextlib.suppress(ApiError):
            cloudflare.zone().follow(by_worker(site))
        api.standin.fault = lambda _: None
        cloudflare.now += 1000
        cloudflare.zone().follow(by_worker(site))
        (script,) = api.scripts.values()
        assert f"n{nth}.example.com" in script.modules["sites.mjs"]
        assert api.addresses() == {("blog.example.org", NOWHERE)}


def test_duckdns_is_told_an_address_once_and_keeps_it_while_it_is_good() -> None:
    asked: list[httpx.URL] = []
    answers = ["OK"]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, text=answers[0])

    zone = DuckDnsName(Client(DUCKDNS, dict, transport=httpx.MockTransport(answer)), "tok", "ana.duckdns.org")
    assert zone.follow(want(TWO, SIX, name="ana.duckdns.org")).add
    assert dict(asked[0].params) == {"domains": "ana", "token": "tok", "ip": TWO, "ipv6": SIX}
    assert not zone.follow(want(TWO, SIX)).add
    # A second gateway that is the first by order changes nothing while the one of before is good.
    assert not zone.follow(want(ONE, TWO, SIX)).add
    assert zone.follow(want(ONE, SIX)).add
    assert not zone.follow(Wanted(kept=frozenset({"ana.duckdns.org"}))).add
    assert len(asked) == 2
    answers[0] = "KO"
    with pytest.raises(ApiError, match=r"does not take ana\.duckdns\.org") as raised:
        zone.follow(want(TWO))
    assert "tok" not in str(raised.value).replace("token", "")


class Desk:
    def __init__(self) -> None:
        self.reports: list[Mapping[str, Any]] = []
        self.troubles: list[str] = []

    def report(self, node: str, message: Mapping[str, Any]) -> None:
        self.reports.append(message)

    def unreachable(self, node: str, why: str) -> None:
        self.troubles.append(why)

    def beat(self) -> float:
        return 1.0


def test_a_keeper_compares_when_something_changed_or_now_and_then_and_tells() -> None:
    under, desk, now = ZoneUnderTest("cloudflare"), Desk(), [0.0]
    under.api.add("theirs.example.org", "198.51.100.9")
    zone = under.zone()
    keeper: Keeper[Wanted] = Keeper("cf", lambda want: keep("cf", zone, want), zone.close, desk, lambda: now[0])
    keeper.turn()
    assert not desk.reports
    keeper.want(want(ONE))
    keeper.turn()
    calls = len(under.api.standin.calls)
    keeper.turn()
    assert len(under.api.standin.calls) == calls
    assert [r["conditions"] for r in desk.reports] == [[], []]
    now[0] += 301
    keeper.turn()
    assert len(under.api.standin.calls) == calls + 1
    under.api.standin.fault = lambda _: (_ for _ in ()).throw(Refused(403))
    keeper.want(want(TWO, name="theirs.example.org"))
    keeper.turn()
    keeper.turn()
    assert len(desk.troubles) == 1
    under.api.standin.fault = lambda _: None
    now[0] += 10
    keeper.turn()
    assert "not ours" in desk.reports[-1]["conditions"][0]
    keeper.close()
