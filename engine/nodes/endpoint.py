"""The agents' endpoint: HTTPS with TLS 1.3, a client certificate for all but joining and renewing.

aiohttp on uvloop: it shows the peer's certificate to the application, and a held TLS connection costs 40 kB instead
of the 294 kB of asyncio's own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

from aiohttp import web

from automator67.engine.nodes.answers import take_answer
from automator67.engine.nodes.certificates import Authority, CertificateError, identity_of
from automator67.engine.nodes.messages import read_message
from automator67.engine.nodes.refusals import errors, refusal
from automator67.engine.nodes.registry import Conflict, IdentityRefused, Registry
from automator67.engine.nodes.tasks import TaskBroker, TaskError
from automator67.engine.nodes.tokens import TokenRefused, use_token
from automator67.engine.store.database import Store

log = logging.getLogger("automator67.endpoint")

MAX_BODY = 2**20
MAX_WAIT = 55.0
KEEP_SECONDS = 5.0
"""An idle connection costs memory for longer than a handshake costs time: agents make a new one per heartbeat."""
BEATS_PER_SECOND = 50.0
"""Above this rate over all agents, heartbeats are spread further apart."""
SOON_SECONDS = 1.0
BURST, PER_SECOND = 40.0, 10.0
FREE_TEXTS = frozenset({"detail", "drift", "message", "conditions", "m", "error"})
"""Keys of what agents send under which apps' own words may be: values of secrets are taken out there."""
NOT_KNOWN_YET = b'{"proto":1,"rev":""}'


class Served(Protocol):
    """What has requests of its own at this endpoint."""

    def add_to(self, router: web.UrlDispatcher, node: Callable[[web.Request], str]) -> None:
        """Take up its requests; ``node(request)`` returns who asks, or raises the refusal."""


