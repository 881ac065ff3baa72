"""An edge on its own: certificates, a table, the edge process and its Caddy, and web servers behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from automator67.engine.nodes.certificates import Authority
from tests.support.cloud import wait_for

PORTS = range(21_000, 22_000)
"""Given to apps in these tests."""


def app_port() -> int:
    """Return a port that is free and that an edge takes for an app's."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no port is free")


def _server(host: str) -> type[Any]:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        request_queue_size = 100

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.connections = set[socket.socket]()

        def process_request(self, request: Any, client_address: Any) -> None:
            self.connections.add(request)
            super().process_request(request, client_address)

        def shutdown_request(self, request: Any) -> None:
            self.connections.discard(request)
            super().shutdown_request(request)

        def handle_error(self, *_args: Any) -> None:
            pass

    return Server


class Backend:
    """A web server of one word that answers with ``status`` after ``delay`` seconds; ``seen`` are requests' heads."""

    status, delay = 200, 0.0

    def __init__(self, word: str, port: int | None = None, host: str = "127.0.0.1") -> None:
        outer = self
        self.word, self.seen = word, list[dict[str, str]]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                outer.seen.append({k.lower(): v for k, v in self.headers.items()} | {":path": self.path})
                length = int(self.headers.get("Content-Length", "0"))
                got = self.rfile.read(length)
                body = f"{outer.word} {self.command} {self.path} {len(got)}".encode()
                time.sleep(outer.delay)
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, *_args: object) -> None:
                pass

        self._server = _server(host)((host, app_port() if port is None else port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening; idle connections go on."""
        self._server.shutdown()
        self._server.server_close()

    def die(self) -> None:
        """Break all connections and stop listening, as a killed process does."""
        self._server.shutdown()
        self._server.socket.close()
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RDWR)


class EdgeUnderTest:
    """One edge process with its Caddy. ``set`` changes the table and tells it."""

    def __init__(self, home: Path, authority: Authority, node: str, *, gateway: bool = True) -> None:
        self.home, self.authority, self.node = home, authority, node
        home.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (home / "key.pem").write_bytes(pem)
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        self.csr = request.public_bytes(serialization.Encoding.PEM).decode()
        self.identity = authority.sign_edge(self.csr, "home", node, [f"{node}.node.a67"]).pem
        (home / "identity.pem").write_text(self.identity)
        (home / "ca.pem").write_text(authority.pem)
        self.table: dict[str, Any] = {
            "node": node, "gateway": {} if gateway else None, "sites": [], "apps": {}, "nodes": {}, "peers": [],
            "local": {},
            "listen": {"proxy": "127.0.0.1:0", "http": "127.0.0.1:0", "https": "127.0.0.1:0"},
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: list[str] = []
        """What the command that starts the edge is put behind."""

    def internal(self, *names: str) -> None:
        """Give the edge a certificate of the cloud's own CA for these names."""
        (self.home / "site.pem").write_text(self.authority.sign_edge(self.csr, "home", self.node, names).pem)

    def site(self, host: str, app: str = "", **more: Any) -> None:
        """Add a site; call ``set`` afterwards."""
        self.table["sites"].append({"host": host, "app": app, "tls": "internal", **more})

    def app(self, name: str, **places: str) -> None:
        """Say that an app runs here: instance=address."""
        self.table["apps"][name] = [{"instance": i, "node": self.node, "weight": 1} for i in places]
        self.table["local"] |= {i: {"address": a, "up": True} for i, a in places.items()}

    def set(self) -> None:
        """Write the table and tell the edge."""
        draft = self.home / "table.json.new"
        draft.write_text(json.dumps(self.table))
        draft.replace(self.home / "table.json")
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)

    def start(self, hold: float = 30.0) -> None:
        """Start the edge process and wait until Caddy serves; ``hold``: so long requests wait for a copy."""
        self.set()
        code = f"import sys; from automator67.agent.edge.serve import run; sys.exit(run({str(self.home)!r}, {hold}))"
        with (self.home / "edge.log").open("ab") as log:
            self.process = subprocess.Popen([*self.prefix, sys.executable, "-P", "-c", code], stdout=log, stderr=log)
        wait_for("the edge to serve", self._serves, 60)

    def _serves(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError((self.home / "edge.log").read_text())
        try:
            with socket.create_connection(("127.0.0.1", self.status["proxy"]), 1):
                return True
        except (OSError, KeyError):
            return False

    @property
    def status(self) -> dict[str, Any]:
        """What the edge says of itself."""
        try:
            found: dict[str, Any] = json.loads((self.home / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    @property
    def caddy_pid(self) -> int:
        """The process id of its Caddy."""
        return int(json.loads((self.home / "caddy.json").read_text())["pid"])

    def stop(self) -> None:
        """End the edge and its Caddy."""
        pid = self.caddy_pid if (self.home / "caddy.json").exists() else 0
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
        for _ in range(200):
            if not pid or not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)

    def connect(self, host: str) -> ssl.SSLSocket:
        """Return a connection over TLS; the caller closes it."""
        context = ssl.create_default_context(cadata=self.authority.pem)
        raw = socket.create_connection(("127.0.0.1", self.status["https"]), 20)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return context.wrap_socket(raw, server_hostname=host)
        except OSError:
            raw.close()
            raise

    def request(self, host: str, path: str = "/", *, method: str = "GET", body: bytes = b"", **headers: str) -> Reply:
        """Ask over HTTPS as somebody who trusts the cloud's CA."""
        return ask(self.status["https"], self.authority.pem, host, path, method=method, body=body, **headers)


def ask(
    port: int, ca: str, host: str, path: str = "/", *, method: str = "GET", body: bytes = b"", **headers: str
) -> Reply:
    """Ask 127.0.0.1 over HTTPS for a host, trusting one CA. Raises OSError."""
    context = ssl.create_default_context(cadata=ca)
    with (
        socket.create_connection(("127.0.0.1", port), 20) as raw,
        context.wrap_socket(raw, server_hostname=host) as tls,
    ):
        tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = {"Host": host, "Content-Length": str(len(body)), "Connection": "close"} | {
            k.replace("_", "-"): v for k, v in headers.items()
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in head.items()), "", ""]
        tls.sendall("\r\n".join(lines).encode() + body)
        answer = b""
        while chunk := tls.recv(65536):
            answer += chunk
    return Reply(answer)


class Reply:
    """An HTTP answer, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1]) if first else 0
        self.headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        if self.headers.get("transfer-encoding") == "chunked":
            body = _joined(body)
        self.text = body.decode(errors="replace")


def _joined(chunked: bytes) -> bytes:
    body = b""
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        length = int(size, 16)
        body, chunked = body + rest[:length], rest[length + 2 :]
    return body
