"""The edge process: answers Caddy's questions from the table, and keeps Caddy running."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import random
import secrets
import signal
import socket
import ssl
import sys
import tempfile
import time
from typing import Any, cast

from automator67.agent.edge import dns, zone
from automator67.agent.edge.answers import Answers
from automator67.agent.edge.caddy import Caddy
from automator67.agent.edge.config import Acme, Files, Ports, caddy_config
from automator67.agent.edge.http import serve_http
from automator67.agent.edge.peers import set_peers
from automator67.agent.edge.reach import Reach
from automator67.agent.edge.table import Table, TableError, parse, split
from automator67.agent.edge.zone import Standing
from automator67.agent.state import make_directory, read, read_json, write_json

# So long the requests of an app without a copy wait for the next one; then they are told.
HOLD_SECONDS = 30.0
_LONGEST_SOCKET_PATH = 100
_PRIORITY = -10
_USUAL = {
    "proxy": ":6768",
    "http": ":80",
    "https": ":443",
    "gate": "127.0.0.1:0",
    "mesh": "127.0.0.1:0",
    "far": "127.0.0.1:0",
}


def run(home: str, hold_seconds: float = HOLD_SECONDS) -> int:
    """Serve until told to stop (SIGTERM ends Caddy too); return the exit code. Exits at once if another one serves."""
    make_directory(home)
    fd = os.open(f"{home}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0
    os.ftruncate(fd, 0)
    with contextlib.suppress(OSError):
        os.write(fd, str(os.getpid()).encode())
    # While Caddy waits for an answer, so do all requests.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    try:
        asyncio.run(Edge(home, hold_seconds).serve())
    except OSError as error:
        say(f"the edge cannot serve: {error}")
        return 1
    return 0


class Edge:
    """One running edge. ``home`` is its directory; see docs/architecture.md for the files there."""

    def __init__(self, home: str, hold_seconds: float) -> None:
        self._home, self._hold_seconds = home, hold_seconds
        self._doc: dict[str, Any] = {}
        self._reach = Reach()
        self._empty_since: dict[str, float] = {}
        self._known = read_json(f"{home}/ports.json") or {}
        self._token = str(self._known.get("token") or secrets.token_urlsafe(24))
        self._answers = Answers(home, self._token)
        self._caddy = Caddy(home, _socket_path(home), say)
        self._status: dict[str, Any] = {}
        self._status_written: dict[str, Any] = {}
        self._trouble = ""

    async def serve(self) -> None:
        """Serve until SIGTERM; SIGHUP says that the table is new."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._take_table)
        transport = await self._serve_dns()
        server = await self._serve_http()
        self._keep_ports()
        self._take_table()
        tasks = [asyncio.create_task(t) for t in (self._caddy.run(), self._reach.run(), self._every_second())]
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            task.result()
        self._caddy.stop()
        transport.close()
        server.close()

    async def _serve_dns(self) -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        for port in (int(self._known.get("dns", 0)), 0):
            with contextlib.suppress(OSError):
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Responder(self), local_addr=("127.0.0.1", port)
                )
                self._known["dns"] = transport.get_extra_info("sockname")[1]
                return transport
        raise OSError("no UDP port is free on 127.0.0.1")

    async def _serve_http(self) -> asyncio.Server:
        for port in (int(self._known.get("answers", 0)), 0):
            with contextlib.suppress(OSError):
                server = await serve_http(self._answers.answer, "127.0.0.1", port)
                self._known["answers"] = server.sockets[0].getsockname()[1]
                return server
        raise OSError("no TCP port is free on 127.0.0.1")

    def _take_table(self) -> None:
        doc = read_json(f"{self._home}/table.json")
        if doc is None:
            if os.path.exists(f"{self._home}/table.json"):
                say("the edge's table is damaged: the last one stays")
            return
        try:
            table = parse(doc)
        except TableError as error:
            say(str(error))
            return
        self._doc, self._answers.table = doc, table
        self._reach.watch({n: a for n, a in table.nodes.items() if n != table.node} if table.gateway else {})
        self._hold(table)
        try:
            set_peers(self._home, set(table.peers))
        except OSError as error:
            self._tell(error)
        self._configure(table)

    def _hold(self, table: Table) -> None:
        """Let the requests of apps without a copy wait, but not for ever."""
        now = time.monotonic()
        empty = {s.app for sites in table.sites.values() for s in sites if s.app and not table.apps.get(s.app)}
        self._empty_since = {app: self._empty_since.get(app, now) for app in empty}
        self._answers.held = {app for app, since in self._empty_since.items() if now - since < self._hold_seconds}

    def _configure(self, table: Table) -> None:
        identity = read(f"{self._home}/identity.pem")
        if identity is None:
            return
        listen = self._doc.get("listen", {})
        acme = self._doc.get("acme", {})
        ports = Ports(
            self._known["dns"], self._known["answers"],
            split(self._listen("gate", {}))[1], split(self._listen("mesh", {}))[1],
            split(self._listen("far", {}))[1],
            self._listen("proxy", listen), self._listen("http", listen), self._listen("https", listen),
        )  # fmt: skip
        files = Files(self._home, _socket_path(self._home), f"{self._home}/caddy.log")
        gateway = None
        if table.gateway is not None:
            gateway = Acme(str(acme.get("directory", "")), str(acme.get("root", "")), table.gateway.acme_email)
        try:
            fingerprint = _fingerprint(identity)
        except ValueError:
            say("identity.pem is damaged: Caddy keeps the last one")
            return
        self._caddy.want(caddy_config(files, ports, self._token, gateway, fingerprint))
        self._status = {
            "proxy": split(ports.proxy)[1], "https": split(ports.public_https)[1], "fingerprint": fingerprint,
        }  # fmt: skip

    def _listen(self, what: str, listen: dict[str, Any]) -> str:
        """Return the address to listen on; port 0 means: one that was free when it was first needed."""
        host, _, port = str(listen.get(what, _USUAL[what])).rpartition(":")
        if port == "0":
            if what not in self._known:
                self._known[what] = _free_port(host)
                self._keep_ports()
            port = str(self._known[what])
        return f"{host}:{port}"

    def _keep_ports(self) -> None:
        wanted = self._known | {"token": self._token}
        try:
            if wanted != read_json(f"{self._home}/ports.json"):
                write_json(f"{self._home}/ports.json", wanted)
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        """Say once that the disk is full or broken: the edge goes on with what it has in memory."""
        trouble = f"the edge's files cannot be written: {error.strerror}"
        if trouble != self._trouble:
            say(trouble)
        self._trouble = trouble

    async def _every_second(self) -> None:
        while True:
            if self._empty_since and self._answers.table is not None:
                self._hold(self._answers.table)
            status = self._status | {
                "problem": self._caddy.problem, "down": sorted(self._reach.down), "caddy": self._caddy.pid,
            }  # fmt: skip
            try:
                if self._status and status != self._status_written:
                    write_json(f"{self._home}/status.json", status)
                    self._status_written = status
            except OSError as error:
                self._tell(error)
            await asyncio.sleep(1.0)

    def records(self, question: dns.Question) -> list[dns.Service] | list[str] | None:
        """Return what a question's answer holds."""
        if self._answers.table is None:
            return None
        return zone.records(
            self._answers.table, question.name, question.kind,
            Standing(
                self._reach.down, self._answers.held, int(self._known.get("gate", 0)), int(self._known.get("mesh", 0)),
                int(self._known.get("far", 0)),
            ),
            random.random(), self._reach.resolve,  # noqa: S311
        )  # fmt: skip


