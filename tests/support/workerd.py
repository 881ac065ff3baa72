"""A Worker of ours in workerd, the runtime that Cloudflare runs them in."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import pytest

from automator67.engine.names.cloudflare_worker import COMPATIBILITY, MAIN, SITES
from automator67.engine.names.worker import FarSite, worker
from tests.support.cloud import free_port, wait_for
from tests.support.tls_backend import behind_hosts

_PLACE = Path(__file__).parents[2] / ".venv" / "node_modules" / "@cloudflare"
_CONFIG = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .router),
    (name = "internet", network = (allow = ["private", "local", "public"], tlsOptions = (trustedCertificates = [CA]))),
  ],
  sockets = [(name = "http", address = "127.0.0.1:PORT", http = (), service = "main")],
);
const router :Workerd.Worker = (
  modules = [(name = "MAIN", esModule = embed "MAIN"), (name = "SITES", esModule = embed "SITES")],
  compatibilityDate = "DATE",
);
"""


class Reply:
    """An answer of the Worker."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.text = answer.status, answer.read().decode()
        self.headers = {k.lower(): v for k, v in answer.getheaders()}


class Workerd:
    """The runtime with a Worker for some sites."""

    def __init__(self, directory: Path, sites: Sequence[FarSite], authority: str, names: Sequence[str]) -> None:
        """``names`` mean this machine for it; it trusts what the PEM certificate ``authority`` vouches for."""
        programs = sorted(_PLACE.glob("workerd-*/bin/workerd"))
        if not programs:
            pytest.skip("workerd is not installed (npm install --prefix .venv workerd)")
        self.port = free_port()
        directory.mkdir()
        (directory / MAIN).write_text(files("automator67.engine.names").joinpath("router.js").read_text())
        (directory / SITES).write_text(worker(sites).sites)
        words = {"CA": json.dumps(authority), "PORT": str(self.port), "MAIN": MAIN, "SITES": SITES,
                 "DATE": COMPATIBILITY}  # fmt: skip
        text = _CONFIG
        for word, value in words.items():
            text = text.replace(word, value)
        (directory / "config.capnp").write_text(text)
        argv = [*behind_hosts(directory, *names), str(programs[0]), "serve", "config.capnp"]
        self._log = (directory / "log").open("w")
        self._process = subprocess.Popen(argv, cwd=directory, stdout=self._log, stderr=self._log)
        wait_for("workerd", self._listens)

    def ask(
        self,
        host: str,
        path: str = "/",
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request as Cloudflare would."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request(method, path, body or None, {"Host": host, **(headers or {})})
            return Reply(connection.getresponse())

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(Path(self._log.name).read_text())
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0
