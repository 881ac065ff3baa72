"""A real single-machine Swarm for tests: a Docker Engine of its own, in a network namespace of its own.

The machine's own Docker Engine is never part of a swarm. Requests to what runs there are made inside that namespace.
Its ingress network is not used: that needs a kernel with IPVS, which not every machine has.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.cloud import free_port, wait_for
from tests.support.images import docker_missing, need_busybox
from tests.support.private_docker import remove_leftovers
from tests.support.swarm_tls import Authority, dockerd_options, relay

TLS_PORT = 2376
"""Of the manager, in its own network."""


class PrivateSwarm:
    """A Docker Engine that is the only manager of a swarm."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = str(directory / "s")
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None
        self._client: docker.APIClient | None = None
        self.authority = Authority()
        self._relays: list[subprocess.Popen[str]] = []

    def tcp(self) -> str:
        """Return an address of this machine at which the manager is reached with TLS."""
        assert self.process is not None
        inside, port = f"unix:{self.directory}/tls", free_port()
        self._relays.append(relay(inside, f"tcp:127.0.0.1:{TLS_PORT}", "nsenter", "-t", str(self.process.pid), "-n"))
        self._relays.append(relay(f"tcp:127.0.0.1:{port}", inside))
        return f"tcp://127.0.0.1:{port}"

    def start(self) -> None:
        """Start the engine (again) and wait until it answers; it is still the manager that it was."""
        run = self.directory / "run"
        run.mkdir(exist_ok=True)
        (run / "containerd" / "containerd.pid").unlink(missing_ok=True)
        command = [
            "dockerd", "-H", self.url, "--data-root", str(self.directory / "data"), "--exec-root", str(run),
            "--pidfile", str(self.directory / "pid"), "--containerd-namespace", "a67swarm",
            "--containerd-plugins-namespace", "a67swarm-plugins",
            *dockerd_options(self.directory, self.authority, TLS_PORT),
        ]  # fmt: skip
        with (self.directory / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_for("the private Docker Engine", lambda: not docker_missing(self.socket), 40)
        except AssertionError:
            text = (self.directory / "dockerd.log").read_text(errors="replace")[-800:]
            pytest.skip(f"a private Docker Engine cannot be started here: {text}")

    def begin(self) -> None:
        """Make it a swarm."""
        with contextlib.suppress(docker.errors.APIError):
            # Such as that it is one already.
            self.client.init_swarm(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:2377")
        state = self.client.info()["Swarm"]
        if state["LocalNodeState"] != "active":
            pytest.skip(f"a swarm cannot be made here: {state}")

    @property
    def client(self) -> docker.APIClient:
        """A client of the private engine."""
        if self._client is None:
            self._client = docker.APIClient(base_url=self.url, version="auto", timeout=30)
        return self._client

    def services(self, cloud: str) -> dict[str, Any]:
        """Return by app the services with a cloud's stamp."""
        found = self.client.services(filters={"label": f"a67.cloud={cloud}"})
        return {s["Spec"]["Labels"]["a67.app"]: s for s in found}

    def inside(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Start Python code in the network namespace of the swarm; its output is a pipe."""
        assert self.process is not None
        argv = ["nsenter", "-t", str(self.process.pid), "-n", sys.executable, "-c", code, *arguments]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)

    def fetch(self, address: str) -> str:
        """Return what an address of the swarm answers to a GET, or why not."""
        code = (
            "import sys,urllib.request as u; print(u.urlopen('http://'+sys.argv[1], timeout=5).read().decode().strip())"
        )
        with self.inside(code, address) as process:
            return process.communicate(timeout=20)[0].strip()

    def clear(self) -> None:
        """Remove all services and secrets."""
        for service in self.client.services():
            self.client.remove_service(service["ID"])
        for secret in self.client.secrets():
            self.client.remove_secret(secret["ID"])

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the engine."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(60)

    def close(self) -> None:
        """End everything that it started, and remove its files."""
        if self._client is not None:
            with contextlib.suppress(Exception):
                self.clear()
                self._client.leave_swarm(force=True)
            self._client.close()
        for process in self._relays:
            process.kill()
            process.communicate()
        # Asked nicely, it would wait for every copy; nothing of it is needed any more.
        self.stop(signal.SIGKILL)
        remove_leftovers(self.directory)


@pytest.fixture(scope="module")
def swarm() -> Iterator[PrivateSwarm]:
    """A swarm of one machine, with a busybox image."""
    if os.geteuid() != 0 or not all(shutil.which(program) for program in ("dockerd", "unshare", "nsenter", "ip")):
        pytest.skip("a private swarm needs root, dockerd, unshare, nsenter and ip")
    private = PrivateSwarm(Path(tempfile.mkdtemp(prefix="a67s")))
    try:
        private.start()
        private.begin()
        need_busybox(private.socket)
        yield private
    finally:
        private.close()


def web(word: str, **keys: Any) -> dict[str, Any]:
    """Return an app of the docker runtime that answers every request with ``word``, and ends in peace when asked."""
    script = (
        f"mkdir -p /w; echo {word} > /w/index.html; trap 'sleep 1; kill $p; exit 0' TERM; "
        f"echo up with {word}; httpd -f -p 8080 -h /w & p=$!; wait $p"
    )
    app = {
        "image": "busybox:1.36.1", "command": ["sh", "-c", script], "port": 8080, "replicas": 2,
        "health": {"path": "/", "interval": "300ms"}, "update": {"healthy_for": "500ms", "deadline": "40s"},
        "resources": {"memory": "32Mi", "cpu": 0.2},
    }  # fmt: skip
    return app | keys


def describe(state: Any) -> str:
    """Return a state of an app in one line, for a failure's text."""
    return json.dumps([state.sync, state.health, state.drift, state.reason, [dict(i) for i in state.instances]])
