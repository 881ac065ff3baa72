"""A whole cloud on this machine for tests: bare repository, engine, web page, agents; all real processes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from automator67.engine.judge import AppState
from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.sealing import seal
from automator67.engine.store.commits import CommitRecord, find_commit
from automator67.engine.store.database import Store, StoreUnavailable, open_store
from automator67.engine.store.facts import app_state_rows
from automator67.engine.store.nodes import node_records

T = TypeVar("T")
GIT = ["git", "-c", "user.name=Ana", "-c", "user.email=ana@example.org", "-c", "commit.gpgsign=false"]


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(what: str, found: Callable[[], T | None], seconds: float = 30.0) -> T:
    """Return the first truthy answer of ``found``; fail, saying what was waited for, after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


def http_app(greeting: str = "hello", **keys: Any) -> dict[str, Any]:
    """Return an app of the process runtime that answers every request with ``greeting``."""
    code = (
        "import http.server,os\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(s):\n"
        "        b=os.environ['GREETING'].encode();s.send_response(200);s.end_headers();s.wfile.write(b)\n"
        "    def log_message(s,*a): print('request', s.path, flush=True)\n"
        "print('up with', os.environ['GREETING'], flush=True)\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1',int(os.environ['PORT'])),H).serve_forever()\n"
    )
    app = {
        "runtime": "process", "command": [sys.executable, "-c", code], "port": 8080, "env": {"GREETING": greeting},
        "health": {"path": "/", "interval": "500ms"},
        "update": {"healthy_for": "0s", "deadline": "20s", "drain": "500ms"},
        "resources": {"memory": "64Mi"},
    }  # fmt: skip
    return app | keys


