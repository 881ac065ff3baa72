"""A real endpoint in a thread of its own, and a plain HTTPS client that speaks to it like an agent."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from automator67.engine.clock import steady_now
from automator67.engine.nodes.certificates import Authority
from automator67.engine.nodes.endpoint import Endpoint
from automator67.engine.nodes.registry import Registry
from automator67.engine.nodes.tasks import TaskBroker
from automator67.engine.nodes.tokens import Token, make_token
from automator67.engine.store.database import open_store
from tests.support.cloud import free_port
from tests.unit.test_certificates import csr


class EndpointThread:
    """The endpoint with its registry and store, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.store = open_store(folder / "store.db")
        self.authority = Authority.open(folder / "ca")
        self.edges = Authority.open(folder / "edge-ca")
        self.registry = Registry(self.store, steady_now)
        self.registry.load()
        self.broker = TaskBroker()
        self.changes: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()))
        self._thread.start()
        assert self._ready.wait(10)

    async def _run(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        endpoint = Endpoint(
            self.authority, self.registry, self.store, self.broker,
            cloud=lambda: "home", heartbeat=lambda: 30.0, on_change=self.changes.append, clock=steady_now,
            edges=self.edges,
        )  # fmt: skip
        await endpoint.start("127.0.0.1", self.port, ["127.0.0.1"])
        self._ready.set()
        await self._stop.wait()
        await endpoint.stop()

    def token(self, node: str, ttl: float = 60.0) -> Token:
        """Make a join token."""
        with self.store.begin() as tx:
            return make_token(tx, node, self.authority.fingerprint, steady_now(), ttl)

    def close(self) -> None:
        """Stop."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self.store.close()


class Speaker:
    """Speaks to the endpoint: anonymously, or with a certificate after ``join``."""

    def __init__(self, endpoint: EndpointThread) -> None:
        self.endpoint = endpoint
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = ""
        self.seq = 0

    def context(self) -> ssl.SSLContext:
        """Return a TLS context that trusts the cloud's CA and shows the certificate, if there is one."""
        context = ssl.create_default_context(cadata=self.endpoint.authority.pem)
        if self.certificate:
            pem = self.endpoint.folder / f"{id(self)}.pem"
            how = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            pem.write_text(self.key.private_bytes(*how).decode() + self.certificate)
            context.load_cert_chain(pem)
        return context

    def ask(self, method: str, path: str, body: object = None, timeout: float = 20.0) -> tuple[int, Any]:
        """Send a request on a new connection; return status and the answer (JSON where it is)."""
        connection = HTTPSConnection("127.0.0.1", self.endpoint.port, context=self.context(), timeout=timeout)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data)
            answer = connection.getresponse()
            text = answer.read()
            try:
                return answer.status, json.loads(text)
            except ValueError:
                return answer.status, text.decode()
        finally:
            connection.close()

    def join(self, node: str) -> None:
        """Use a token to become a node."""
        token = self.endpoint.token(node).text.split(".", 2)[2]
        status, answer = self.ask("POST", "/v1/enroll", {"proto": 1, "token": token, "csr": csr(self.key)})
        assert status == 200, answer
        self.certificate = answer["certificate"]

    def beat(self, **more: object) -> tuple[int, Any]:
        """Send a heartbeat."""
        self.seq += 1
        message = {"proto": 1, "boot_id": f"b{id(self)}", "seq": self.seq, "clock": time.time(), "instances": []}
        return self.ask("POST", "/v1/heartbeat", message | {"runtimes": {"docker": "ok"}} | more)
