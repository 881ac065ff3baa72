"""Two edges that know each other: a gateway and another node, with one CA."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

from automator67.engine.nodes.certificates import Authority
from tests.support.cloud import wait_for
from tests.support.edge import EdgeUnderTest


class Mesh:
    """``one`` is the gateway, which also has copies; ``two`` has only copies and a proxy."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority.open(directory / "ca")
        self.one = EdgeUnderTest(directory / "one", self.authority, "one")
        self.two = EdgeUnderTest(directory / "two", self.authority, "two", gateway=False)
        for edge in (self.one, self.two):
            edge.start()
        wait_for("both to know what they are", lambda: self.one.status and self.two.status)
        nodes = {e.node: f"127.0.0.1:{e.status['proxy']}" for e in (self.one, self.two)}
        for edge in (self.one, self.two):
            edge.table |= {"nodes": nodes, "peers": [self.one.status["fingerprint"]]}

    def place(self, app: str, copies: dict[str, tuple[str, str, int]]) -> None:
        """Say where an app's copies are: instance to (node, address, weight)."""
        targets = [{"instance": i, "node": node, "weight": w} for i, (node, _, w) in copies.items()]
        for edge in (self.one, self.two):
            edge.table["apps"][app] = targets
            here = {i: {"address": a, "up": True} for i, (node, a, _) in copies.items() if node == edge.node}
            edge.table["local"] = {
                k: v for k, v in edge.table["local"].items() if not k.startswith(f"{app}-")
            } | here  # fmt: skip

    def site(self, host: str, app: str, **more: object) -> None:
        """Add a site to both."""
        for edge in (self.one, self.two):
            edge.site(host, app, **more)

    def set(self) -> None:
        """Tell both their tables."""
        self.one.set()
        self.two.set()

    def stop(self) -> None:
        """Stop both."""
        self.one.stop()
        self.two.stop()


class Load:
    """Asks all the time, on a kept connection and on fresh ones in turn; counts what fails and how long it took."""

    def __init__(self, edge: EdgeUnderTest, host: str, threads: int = 4, method: str = "GET") -> None:
        self._edge, self._host, self._method = edge, host, method
        self._port = edge.status["https"]
        self._context = ssl.create_default_context(cadata=edge.authority.pem)
        self._stopping = False
        self._lock = threading.Lock()
        self.count, self.longest, self.failed = 0, 0.0, list[str]()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; every request that was sent is answered or has failed."""
        self._stopping = True
        for thread in self._threads:
            thread.join(40)
            assert not thread.is_alive()

    def _run(self, number: int) -> None:
        fresh, kept = number % 2 == 0, None
        while not self._stopping:
            began = time.monotonic()
            try:
                kept = kept or self._connect()
                problem = self._ask(kept)
            except OSError as error:
                problem = f"{type(error).__name__}: {error}"
            with self._lock:
                self.count += 1
                self.longest = max(self.longest, time.monotonic() - began)
                if problem:
                    self.failed.append(problem)
            if kept is not None and (fresh or problem):
                kept.close()
                kept = None
            time.sleep(0.005)
        if kept is not None:
            kept.close()

    def _connect(self) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self._port), 30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(raw, server_hostname=self._host)

    def _ask(self, s: ssl.SSLSocket) -> str:
        """Return what was wrong with the answer; empty when nothing was."""
        body = "Content-Length: 1\r\n\r\nx" if self._method == "POST" else "\r\n"
        s.sendall(f"{self._method} / HTTP/1.1\r\nHost: {self._host}\r\n{body}".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more(s)
        head, _, text = answer.partition(b"\r\n\r\n")
        lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lines[0].split(b":")[1]) if lines else 0
        while len(text) < length:
            text += self._more(s)
        first = head.split(b"\r\n")[0].decode()
        return "" if " 200 " in first else f"{first} {text.decode()[:80]}"

    @staticmethod
    def _more(s: ssl.SSLSocket) -> bytes:
        data = s.recv(65536)
        if not data:
            raise ConnectionError("closed without an answer")
        return data
