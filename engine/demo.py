"""The demo: a git repository made from the example, an engine with its page, and two agents on localhost."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import pygit2
from sqlalchemy import select

from automator67.engine.control_client import ControlClient
from automator67.engine.store.database import Store, StoreUnavailable, open_store
from automator67.engine.store.facts import app_state_rows
from automator67.engine.store.tables import events
from automator67.engine.supervise import Supervisor, own_command

NODES = ("one", "two")
IMAGE = "busybox:1.36.1"
START_SECONDS = 30.0


_T = TypeVar("_T")


class DemoError(Exception):
    """The demo cannot be set up; one line."""


class Demo:
    """Everything the demo starts, so that it can end all of it again."""

    def __init__(self, directory: Path, runtime: str, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._runtime = runtime
        self._say = say
        self._state = directory / "engine"
        self._clone = directory / "config"
        self._listen, self._web = _free_port(), _free_port()
        self._cloud = f"demo-{secrets.token_hex(3)}"
        self._supervisors: list[Supervisor] = []
        self._joined: list[str] = []
        self._store: Store | None = None
        self._seen = 0

    def prepare(self) -> None:
        """Make the repository and its clone from the example."""
        self._runtime = self._choose_runtime()
        self._directory.mkdir(parents=True)
        bare = self._directory / "cloud.git"
        pygit2.init_repository(str(bare), bare=True, initial_head="main")
        shutil.copytree(_example(), self._clone, ignore=shutil.ignore_patterns("__pycache__"))
        settings = self._clone / "automator67.yaml"
        # Two demos on one Docker Engine must not take each other's containers for their own.
        settings.write_text(settings.read_text().replace("name: home", f"name: {self._cloud}"))
        if self._runtime == "process":
            _use_processes(self._clone)
        _first_commit(self._clone, bare)
        self._say(f"config repository: {bare}\nyour clone of it:  {self._clone}")

    def start(self) -> None:
        """Start the engine and the page, let two agents join, and start them."""
        self._state.mkdir(mode=0o700)
        os.environ["A67_LOG"] = os.environ.get("A67_LOG", "warning")
        os.environ["A67_WEBHOOK_SECRET"] = secrets.token_hex(16)
        places = ["--repo", str(self._directory / "cloud.git"), "--state", str(self._state), "--poll", "500ms"]
        addresses = ["--listen", f"127.0.0.1:{self._listen}", "--web", f"127.0.0.1:{self._web}"]
        up = own_command("up", *places, *addresses)
        self._supervisors.append(Supervisor([("up", up)], output=self._directory / "demo.log"))
        self._tick()
        client = ControlClient(self._state)
        self._wait("the engine", lambda: client.answers())
        self._say(f"page: http://127.0.0.1:{self._web}/")
        for node in NODES:
            self._join(client, node)
            agent = [sys.executable, "-m", "automator67.agent", "run", "--state", str(self._directory / node)]
            # Any free port: the usual ones need root, and may be taken.
            anywhere = [word for what in ("--proxy", "--http", "--https") for word in (what, "127.0.0.1:0")]
            # Both share one Docker Engine: a copy that moves needs another name there.
            argv = [*agent, "--runtime", self._runtime, *anywhere, "--name-prefix", f"a67-{self._cloud}-{node}-"]
            self._supervisors.append(Supervisor([(f"agent {node}", argv)], output=self._directory / "demo.log"))
            self._tick()
            self._say(f"node {node} has joined ({self._runtime} runtime)")

    def follow(self) -> None:
        """Keep everything running, and print what the engine has written down since the last call."""
        self._tick()
        store = self._open()
        if store is None:
            return
        with store.read() as tx:
            rows = list(tx.execute(select(events).where(events.c.seq > self._seen).order_by(events.c.seq)))
        for row in rows:
            self._seen = row.seq
            at = time.strftime("%H:%M:%S", time.localtime(row.at))
            self._say(f"{at}  {row.commit_id[:8] or '-':<8}  {row.resource}: {row.message}")

    def healthy(self) -> bool:
        """Whether every app is synced and healthy."""
        store = self._open()
        if store is None:
            return False
        with store.read() as tx:
            states = app_state_rows(tx)
        return bool(states) and all(s.health == "healthy" and s.sync == "synced" for s in states.values())

    def show_urls(self) -> None:
        """Print where apps answer, and what to try next."""
        store = self._open()
        if store is None:
            return
        with store.read() as tx:
            states = app_state_rows(tx)
        port = self._wait("the gateway", self._gateway)
        home = self._directory / NODES[0] / "edge"
        self._say(f"app/hello: https://hello.localhost:{port}/")
        self._say(f"  curl --cacert {home / 'ca.pem'} https://hello.localhost:{port}/")
        for name, state in states.items():
            for i in state.instances:
                if i["address"]:
                    self._say(f"app/{name} on {i['node']}: http://{i['address']}/")
        self._say(
            f"\nNow change something:\n  cd {self._clone}\n  edit apps/hello.yaml (GREETING), then:"
            "\n  git commit -am hi && git push\n"
            "  git fetch && git log -1 --notes=automator67\nCtrl-C ends the demo and removes everything."
        )

    def stop(self) -> None:
        """End every process and remove what the agents run."""
        for supervisor in reversed(self._supervisors):
            supervisor.stop()
        if self._store is not None:
            self._store.close()
        for node in self._joined:
            argv = [sys.executable, "-m", "automator67.agent", "purge", "--state", str(self._directory / node)]
            subprocess.run([*argv, "--runtime", self._runtime], capture_output=True, check=False, timeout=60)

    def _join(self, client: ControlClient, node: str) -> None:
        token = client.token(node)["token"]
        url = f"https://127.0.0.1:{self._listen}"
        argv = [sys.executable, "-m", "automator67.agent", "join", url, "-", "--state", str(self._directory / node)]
        done = subprocess.run(argv, input=f"{token}\n", capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise DemoError(f"node {node} could not join: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        self._joined.append(node)

    def _choose_runtime(self) -> str:
        if self._runtime == "process":
            return "process"
        why = _docker_missing()
        if not why:
            self._say("a Docker Engine answers: apps run in containers")
            return "docker"
        if self._runtime == "docker":
            raise DemoError(why)
        self._say(f"{why}: apps run as plain processes")
        return "process"

    def _tick(self) -> None:
        for supervisor in self._supervisors:
            supervisor.tick()

    def _gateway(self) -> int:
        """Return the port of the gateway, 0 while it does not serve."""
        try:
            return int(json.loads((self._directory / NODES[0] / "edge" / "status.json").read_text())["https"])
        except (OSError, ValueError, KeyError):
            return 0

    def _wait(self, what: str, there: Callable[[], _T]) -> _T:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if found := there():
                return found
            self._tick()
            time.sleep(0.05)
        log = (self._directory / "demo.log").read_text(errors="replace").strip().splitlines()
        raise DemoError(f"{what} did not start within {START_SECONDS:.0f} s: {log[-1] if log else 'no output'}")

    def _open(self) -> Store | None:
        if self._store is None:
            try:
                self._store = open_store(self._state / "store.db", readonly=True)
            except StoreUnavailable:
                return None
        return self._store


def _docker_missing() -> str:
    """Return why containers cannot be used here, or nothing when they can."""
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        client = docker.from_env(timeout=20)
    except DockerException:
        return "no Docker Engine answers here"
    try:
        client.images.get(IMAGE)
    except ImageNotFound:
        try:
            client.images.pull(IMAGE)
        except DockerException:
            return f"the image {IMAGE} is not here and cannot be pulled"
    except DockerException:
        return "the Docker Engine here does not answer"
    finally:
        client.close()
    return ""


def _example() -> Path:
    """Return the folder of the example repository, which is packaged as data beside the code."""
    spec = find_spec("automator67.example")
    for place in (spec.submodule_search_locations if spec else None) or ():
        if (Path(place) / "automator67.yaml").exists():
            return Path(place)
    raise DemoError("the example repository is not installed with this package")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _use_processes(clone: Path) -> None:
    """Rewrite the example's apps from containers to plain processes of this Python."""
    serve = (
        "import http.server,os\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        body=(os.environ['GREETING']+'\\n').encode()\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(body)\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1',int(os.environ['PORT'])),H).serve_forever()\n"
    )
    tick = "import time\nwhile True: print(time.strftime('%H:%M:%S'),flush=True); time.sleep(5)\n"
    (clone / "apps" / "hello.yaml").write_text(
        "# A web app as a plain process: no Docker Engine answered on this machine.\n"
        f"runtime: process\ncommand: {json.dumps([sys.executable, '-c', serve])}\n"
        "port: 8080\ndomain: hello.localhost\nreplicas: 2\nresources: {memory: 64Mi}\nenv:\n  GREETING: hello\n"
        "health: {path: /, interval: 1s}\nupdate: {healthy_for: 1s}\n"
    )
    (clone / "apps" / "clock.yaml").write_text(
        "# A worker without a port.\n"
        f"runtime: process\ncommand: {json.dumps([sys.executable, '-c', tick])}\n"
        "resources: {memory: 64Mi}\ndepends_on: [hello]\nupdate: {healthy_for: 1s}\n"
    )


def _first_commit(clone: Path, bare: Path) -> None:
    repository = pygit2.init_repository(str(clone), initial_head="main")
    repository.index.add_all()
    repository.index.write()
    person = pygit2.Signature("automator67 demo", "demo@localhost")
    tree = repository.index.write_tree()
    repository.create_commit("refs/heads/main", person, person, "The example", tree, [])
    repository.remotes.create("origin", str(bare))
    repository.config.set_multivar("remote.origin.fetch", "^$", "+refs/notes/*:refs/notes/*")
    repository.remotes["origin"].push(["refs/heads/main:refs/heads/main"])
    repository.config["branch.main.remote"] = "origin"
    repository.config["branch.main.merge"] = "refs/heads/main"