class _Responder(asyncio.DatagramProtocol):
    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dns.parse_query(data)
        if question is not None and self._transport is not None:
            self._transport.sendto(dns.answer(question, self._edge.records(question)), addr)


def _socket_path(home: str) -> str:
    """Return where Caddy's control socket is: beside the rest, unless that path is too long for a socket."""
    path = f"{home}/admin.sock"
    if len(path) <= _LONGEST_SOCKET_PATH:
        return path
    directory = f"{tempfile.gettempdir()}/a67-{os.getuid()}-{hashlib.sha256(home.encode()).hexdigest()[:16]}"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if os.stat(directory).st_uid != os.getuid():
        raise OSError(f"{directory} belongs to somebody else")
    return f"{directory}/admin.sock"


def _fingerprint(pem: bytes) -> str:
    """Return the SHA-256 of the first certificate. Raises ValueError when there is none."""
    first, end, _ = pem.decode().partition("-----END CERTIFICATE-----")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first.strip() + "\n" + end)).hexdigest()


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.bind((host.strip("[]"), 0))
        return int(s.getsockname()[1])


def say(text: str) -> None:
    """Print one line for the log of whoever supervises us; on a full disk there may be none."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"edge: {text}\n")
        sys.stderr.flush()


def main() -> int:
    """Run with the directory in the only argument."""
    return run(os.path.abspath(sys.argv[1]))