class Cloud:
    """A repository with a working clone, an engine with its page, and agents that tests start and kill."""

    def __init__(self, directory: Path, *, nodes: tuple[str, ...] = ("one", "two"), runtime: str = "process") -> None:
        self.directory = directory
        self.state = directory / "state"
        self.bare = directory / "cloud.git"
        self.clone = directory / "clone"
        self.nodes = nodes
        self.runtime = runtime
        self.name = f"t{secrets.token_hex(4)}"
        self.listen, self.web = free_port(), free_port()
        self.secret = secrets.token_hex(16)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.poll = "60s"
        self.host = "127.0.0.1"
        """Where the engine listens for agents."""
        self.inside: dict[str, list[str]] = {}
        """By node: what its agent is run by, such as ``ip netns exec NAME``."""
        self.own_names = False
        """Whether each node names its containers by itself: on one Docker Engine a copy can then move between them."""
        self._store: Store | None = None
        subprocess.run([*GIT, "init", "-q", "--bare", "-b", "main", str(self.bare)], check=True)
        subprocess.run(["git", "config", "receive.denyDeleteCurrent", "ignore"], cwd=self.bare, check=True)
        subprocess.run([*GIT, "clone", "-q", str(self.bare), str(self.clone)], check=True, capture_output=True)
        subprocess.run([*GIT, "checkout", "-q", "-b", "main"], cwd=self.clone, check=False, capture_output=True)

    # -- the repository ------------------------------------------------------------------------------------------

    def files(self, files: Mapping[str, Any]) -> None:
        """Write files into the clone: data becomes YAML (JSON is YAML), text stays, None deletes."""
        for name, content in files.items():
            path = self.clone / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))

    def seal(self, name: str, value: str | bytes) -> None:
        """Write secrets/NAME.sealed into the clone, sealed to the engine's key (which the first call makes)."""
        key = Keyring(self.state / "secrets").ensure().public
        data = value.encode() if isinstance(value, str) else value
        self.files({f"secrets/{name}.sealed": seal(key, self.name, name, data)})

    def push(self, files: Mapping[str, Any] | None = None, message: str = "change", *, force: bool = False) -> str:
        """Commit and push; return the commit id."""
        self.files(files or {})
        subprocess.run([*GIT, "add", "-A"], cwd=self.clone, check=True)
        subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", message], cwd=self.clone, check=True)
        self.git("push", "-q", *(["--force"] if force else []), "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git in the clone; return its output."""
        done = subprocess.run([*GIT, *arguments], cwd=self.clone, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def base(self) -> dict[str, Any]:
        """Return the files every cloud needs: settings and nodes."""
        settings = {
            "name": self.name,
            "heartbeat": {"interval": "1s", "suspect_after": "5s", "unavailable_after": "60s"},
        }
        return {"automator67.yaml": settings} | {f"nodes/{n}.yaml": {"kind": "agent"} for n in self.nodes}

    # -- processes -----------------------------------------------------------------------------------------------

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line with this cloud's state directory."""
        environment = self.environment()
        argv = [sys.executable, "-m", "automator67.engine.cli", *arguments]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, cwd=self.directory)
        if check and done.returncode not in (0, 1):
            raise AssertionError(f"{arguments} ended with {done.returncode}: {done.stderr}")
        return done

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of our processes."""
        return os.environ | {"A67_STATE": str(self.state), "A67_WEBHOOK_SECRET": self.secret} | more

    def start(self, name: str, argv: list[str], **environment: str) -> subprocess.Popen[bytes]:
        """Start one of our processes under a name; its output goes to NAME.log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv, env=self.environment(**environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd=self.directory,
            )  # fmt: skip
        return self.processes[name]

    def start_engine(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start the engine and wait until it answers."""
        argv = ["engine", "--repo", str(self.bare), "--listen", f"{self.host}:{self.listen}", "--poll", self.poll]
        argv += ["--web", f"127.0.0.1:{self.web}"]
        process = self.start("engine", [sys.executable, "-m", "automator67.engine.cli", *argv], **environment)
        if "A67_CRASH_AT" not in environment:
            wait_for("the engine's control socket", lambda: process.poll() is not None or self.answers())
            assert process.poll() is None, self.log("engine")
        return process

    def answers(self) -> bool:
        """Whether the engine's control socket accepts."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.state / "control.sock"))
            except OSError:
                return False
        return True

    def start_web(self) -> subprocess.Popen[bytes]:
        """Start the page and the webhook endpoint, and wait until they answer."""
        config = {"repository": str(self.bare), "branch": "main", "trusted_proxies": 0, "store": ""}
        config["secrets"] = {forge: [self.secret] for forge in ("github", "gitea", "forgejo", "gitlab", "generic")}
        (self.state / "web.json").write_text(json.dumps(config))
        (self.state / "web.json").chmod(0o600)
        argv = [sys.executable, "-m", "automator67.ui", "--state", str(self.state), "--listen", f"127.0.0.1:{self.web}"]
        process = self.start("web", argv)

        def listening() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.web)) == 0

        wait_for("the web process", listening)
        return process

    def join(self, node: str) -> None:
        """Make a token and let a new agent of that name join."""
        answer = json.loads(self.cli("node", "token", node, "--json").stdout)
        url = f"https://{self.host}:{self.listen}"
        argv = [
            *self.inside.get(node, ()),
            sys.executable,
            "-m",
            "automator67.agent",
            "join",
            url,
            answer["token"],
            "--state",
            str(self.agent_state(node)),
        ]
        done = subprocess.run(argv, env=self.environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def agent_state(self, node: str) -> Path:
        """Return the state directory of a node's agent."""
        return self.directory / f"agent-{node}"

    def start_agent(self, node: str, *more: str) -> subprocess.Popen[bytes]:
        """Start (again) the agent of a node that has joined."""
        argv = [
            *self.inside.get(node, ()),
            sys.executable,
            "-m",
            "automator67.agent",
            "run",
            "--state",
            str(self.agent_state(node)),
        ]
        anywhere = [word for what in ("--proxy", "--http", "--https") for word in (what, "127.0.0.1:0")]
        if self.own_names:
            anywhere += ["--name-prefix", f"{self.name}-{node}-"]
        return self.start(f"agent-{node}", [*argv, "--runtime", self.runtime, *anywhere, *more])

    def up(self) -> None:
        """Start everything: engine, page, and the agents of all nodes."""
        self.start_engine()
        self.start_web()
        for node in self.nodes:
            self.join(node)
            self.start_agent(node)
        wait_for("all nodes to report", lambda: self.healthy_nodes() >= set(self.nodes))

    def healthy_nodes(self) -> set[str]:
        """Return the nodes that are healthy as far as the store knows."""
        try:
            with self.store.read() as tx:
                return {r.name for r in node_records(tx) if r.state == "healthy"}
        except StoreUnavailable:
            return set()

    def kill(self, name: str, sig: int = signal.SIGKILL) -> None:
        """Send a signal to one of our processes and wait until it is gone."""
        process = self.processes.pop(name)
        process.send_signal(sig)
        process.wait(20)

    def log(self, name: str) -> str:
        """Return what a process has printed."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    # -- what the cloud says ------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store, opened to read."""
        if self._store is None:
            self._store = open_store(self.state / "store.db", readonly=True)
        return self._store

    def app(self, name: str) -> AppState | None:
        """Return the recorded state of an app."""
        try:
            with self.store.read() as tx:
                return app_state_rows(tx).get(name)
        except StoreUnavailable:
            return None

    def commit(self, commit: str) -> CommitRecord | None:
        """Return the record of a commit."""
        try:
            with self.store.read() as tx:
                return find_commit(tx, commit)
        except StoreUnavailable:
            return None

    def forget_store(self) -> None:
        """Lose the store, as a broken disk would; the engine must not run."""
        if self._store is not None:
            self._store.close()
            self._store = None
        for file in self.state.glob("store.db*"):
            file.unlink()

    def wait_commit(self, commit: str, state: str = "applied", seconds: float = 40.0) -> CommitRecord:
        """Wait until a commit has a state."""

        def there() -> CommitRecord | None:
            record = self.commit(commit)
            return record if record is not None and record.state == state else None

        try:
            return wait_for(f"commit {commit[:8]} to be {state}", there, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.commit(commit)}\n{self.log('engine')[-3000:]}") from None

    def wait_app(self, name: str, good: Callable[[AppState], bool], seconds: float = 30.0) -> AppState:
        """Wait until an app's state satisfies ``good``."""
        return wait_for(f"app/{name}", lambda: ((s := self.app(name)) is not None and good(s) and s) or None, seconds)

    def __enter__(self) -> Cloud:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for name in list(self.processes):
            process = self.processes.pop(name)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for node in self.nodes:
            if self.agent_state(node).exists():
                argv = [sys.executable, "-m", "automator67.agent", "purge", "--state", str(self.agent_state(node))]
                subprocess.run([*argv, "--runtime", self.runtime], capture_output=True, timeout=60)
        if self._store is not None:
            self._store.close()
        if kind is None:
            shutil.rmtree(self.directory, ignore_errors=True)
