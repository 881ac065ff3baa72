"""Free tiers as nodes, whole: push, accounts at providers run it, a gateway answers for it, and one of them is lost.

The providers are stand-ins behind real sockets, held to the published descriptions; their URLs are web servers with
names and certificates of their own. Engine, agent and Caddy are real.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automator67.engine.names.wanted import NOWHERE
from automator67.engine.nodes.certificates import Authority
from tests.support.cloud import Cloud, wait_for
from tests.support.database_apis import NeonApi
from tests.support.edge import Reply, ask
from tests.support.koyeb_api import KoyebApi
from tests.support.name_apis import CloudflareApi
from tests.support.render_api import RenderApi
from tests.support.standin import Call, HungUp, served
from tests.support.tls_backend import TlsBackend, behind_hosts

ACCOUNTS = ("koyeb1", "render1", "render2")
BLOG: dict[str, Any] = {
    "image": "ana/blog:1", "port": 8080, "replicas": 2, "domain": "blog.test", "health": {"path": "/healthz"},
    "place": {"spread": "provider"}, "env": {"DATABASE": {"secret": "db"}},
    "update": {"healthy_for": "0s", "drain": "0s"},
}  # fmt: skip


class World:
    """A cloud with one gateway and three accounts."""

    def __init__(self, directory: Path) -> None:
        names = {name: f"{name}.provider.test" for name in ACCOUNTS}
        authority = Authority.open(directory / "providers-ca")
        self.root = directory / "providers.pem"
        self.root.write_text(authority.pem)
        self.urls = {name: TlsBackend(host, authority) for name, host in names.items()}
        self.apis: dict[str, Any] = {
            "koyeb1": KoyebApi(lambda _: self.urls["koyeb1"].remote),
            "render1": RenderApi(lambda _: f"https://{self.urls['render1'].remote}"),
            "render2": RenderApi(lambda _: f"https://{self.urls['render2'].remote}"),
        }
        self.names, self.databases = CloudflareApi("blog.test"), NeonApi()
        self.cloud = Cloud(directory / "cloud", nodes=("one",))
        self.cloud.inside["one"] = behind_hosts(directory, *names.values())

    def files(self, endpoints: dict[str, str]) -> dict[str, Any]:
        """Return the repository."""
        beat = {"interval": "1s", "suspect_after": "4s", "unavailable_after": "9s"}
        nodes = {
            f"nodes/{name}.yaml": {
                "kind": name[:-1], "token": {"secret": name[:-1]}, "region": "eu",
                "endpoint": f"{endpoints[name]}/v1",
            }
            for name in ACCOUNTS
        }  # fmt: skip
        settings = {"automator67.yaml": {"name": self.cloud.name, "heartbeat": beat}}
        nodes["nodes/dns.yaml"] = {
            "kind": "cloudflare", "token": {"secret": "dns"}, "domain": "blog.test", "worker": True,
            "endpoint": f"{endpoints['dns']}/client/v4",
        }  # fmt: skip
        nodes["nodes/neon1.yaml"] = {
            "kind": "neon", "token": {"secret": "neon"}, "region": "eu", "endpoint": f"{endpoints['neon1']}/api/v2",
        }  # fmt: skip
        nodes["shards/main.yaml"] = {"shards": [{"name": "s0", "provider": "neon1"}]}
        one = {"gateway": True, "address": "127.0.0.1"}
        return settings | {"nodes/one.yaml": one, "apps/blog.yaml": BLOG} | nodes

    def get(self, method: str = "GET") -> Reply:
        """Ask the gateway for the app; status 0 while it does not answer."""
        home = self.cloud.agent_state("one") / "edge"
        try:
            port = json.loads((home / "status.json").read_text())["https"]
            return ask(port, (home / "ca.pem").read_text(), "blog.test", method=method)
        except (OSError, ssl.SSLError, KeyError, ValueError):
            return Reply(b"")

    def where(self) -> set[str]:
        """Return the nodes that run the app, as the engine says."""
        state = self.cloud.app("blog")
        return {i["node"] for i in state.instances if i["health"] == "healthy"} if state is not None else set()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("providers")
    (directory / "cloud").mkdir()
    world = World(directory)
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(world.root))
        endpoints = {name: stack.enter_context(served(api.standin)) for name, api in world.apis.items()}
        endpoints["neon1"] = stack.enter_context(served(world.databases.standin))
        endpoints["dns"] = stack.enter_context(served(world.names.standin))
        cloud = stack.enter_context(world.cloud)
        cloud.poll = "1s"
        cloud.seal("render", "rnd_test")
        cloud.seal("koyeb", "koyeb_test")
        cloud.seal("neon", "db_test")
        cloud.seal("dns", "cf_test")
        cloud.seal("db", "postgres://secret")
        cloud.push(world.files(endpoints))
        cloud.up()
        yield world
        for backend in world.urls.values():
            backend.close()


def test_two_replicas_run_at_two_providers_behind_one_url(world: World) -> None:
    world.cloud.wait_app("blog", lambda s: s.sync == "synced" and s.health == "healthy", 60)
    assert len({node[:-1] for node in world.where()}) == 2, world.where()
    wait_for("the gateway to answer", lambda: world.get().status == 200)
    # One of them sleeps.
    assert len({world.get().text.split()[0] for _ in range(10)}) == 1
    assert world.get("POST").status == 200
    for name, api in world.apis.items():
        assert not api.standin.broken, name
        assert list(api.images().values()) == (["docker.io/ana/blog:1"] if name in world.where() else [])
    sent = " ".join(str(c.body) for api in world.apis.values() for c in api.standin.writes())
    assert "postgres://secret" in sent
    log = world.cloud.log("engine")
    assert not any(secret in log for secret in ("postgres://secret", "rnd_test", "koyeb_test"))


def test_the_name_leads_to_the_gateway(world: World) -> None:
    wait_for("the record", lambda: world.names.addresses() == {("blog.test", "127.0.0.1")})
    wait_for("the node that holds names", lambda: "dns" in world.cloud.healthy_nodes())
    assert not world.names.standin.broken
    assert "cf_test" not in world.cloud.log("engine")


def test_a_shard_gets_its_database(world: World) -> None:
    sealed = world.cloud.state / "databases" / "main-s0.sealed"
    wait_for("the database", sealed.exists)
    assert world.databases.names() == [f"a67-{world.cloud.name}-main-s0"]
    assert not world.databases.standin.broken
    assert b"s3cret" not in sealed.read_bytes()
    assert "s3cret" not in world.cloud.log("engine")


def test_a_new_revision_is_patched_where_it_runs(world: World) -> None:
    commit = world.cloud.push({"apps/blog.yaml": BLOG | {"image": "ana/blog:2"}}, "two")
    world.cloud.wait_commit(commit, seconds=60)
    images = {name: list(api.images().values()) for name, api in world.apis.items() if name in world.where()}
    assert images == {name: ["docker.io/ana/blog:2"] for name in world.where()}
    creates = [c for api in world.apis.values() for c in api.standin.writes() if c.path.endswith("/services")]
    assert len([c for c in creates if c.method == "POST"]) == 2


def test_losing_a_provider_moves_its_apps_and_the_url_keeps_answering(world: World) -> None:
    before = world.where()
    lost = world.get().text.split()[0]
    assert lost in before
    seen: Counter[tuple[int, str]] = Counter()
    done = threading.Event()

    def ask_on() -> None:
        while not done.is_set():
            reply = world.get()
            seen[reply.status, reply.text.split(" ")[0]] += 1

    askers = [threading.Thread(target=ask_on) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        world.apis[lost].standin.fault = _gone
        world.urls[lost].die()
        wait_for("the app to run elsewhere", lambda: len(world.where() - {lost}) == 2, 60)
    finally:
        done.set()
        for asker in askers:
            asker.join()
    assert {status for status, _ in seen} == {200}, seen
    assert {word for _, word in seen} - {lost}, "nobody else answered"
    assert sum(seen.values()) > 50
    for name in set(ACCOUNTS) - {lost}:
        assert list(world.apis[name].images().values()) == ["docker.io/ana/blog:2"]
        assert not world.apis[name].standin.broken


def test_without_a_gateway_the_name_leads_to_a_worker_that_knows_the_copies(world: World) -> None:
    world.cloud.push({"nodes/one.yaml": {"address": "127.0.0.1"}}, "no gateway")
    wait_for("the record", lambda: world.names.addresses() == {("blog.test", NOWHERE)})
    assert {r["pattern"] for r in world.names.routes.values()} == {"blog.test/*"}
    (script,) = world.names.scripts.values()
    told = script.modules["sites.mjs"]
    known = {name for name, url in world.urls.items() if url.remote in told}
    assert len(known) == 2
    assert known < world.where(), "the lost provider's copy takes no requests"
    assert not world.names.standin.broken


def _gone(call: Call) -> None:
    raise HungUp
