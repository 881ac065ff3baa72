"""The agent with the docker runtime: a real Docker Engine, a stand-in of the automator67 engine."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import secrets
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import docker
import httpx
import pytest
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.images import Image

from tests.support.fake_engine import Agent, Doc, FakeEngine, container_instance, http_probe, wait_for
from tests.support.images import busybox

__all__ = ["busybox"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

SLEEP = ("sleep", "10000")
SERVE = ("httpd", "-f", "-p", "8080", "-h", "/etc")


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url="unix:///var/run/docker.sock", timeout=60)
    yield client
    client.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, busybox: str) -> Iterator[tuple[FakeEngine, Agent]]:
    """An engine and a running agent of node n1 for tests that need no fresh ones."""
    engine = FakeEngine(tmp_path_factory.mktemp("engine"))
    try:
        yield engine, engine.agent("n1", runtime="docker").start()
    finally:
        engine.close()


@pytest.fixture
def engine(shared: tuple[FakeEngine, Agent]) -> Iterator[FakeEngine]:
    engine, agent = shared
    if agent.process is None or agent.process.poll() is not None:
        agent.start()
    yield engine
    rev = engine.want("n1")
    engine.wait_applied("n1", rev)


@pytest.fixture
def foreigner(client: docker.DockerClient, busybox: str) -> Iterator[Container]:
    """A container that is not ours."""
    made = client.containers.create(busybox, ["sleep", "10000"], name=f"own-{secrets.token_hex(4)}", init=True)
    try:
        made.start()
        yield made
    finally:
        with contextlib.suppress(NotFound):
            client.containers.get(str(made.id)).remove(force=True)


class Registry:
    """A registry of one image under every tag of ``tests/busy``; its layer comes slowly."""

    def __init__(self, image: Image) -> None:
        saved = io.BytesIO(b"".join(image.save()))
        with tarfile.open(fileobj=saved) as tar:
            manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())[0]
            config, layer = (
                (tar.extractfile(n) or io.BytesIO()).read() for n in (manifest["Config"], manifest["Layers"][0])
            )
        self.blobs = {f"sha256:{hashlib.sha256(b).hexdigest()}": b for b in (config, gzip.compress(layer, 1))}
        kinds = ("container.image.v1+json", "image.rootfs.diff.tar.gzip")
        parts = [
            {"mediaType": f"application/vnd.docker.{kind}", "size": len(blob), "digest": digest}
            for kind, (digest, blob) in zip(kinds, self.blobs.items(), strict=True)
        ]
        self.kind = "application/vnd.docker.distribution.manifest.v2+json"
        doc = {"schemaVersion": 2, "mediaType": self.kind, "config": parts[0], "layers": parts[1:]}
        self.manifest = json.dumps(doc).encode()
        self.manifests_served = 0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                """Stay quiet."""

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                status, body, kind = 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', ""
                if self.path == "/v2/":
                    status, body = 200, b"{}"
                elif self.path.startswith("/v2/tests/busy/manifests/"):
                    status, body, kind = 200, registry.manifest, registry.kind
                    registry.manifests_served += self.command == "GET"
                elif name in registry.blobs:
                    status, body, kind = 200, registry.blobs[name], "application/octet-stream"
                self.send_response(status)
                self.send_header("Content-Type", kind or "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(body).hexdigest()}")
                self.end_headers()
                if self.command == "GET":
                    if len(body) > 100_000:
                        time.sleep(0.8)
                    self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Registry:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def find(client: docker.DockerClient, engine: FakeEngine, instance: str) -> Container | None:
    found = client.containers.list(
        ignore_removed=True, all=True, filters={"label": [f"a67.cloud={engine.cloud}", f"a67.instance={instance}"]}
    )
    assert len(found) <= 1, f"{len(found)} containers of {instance}"
    return found[0] if found else None


def container(client: docker.DockerClient, engine: FakeEngine, instance: str) -> Container:
    found = find(client, engine, instance)
    assert found is not None
    return found


def running(engine: FakeEngine, instance: dict[str, Any]) -> dict[str, Any]:
    """Desire one instance and wait until it runs."""
    engine.want("n1", instance)
    return engine.wait_instance("n1", instance["id"], phase="running")


def test_a_container_is_made_as_desired(engine: FakeEngine, client: docker.DockerClient, busybox: str) -> None:
    wanted = container_instance(
        "web", busybox, *SERVE, port=8080, env={"GREETING": "hello"}, cpu=0.25, health=http_probe("/passwd"),
        volumes=[{"name": "data", "path": "/data"}], user="65534", stop_timeout=3,
    )  # fmt: skip
    engine.want("n1", wanted)
    found = engine.wait_instance("n1", "web-0-aaaa", phase="running", health="healthy")
    assert httpx.get(f"http://{found['address']}/passwd").status_code == 200
    assert found["address"].startswith("127.0.0.1:")
    assert found["healthy_since"] >= found["since"] > time.time() - 60
    doc = container(client, engine, "web-0-aaaa").attrs
    assert doc["Name"] == f"/a67-{engine.cloud}-web-0-aaaa"
    labels = {k: v for k, v in doc["Config"]["Labels"].items() if k.startswith("a67.")}
    assert labels == {
        "a67.cloud": engine.cloud, "a67.node": "n1", "a67.app": "web", "a67.instance": "web-0-aaaa",
        "a67.slot": "0", "a67.rev": "aaaa", "a67.epoch": "1",
    }  # fmt: skip
    host, config = doc["HostConfig"], doc["Config"]
    assert host["Init"] is True
    assert host["Memory"] == host["MemorySwap"] == 32 * 2**20
    assert host["NanoCpus"] == 250_000_000
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host["Privileged"]
    assert not host["Binds"]
    assert host["NetworkMode"] != "host"
    assert {"GREETING=hello", "PORT=8080"} <= set(config["Env"])
    assert (config["User"], config["StopTimeout"]) == ("65534", 3)
    (mount,) = doc["Mounts"]
    volume = client.volumes.get(mount["Name"])
    assert (mount["Name"], mount["Destination"]) == (f"a67-{engine.cloud}-web-0-data", "/data")
    assert volume.attrs["Labels"]["a67.cloud"] == engine.cloud
    # Volumes are listed beside the containers, by a look of their own.
    told = [{"app": "web", "slot": 0, "name": "data"}]
    wait_for("the volume to be told", lambda: engine.latest("n1")["volumes"] == told)
    assert engine.latest("n1")["agent"]["rss"] > 0


def test_what_is_no_longer_desired_goes_but_its_volume_stays(
    engine: FakeEngine, client: docker.DockerClient, busybox: str
) -> None:
    running(engine, container_instance("db", busybox, *SLEEP, volumes=[{"name": "rows", "path": "/rows"}]))
    rev = engine.want("n1")
    engine.wait_applied("n1", rev)
    assert find(client, engine, "db-0-aaaa") is None
    assert client.volumes.get(f"a67-{engine.cloud}-db-0-rows")


def test_a_new_revision_comes_before_the_old_goes(
    engine: FakeEngine, client: docker.DockerClient, busybox: str
) -> None:
    running(engine, container_instance("web", busybox, *SLEEP))
    old = container(client, engine, "web-0-aaaa")
    rev = engine.want("n1", container_instance("web", busybox, *SLEEP, rev="bbbb"))
    engine.wait_applied("n1", rev)
    new = container(client, engine, "web-0-bbbb")
    assert find(client, engine, "web-0-aaaa") is None
    events = client.api.events(since=int(time.time()) - 60, until=int(time.time()) + 1, decode=True)
    order = [(e["Action"], e["id"]) for e in events if e["Type"] == "container" and e["id"] in (old.id, new.id)]
    assert order.index(("start", new.id)) < order.index(("kill", old.id))


def test_with_a_shared_volume_the_old_goes_first(engine: FakeEngine, client: docker.DockerClient, busybox: str) -> None:
    volumes = [{"name": "rows", "path": "/rows"}]
    running(engine, container_instance("db", busybox, *SLEEP, volumes=volumes))
    old = container(client, engine, "db-0-aaaa")
    rev = engine.want("n1", container_instance("db", busybox, *SLEEP, rev="bbbb", volumes=volumes))
    engine.wait_applied("n1", rev)
    new = container(client, engine, "db-0-bbbb")
    events = client.api.events(since=int(time.time()) - 60, until=int(time.time()) + 1, decode=True)
    order = [(e["Action"], e["id"]) for e in events if e["Type"] == "container" and e["id"] in (old.id, new.id)]
    assert order.index(("destroy", old.id)) < order.index(("create", new.id))


def test_others_containers_are_reported_and_never_touched(
    engine: FakeEngine, client: docker.DockerClient, busybox: str, foreigner: Container
) -> None:
    other_node = client.containers.run(
        busybox, ["sleep", "10000"], detach=True, init=True,
        labels={"a67.cloud": engine.cloud, "a67.node": "n2", "a67.instance": "web-0-aaaa"},
    )  # fmt: skip
    try:
        running(engine, container_instance("web", busybox, *SLEEP))
        rev = engine.want("n1")
        engine.wait_applied("n1", rev)
        wait_for("the foreign container", lambda: foreigner.name in [f["name"] for f in engine.latest("n1")["foreign"]])
        for untouched in (foreigner, other_node):
            untouched.reload()
            assert untouched.status == "running"
        beat = engine.latest("n1")
        assert other_node.name not in [f["name"] for f in beat["foreign"]]
    finally:
        other_node.remove(force=True)


@pytest.mark.parametrize("how", ["remove", "stop", "kill", "pause", "rename", "limits"])
def test_drift_is_repaired_within_five_seconds(
    engine: FakeEngine, client: docker.DockerClient, busybox: str, how: str
) -> None:
    running(engine, container_instance("web", busybox, *SLEEP))
    before = container(client, engine, "web-0-aaaa")
    act: dict[str, Any] = {
        "remove": lambda: before.remove(force=True),
        "stop": lambda: before.stop(timeout=1),
        "kill": before.kill,
        "pause": before.pause,
        "rename": lambda: before.rename(f"mine-{secrets.token_hex(4)}"),
        "limits": lambda: before.update(mem_limit=64 * 2**20, memswap_limit=64 * 2**20),
    }
    act[how]()
    since = time.monotonic()

    def repaired() -> bool:
        now = find(client, engine, "web-0-aaaa")
        return (
            now is not None
            and now.status == "running"
            and now.name == f"a67-{engine.cloud}-web-0-aaaa"
            and now.attrs["HostConfig"]["Memory"] == 32 * 2**20
            and (how != "remove" or now.id != before.id)
        )

    wait_for("the repair", repaired, 15)
    assert time.monotonic() - since < 5


@pytest.mark.parametrize("how", ["remove", "stop", "pause"])
def test_drift_that_is_only_reported_is_not_repaired(
    engine: FakeEngine, client: docker.DockerClient, busybox: str, how: str
) -> None:
    running(engine, container_instance("web", busybox, *SLEEP, drift="report"))
    before = container(client, engine, "web-0-aaaa")
    {"remove": lambda: before.remove(force=True), "stop": lambda: before.stop(timeout=1), "pause": before.pause}[how]()
    expected = {
        "remove": ("missing", ["removed"]), "stop": ("exited", ["stopped by hand"]), "pause": ("paused", ["paused"]),
    }[how]  # fmt: skip
    engine.wait_instance("n1", "web-0-aaaa", phase=expected[0], drift=expected[1])
    time.sleep(1.5)
    now = find(client, engine, "web-0-aaaa")
    assert (now.status if now else None) == {"remove": None, "stop": "exited", "pause": "paused"}[how]


def test_drift_off_is_not_even_reported(engine: FakeEngine, client: docker.DockerClient, busybox: str) -> None:
    running(engine, container_instance("web", busybox, *SLEEP, drift="off"))
    container(client, engine, "web-0-aaaa").pause()
    engine.wait_instance("n1", "web-0-aaaa", phase="paused", drift=[])


def test_a_crash_is_restarted_and_told_with_its_last_words(engine: FakeEngine, busybox: str) -> None:
    engine.want("n1", container_instance("bad", busybox, "sh", "-c", "echo no such table; exit 3"))
    found = wait_for(
        "the crash to be counted",
        lambda: (i := engine.instance("n1", "bad-0-aaaa")) and i["restarts"] >= 2 and i["phase"] == "failed" and i,
        30,
    )
    assert found["exit_code"] == 3
    assert found["detail"] == "ended with exit code 3: no such table"
    assert found["drift"] == []


def test_a_job_that_ends_well_is_not_run_again(engine: FakeEngine, client: docker.DockerClient, busybox: str) -> None:
    engine.want("n1", container_instance("job", busybox, "true", restart="on-failure"))
    found = engine.wait_instance("n1", "job-0-aaaa", phase="exited", exit_code=0)
    assert found["drift"] == []
    made = container(client, engine, "job-0-aaaa")
    assert made.attrs["RestartCount"] == 0


def test_out_of_memory_is_said(engine: FakeEngine, busybox: str) -> None:
    engine.want(
        "n1",
        container_instance("fat", busybox, "sh", "-c", "sleep 1; tail /dev/zero", memory=8 * 2**20, restart="no"),
    )
    found = engine.wait_instance("n1", "fat-0-aaaa", phase="exited", oom=True)
    assert found["detail"] == "killed: out of memory (its limit is 8 MiB)"


def test_an_image_that_is_nowhere_is_said_in_words(engine: FakeEngine, busybox: str) -> None:
    engine.want("n1", container_instance("web", "nowhere.invalid/nothing:9", *SLEEP))
    found = engine.wait_instance("n1", "web-0-aaaa", 60, phase="failed")
    assert found["detail"].startswith(
        "image nowhere.invalid/nothing:9 is not on this node and no registry answered: "
    ), found
    # It is repaired at once when the engine says something else.
    running(engine, container_instance("web", busybox, *SLEEP))


def test_an_image_is_pulled_with_its_progress_told(
    engine: FakeEngine, client: docker.DockerClient, busybox: str
) -> None:
    with Registry(client.images.get(busybox)) as registry:
        image = f"127.0.0.1:{registry.port}/tests/busy:{secrets.token_hex(4)}"
        try:
            running(engine, container_instance("web", image, *SLEEP))
            phases = {i["phase"]: i["detail"] for h in engine.heartbeats for i in h["instances"] if i["image"] == image}
            assert phases["pulling"].startswith(f"pulling {image}")
            assert registry.manifests_served == 1
            # It is here now: nobody is asked again.
            running(engine, container_instance("web", image, *SLEEP, rev="bbbb"))
            assert registry.manifests_served == 1
            missing = f"127.0.0.1:{registry.port}/tests/none:1"
            engine.want("n1", container_instance("web", missing, *SLEEP))
            found = engine.wait_instance("n1", "web-0-aaaa", phase="failed")
            assert found["detail"].startswith(
                f"image {missing} is not on this node and its registry has none of this name"
            )
            rev = engine.want("n1")
            engine.wait_applied("n1", rev)
        finally:
            client.images.remove(image, force=True)


def test_a_command_that_does_not_exist_is_said_in_words(engine: FakeEngine, busybox: str) -> None:
    engine.want("n1", container_instance("web", busybox, "no-such-program"))
    found = engine.wait_instance("n1", "web-0-aaaa", phase="failed")
    assert found["detail"] == "the command cannot be started: no-such-program failed: No such file or directory"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["http", "tcp", "command"])
def test_probes_of_every_kind_turn_with_the_instance(engine: FakeEngine, busybox: str, kind: str) -> None:
    kinds: dict[str, Doc] = {
        "http": {"kind": "http", "target": "/www/ok"},
        "tcp": {"kind": "tcp", "target": ""},
        "command": {"kind": "command", "target": "", "command": ["test", "-e", "/tmp/www/ok"]},
    }
    probe = http_probe("/", interval=0.3, unhealthy_after=2, timeout=2) | kinds[kind]
    script = (
        "mkdir /tmp/www; touch /tmp/www/ok; httpd -p 8080 -h /tmp; sleep 6; rm /tmp/www/ok; killall httpd; sleep 99"
    )
    engine.want("n1", container_instance("web", busybox, "sh", "-c", script, port=8080, health=probe))
    engine.wait_instance("n1", "web-0-aaaa", phase="running", health="healthy")
    found = engine.wait_instance("n1", "web-0-aaaa", phase="running", health="unhealthy")
    assert found["healthy_since"] == 0
    assert found["detail"]


def test_an_existing_container_is_adopted_as_it_is(
    engine: FakeEngine, client: docker.DockerClient, busybox: str, foreigner: Container
) -> None:
    running(engine, container_instance("web", busybox, *SLEEP, adopt=foreigner.name))
    assert find(client, engine, "web-0-aaaa") is None
    beat = engine.latest("n1")
    assert foreigner.name not in [f["name"] for f in beat["foreign"]]
    # Not desired under that name any more: it goes when the new revision runs.
    rev = engine.want("n1", container_instance("web", busybox, *SLEEP, rev="bbbb"))
    engine.wait_applied("n1", rev)
    assert find(client, engine, "web-0-bbbb") is not None
    with pytest.raises(NotFound):
        foreigner.reload()


def test_a_container_to_adopt_that_is_not_there_is_made(
    engine: FakeEngine, client: docker.DockerClient, busybox: str
) -> None:
    running(engine, container_instance("web", busybox, *SLEEP, adopt="there-is-no-such-container"))
    assert find(client, engine, "web-0-aaaa") is not None


def test_what_is_to_be_kept_is_left_alone(engine: FakeEngine, client: docker.DockerClient, busybox: str) -> None:
    wanted = container_instance("web", busybox, *SERVE, port=8080, health=http_probe("/passwd"))
    running(engine, wanted)
    before = container(client, engine, "web-0-aaaa")
    rev = engine.want("n1", {k: wanted[k] for k in ("id", "app", "slot", "rev", "epoch", "adopt")} | {"keep": True})
    engine.wait_applied("n1", rev)
    engine.wait_instance("n1", "web-0-aaaa", phase="running", health="healthy")
    before.reload()
    assert before.status == "running"
    before.remove(force=True)
    engine.wait_instance("n1", "web-0-aaaa", phase="missing")


def test_two_agents_share_a_docker_engine(engine: FakeEngine, client: docker.DockerClient, busybox: str) -> None:
    second = engine.agent("n2", "--name-prefix", f"a67-{engine.cloud}-n2-", runtime="docker").start()
    engine.want("n2", container_instance("web", busybox, *SLEEP, slot=1))
    running(engine, container_instance("web", busybox, *SLEEP))
    engine.wait_instance("n2", "web-1-aaaa", phase="running")
    assert container(client, engine, "web-1-aaaa").name == f"a67-{engine.cloud}-n2-web-1-aaaa"
    engine.wait_applied("n2", engine.want("n2"))
    assert find(client, engine, "web-1-aaaa") is None
    assert container(client, engine, "web-0-aaaa").status == "running"
    second.kill(15)


def test_a_new_epoch_makes_the_instance_anew(engine: FakeEngine, client: docker.DockerClient, busybox: str) -> None:
    wanted = container_instance("web", busybox, *SLEEP)
    running(engine, wanted)
    before = container(client, engine, "web-0-aaaa")
    rev = engine.want("n1", wanted | {"epoch": 2})
    engine.wait_applied("n1", rev)
    after = container(client, engine, "web-0-aaaa")
    assert after.id != before.id
    assert after.labels["a67.epoch"] == "2"


def test_logs_are_streamed_and_followed(engine: FakeEngine, busybox: str) -> None:
    script = "echo one; echo two >&2; i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.3; done"
    running(engine, container_instance("talk", busybox, "sh", "-c", script))
    task = engine.ask_logs("n1", "talk-0-aaaa", tail=1000, follow=True)
    lines = wait_for("lines", lambda: len(found := engine.lines.get(task, [])) > 6 and found)
    # The Docker Engine itself does not order the two streams.
    assert {("out", "one"), ("err", "two"), ("out", "tick 1")} == {(x["s"], x["m"]) for x in lines[:3]}
    assert all(abs(x["t"] - time.time()) < 60 for x in lines)
    engine.close_task.add(task)
    wait_for("the end of the task", lambda: task in engine.task_ended)
    short = engine.ask_logs("n1", "talk-0-aaaa", tail=2)
    wait_for("the short log", lambda: short in engine.task_ended)
    assert len(engine.lines[short]) == 2


def test_the_engine_may_go_and_come_back(engine: FakeEngine, client: docker.DockerClient, busybox: str) -> None:
    running(engine, container_instance("web", busybox, *SLEEP))
    engine.stop()
    container(client, engine, "web-0-aaaa").remove(force=True)
    wait_for(
        "the repair without an engine", lambda: (c := find(client, engine, "web-0-aaaa")) and c.status == "running"
    )
    seen = len(engine.heartbeats)
    engine.start()
    wait_for("a heartbeat", lambda: len(engine.heartbeats) > seen, 30)
    rev = engine.want("n1", container_instance("web", busybox, *SLEEP, rev="bbbb"))
    engine.wait_applied("n1", rev)


def test_a_restarted_agent_keeps_what_was_last_desired_without_an_engine(
    engine: FakeEngine, shared: tuple[FakeEngine, Agent], client: docker.DockerClient, busybox: str
) -> None:
    agent = shared[1]
    running(engine, container_instance("web", busybox, *SLEEP, env={"SECRET": "s3cr3t-value"}))
    before = container(client, engine, "web-0-aaaa")
    agent.kill()
    engine.stop()
    assert b"s3cr3t-value" not in b"".join(f.read_bytes() for f in agent.state.iterdir() if f.is_file())
    assert all(f.stat().st_mode & 0o077 == 0 for f in agent.state.iterdir())
    agent.start()
    wait_for("the sealed state to be opened", lambda: "keeping what was last desired" in agent.output())
    before.remove(force=True)
    wait_for("the repair", lambda: (c := find(client, engine, "web-0-aaaa")) and c.status == "running")
    engine.start()
    engine.wait_instance("n1", "web-0-aaaa", 30, phase="running")