class Endpoint:
    """Serves agents; ``on_change(reason)`` is called when something arrived that a pass should look at.

    ``redact(data, keys)`` takes values of secrets out of the texts under ``keys``.
    """

    def __init__(
        self,
        authority: Authority,
        registry: Registry,
        store: Store,
        broker: TaskBroker,
        *,
        cloud: Callable[[], str],
        edges: Authority,
        heartbeat: Callable[[], float],
        on_change: Callable[[str], None],
        clock: Callable[[], float],
        redact: Callable[[Any, frozenset[str]], Any] = lambda data, _free: data,
        carrier: Served | None = None,
        files: Served | None = None,
    ) -> None:
        self._authority = authority
        self._registry = registry
        self._store = store
        self._broker = broker
        self._cloud = cloud
        self._edges = edges
        self._heartbeat = heartbeat
        self._on_change = on_change
        self._clock = clock
        self._redact = redact
        self._carrier, self._files = carrier, files
        self._held: dict[str, asyncio.Event] = {}
        self._budget: dict[str, tuple[float, float]] = {}
        self._identities = lru_cache(maxsize=8192)(identity_of)
        self._runner: web.AppRunner | None = None
        self._closing = False

    async def start(self, host: str, port: int, names: list[str]) -> None:
        """Listen; ``names`` are what agents may know this endpoint by. Raises OSError when the address is taken."""
        loop = asyncio.get_running_loop()

        def woken(node: str) -> None:
            loop.call_soon_threadsafe(self._wake, node)

        self._registry.woken = woken
        self._broker.wake = self._wake
        app = web.Application(client_max_size=MAX_BODY, middlewares=[errors])
        app.router.add_get("/v1/ca", self._get_ca)
        app.router.add_post("/v1/enroll", self._enroll)
        app.router.add_post("/v1/renew", self._renew)
        app.router.add_post("/v1/heartbeat", self._beat)
        app.router.add_get("/v1/desired", self._desired)
        app.router.add_post("/v1/edge", self._edge)
        app.router.add_post("/v1/tasks/{id}", self._task)
        if self._carrier is not None:
            self._carrier.add_to(app.router, self._node)
        if self._files is not None:
            # Without the budget of requests: of these there are many, and each may be large.
            self._files.add_to(app.router, self._identified)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, keepalive_timeout=KEEP_SECONDS, shutdown_timeout=2.0
        )
        await self._runner.setup()
        context = self._authority.server_context(names)
        await web.TCPSite(self._runner, host, port, ssl_context=context, backlog=2048).start()

    async def stop(self) -> None:
        """Let go of every held request, and stop listening."""
        self._closing = True
        for event in self._held.values():
            event.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def _wake(self, node: str) -> None:
        if event := self._held.get(node):
            event.set()

    def _node(self, request: web.Request) -> str:
        """Return the node that speaks, within its budget of requests. Raises the refusal as an HTTP error."""
        node = self._identified(request)
        if not self._allowed(node):
            raise refusal(429, "too many requests from this node", "slow down")
        return node

    def _identified(self, request: web.Request) -> str:
        """Return the node that speaks, from its certificate. Raises the refusal as an HTTP error."""
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der is None:
            raise refusal(401, "this request needs the node's certificate", "join: automator67 node join URL TOKEN")
        try:
            node = self._registry.admit(self._identities(der))
        except CertificateError as error:
            raise refusal(401, str(error), "join with a new token") from error
        except IdentityRefused as error:
            raise refusal(403, str(error), "automator67 node token NAME makes a new token") from error
        return node

    def _allowed(self, node: str) -> bool:
        """Spend one request of the node's budget: ``BURST`` at once, ``PER_SECOND`` in the long run."""
        now = self._clock()
        left, at = self._budget.get(node, (BURST, now))
        left = min(BURST, left + (now - at) * PER_SECOND) - 1.0
        self._budget[node] = (max(left, 0.0), now)
        return left >= 0

    async def _get_ca(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._authority.pem, content_type="application/x-pem-file")

    async def _enroll(self, request: web.Request) -> web.Response:
        message = read_message("enroll", await request.read())
        now = self._clock()

        def consume() -> str:
            with self._store.begin() as tx:
                return use_token(tx, message["token"], now)

        try:
            node = await asyncio.to_thread(consume)
            issued = self._authority.sign(message["csr"], self._cloud(), node)
        except TokenRefused as error:
            log.warning("enrolment refused from %s: %s", request.remote, error)
            raise refusal(403, str(error), "automator67 node token NAME makes a new token") from error
        except CertificateError as error:
            raise refusal(422, str(error), "") from error
        await asyncio.to_thread(self._registry.enrolled, node, issued.serial, issued.expires)
        await asyncio.to_thread(self._authority.set_revoked, node, None)
        log.info("node joined", extra={"node": node})
        self._on_change(f"node {node} joined")
        answer = {"node": node, "cloud": self._cloud(), "certificate": issued.pem, "ca": self._authority.pem}
        return web.json_response(answer | {"heartbeat_s": self._heartbeat(), "server_time": now})

    async def _renew(self, request: web.Request) -> web.Response:
        message = read_message("renew", await request.read())
        try:
            identity = self._authority.check_renewal(
                message.get("certificate", ""), message["csr"], message.get("signature", ""), datetime.now(UTC)
            )
            node = self._registry.admit(identity)
            issued = self._authority.sign(message["csr"], self._cloud(), node)
        except (CertificateError, IdentityRefused) as error:
            raise refusal(403, str(error), "automator67 node token NAME makes a new token") from error
        self._registry.renewed(node, issued.serial, issued.expires)
        return web.json_response({"certificate": issued.pem, "ca": self._authority.pem})

    async def _edge(self, request: web.Request) -> web.Response:
        """Certify the proxy of the node that asks, and, for a gateway, the names that nobody else vouches for."""
        node = self._node(request)
        message = read_message("edge", await request.read())
        desired = self._registry.desired(node)
        if desired is None or desired.names is None:
            raise refusal(409, f"node {node} has no edge", "")
        try:
            own = self._edges.sign_edge(message["csr"], self._cloud(), node, [f"{node}.node.a67"])
            names = desired.names
            site = self._edges.sign_edge(message["csr"], self._cloud(), node, names).pem if names else ""
        except CertificateError as error:
            raise refusal(422, str(error), "") from error
        answer = {"identity": own.pem, "site": site, "names": list(names), "ca": self._edges.pem}
        return web.json_response(answer | {"expires": own.expires})

    async def _beat(self, request: web.Request) -> web.Response:
        node = self._node(request)
        message = self._redact(read_message("heartbeat", await request.read()), FREE_TEXTS)
        try:
            changed = self._registry.heartbeat(node, message)
        except Conflict as error:
            raise refusal(409, str(error), "remove one of the two, or join it as another node") from error
        if changed:
            self._on_change(f"node {node} reported something new")
        desired = self._registry.desired(node)
        # Until the engine knows what the node should run, it wants to hear from it again at once.
        every = max(self._heartbeat(), len(self._held) / BEATS_PER_SECOND)
        lease = self._registry.answers(node, every)
        spread = every if desired and lease else SOON_SECONDS
        answer = {
            "proto": 1, "rev": desired.rev if desired else "", "lease_s": lease,
            "next_s": round(spread * random.uniform(0.9, 1.1), 2), "server_time": self._clock(), "renew": False,  # noqa: S311
        }  # fmt: skip
        return web.json_response(answer)

    async def _desired(self, request: web.Request) -> web.StreamResponse:
        node = self._node(request)
        rev = request.query.get("rev", "")
        try:
            wait = min(MAX_WAIT, max(0.0, float(request.query.get("wait", "50"))))
        except ValueError:
            raise refusal(422, "wait is not a number of seconds", "") from None
        self._registry.hold(node)
        mine = asyncio.Event()
        if older := self._held.get(node):
            older.set()
        self._held[node] = mine
        broken = True
        try:
            answer = await self._answer(node, rev, wait, mine)
            broken = False
            return answer
        finally:
            if self._held.get(node) is mine:
                del self._held[node]
            self._registry.let_go(node, broken=broken and not self._closing)
            if broken and not self._closing:
                self._on_change(f"the connection to node {node} broke")

    async def _answer(self, node: str, rev: str, wait: float, wake: asyncio.Event) -> web.Response:
        end = asyncio.get_running_loop().time() + wait
        while True:
            desired = self._registry.desired(node)
            tasks = self._broker.waiting(node)
            if desired is not None and desired.rev != rev:
                body = desired.body
                if tasks:
                    body = json.dumps(json.loads(body) | {"tasks": tasks}).encode()
                return web.Response(body=body, content_type="application/json")
            if tasks:
                return web.json_response({"proto": 1, "rev": rev, "tasks": tasks})
            left = end - asyncio.get_running_loop().time()
            if left <= 0 or self._closing or (self._held.get(node) is not wake and wake.is_set()):
                return web.Response(status=304)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), left)
            if self._held.get(node) is wake:
                wake.clear()
            self._refuse_revoked(node)

    def _refuse_revoked(self, node: str) -> None:
        if self._registry.is_revoked(node):
            raise refusal(403, f"node {node} is revoked", "automator67 node token NAME makes a new token")

    async def _task(self, request: web.Request) -> web.StreamResponse:
        node = self._node(request)
        try:
            task = self._broker.start(node, request.match_info["id"])
        except TaskError as error:
            raise refusal(404, str(error), "") from error
        return await take_answer(request, task, lambda line: self._redact(line, FREE_TEXTS))
