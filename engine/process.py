"""The engine process: puts the parts of the straight line together and runs them until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import uvloop
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from automator67.engine.alert_actions import AlertActions
from automator67.engine.alert_desk import AlertDesk
from automator67.engine.app_exec import Command, Person, app_exec
from automator67.engine.app_logs import app_logs, log_query
from automator67.engine.audit import audit_into
from automator67.engine.breaker import Breakers
from automator67.engine.bucket_desk import BucketDesk
from automator67.engine.bucket_watch import BucketWatch
from automator67.engine.chronicle import Chronicle, Judged
from automator67.engine.clock import steady_now
from automator67.engine.control import Actions, Control
from automator67.engine.control_exec import exec_handler
from automator67.engine.deliveries import take_deliveries
from automator67.engine.herald import Herald
from automator67.engine.inbox import Inbox, Waker
from automator67.engine.logs import redact_with
from automator67.engine.loop import Loop
from automator67.engine.node_actions import NodeActions
from automator67.engine.nodes.certificates import Authority, CertificateError
from automator67.engine.nodes.endpoint import FREE_TEXTS, Endpoint
from automator67.engine.nodes.registry import Registry
from automator67.engine.nodes.tasks import TaskBroker
from automator67.engine.observed import NodeView
from automator67.engine.only_one import EngineError, only_one
from automator67.engine.options import OptionError, Options, host_and_port
from automator67.engine.origins import Origins
from automator67.engine.outside import Outside
from automator67.engine.place_desk import PlaceDesk
from automator67.engine.place_tasks import PlaceTasks, both
from automator67.engine.poster import Poster
from automator67.engine.pull_desk import pull_desk
from automator67.engine.reconcile import Outcome, Reconciler
from automator67.engine.rollback import Rollbacks
from automator67.engine.run_actions import RunActions
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.redaction import Redactor
from automator67.engine.secrets.vault import Opener
from automator67.engine.source import SourceError, open_source
from automator67.engine.steering import Steering
from automator67.engine.store.database import Store, StoreUnavailable, open_store
from automator67.engine.volume_actions import VolumeActions
from automator67.engine.volume_desk import VolumeDesk

log = logging.getLogger("automator67.engine")

TICK_SECONDS = 1.0
TIDY_HOURS = 1


def run_engine(options: Options) -> None:
    """Run until SIGTERM or SIGINT. Raises EngineError when it cannot start."""
    options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with only_one(options.state):
        try:
            with open_store(options.store_url) as store:
                uvloop.run(Engine(options, store).serve())
        except (StoreUnavailable, CertificateError, OptionError, SecretError, SourceError, OSError) as error:
            raise EngineError(str(error)) from error


class Engine:
    """One running engine: its parts, and what the command line may ask of it."""

    def __init__(self, options: Options, store: Store) -> None:
        self._options = options
        self._store = store
        older = (options.state / "ca" / "ca.pem").exists()
        self._authority = Authority.open(options.state / "ca")
        self._edges = Authority.open(options.state / "edge-ca")
        self._registry = Registry(store, steady_now, revoked=self._authority.revocations())
        self._keyring = Keyring(options.keys)
        self._keyring.ensure()
        self._redactor = Redactor()
        self._source = open_source(options, Opener(self._keyring, self._redactor.learn, options.age_key))
        redact_with(self._redactor.text)
        self._broker = TaskBroker()
        self._origins = Origins(
            options, store, self._registry, self._broker, self._source.mirror,
            secret=lambda name: self._reconciler.secret(name), changed=self._read_anew,
            views=self._views, clock=steady_now,
        )  # fmt: skip
        alerts = AlertDesk(store, self._redactor.text, lambda: self._herald.wake())
        self._reconciler = Reconciler(
            store, self._source, self._registry, started=steady_now(), store_lost=older, redact=self._redactor.text,
            settle=self._origins.settle, alerts=alerts,
        )  # fmt: skip
        self._breakers = Breakers()
        self._herald = Herald(
            store, self._reconciler.secret, lambda: self._reconciler.vault is not None, self._breakers
        )
        self._chronicle = Chronicle(store, self._breakers, options.state / "sql", steady_now, self._redactor.text)
        # Held here, since statuses and comments go to the same forge.
        self._forge = self._breakers.before("forge", "the forge")
        self._poster = Poster(store, options, self._source.mirror, self._forge, self._cloud)
        self._pulls = pull_desk(
            options, store, self._source.mirror, self._forge, name=self._cloud, told=self._poster.wake
        )
        self._inbox = Inbox(options.state / "inbox")
        self._desk = PlaceDesk(
            self._registry, lambda: self._reconciler.vault, lambda why: self._loop.request(why), self._redacted,
            self._heartbeat,
        )  # fmt: skip
        self._outside = Outside(
            self._desk, self._breakers, self._keyring, options.state, self._cloud, self._redactor.learn
        )
        self._place_tasks = PlaceTasks(self._broker, self._outside.fleet.place, self._redacted)
        self._volumes = VolumeDesk(
            store, self._broker, self._keyring, self._redactor, vault=lambda: self._reconciler.vault,
            node_key=self._registry.key, views=self._views, changed=self._read_anew, clock=steady_now,
        )  # fmt: skip
        self._buckets = BucketDesk(
            self._keyring, options.state, lambda: self._reconciler.vault, lambda: self._reconciler.desired
        )
        self._bucket_watch = BucketWatch(options.state, steady_now)
        self._looked = 0.0

    async def serve(self) -> None:
        """Run until told to stop."""
        loop = self._events = asyncio.get_running_loop()
        stop = asyncio.Event()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, stop.set)
        await asyncio.to_thread(self._registry.load)
        await asyncio.to_thread(self._reconciler.learn_secrets)
        self._loop = Loop(self._once)
        endpoint = Endpoint(
            self._authority, self._registry, self._store, self._broker,
            cloud=self._cloud, edges=self._edges, heartbeat=self._heartbeat, on_change=self._loop.request,
            clock=steady_now, redact=self._redactor.fields, carrier=self._origins.carrier,
            files=self._buckets,
        )  # fmt: skip
        rollbacks = Rollbacks(self._store, self._source.mirror, self._options.path, self._origins.requests)
        steering = Steering(self._reconciler, self._loop, rollbacks)
        nodes = NodeActions(
            self._store, self._registry, self._authority, lambda: self._reconciler.desired, self._url,
            lambda why: self._loop.request(why),
        )  # fmt: skip
        runs = RunActions(self._reconciler, self._store, self._loop)
        actions = Actions(
            self._sync, nodes.token, nodes.revoke, self._logs, exec_handler(self._exec),
            steering.promote, steering.roll_back, runs.begin, runs.end,
            VolumeActions(self._volumes, self._store, steady_now).ask,
            AlertActions(self._store, self._loop, lambda: self._reconciler.desired, self._reconciler.secret).ask,
        )  # fmt: skip
        control = Control(self._options.state / "control.sock", actions)
        waker = Waker(self._options.state)
        waker.attach(loop, lambda: self._loop.request("a webhook", fetch=True))
        host, port = host_and_port(self._options.listen)
        passes: asyncio.Task[None] | None = None
        scheduler = self._schedule()
        try:
            await endpoint.start(host, port, self._names(host))
            self._registry.woken = both(self._registry.woken, self._outside.fleet.wake)
            self._broker.wake = both(self._broker.wake, self._place_tasks.wake)
            passes = asyncio.create_task(self._loop.run())
            self._poster.start()
            self._herald.start()
            self._pulls.start()
            scheduler.start()
            await control.start()
            log.info("engine runs: %s, branch %s", self._source.name, self._options.branch)
            await stop.wait()
        finally:
            with contextlib.suppress(Exception):
                scheduler.shutdown(wait=False)
            waker.close()
            await control.stop()
            await self._origins.stop()
            await self._volumes.stop()
            await endpoint.stop()
            await self._buckets.stop()
            if passes is not None:
                passes.cancel()
            self._loop.close()
            await asyncio.to_thread(self._outside.close)
            await asyncio.to_thread(self._pulls.stop)
            self._poster.stop()
            self._herald.stop()
            with contextlib.suppress(StoreUnavailable):
                self._registry.flush()

    def _once(self, now: float, fetch: bool) -> Outcome:
        fetch = take_deliveries(self._inbox, self._store, now) > 0 or fetch
        outcome = self._reconciler.once(now, fetch=fetch)
        if (desired := self._reconciler.desired) is not None:
            self._outside.follow(desired, self._views(), self._reconciler.far)
        if self._reconciler.settled is not None:
            self._origins.note(self._reconciler.settled, self._reconciler.intents())
            self._events.call_soon_threadsafe(self._origins.work, self._reconciler.settled)
            self._volumes.note(self._reconciler.settled, self._reconciler.intents())
            asyncio.run_coroutine_threadsafe(self._volumes.work(), self._events)
        self._looked = now
        self._poster.wake()
        if fetch:
            self._pulls.wake()
        return outcome

    def _redacted(self, data: Any) -> Any:
        return self._redactor.fields(data, FREE_TEXTS)

    def _read_anew(self, reason: str) -> None:
        self._reconciler.read_anew()
        self._loop.request(reason)

    def _schedule(self) -> AsyncIOScheduler:
        scheduler = AsyncIOScheduler(job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None})
        poll = self._options.poll
        scheduler.add_job(
            self._loop.request, "interval", ["the poll"], {"fetch": True}, seconds=poll, jitter=poll / 10
        )  # fmt: skip
        scheduler.add_job(self._tick, "interval", seconds=TICK_SECONDS)
        scheduler.add_job(self._tidy, "interval", hours=TIDY_HOURS)
        return scheduler

    async def _tick(self) -> None:
        """Every second: notice being away, judge nodes whose silence has grown, write what changed."""
        self._registry.tick()
        if self._registry.verdicts_due():
            self._loop.request("a node's silence")
        try:
            await asyncio.to_thread(self._registry.flush)
            await self._volumes.tick()
            await self._buckets.tick()
            await asyncio.to_thread(self._chronicle.tick, self._judged())
            self._reconciler.quotas = self._chronicle.quotas
            if await asyncio.to_thread(self._bucket_watch.tick, self._reconciler.desired):
                self._loop.request("how a bucket stands")
            self._reconciler.buckets = self._bucket_watch.facts
        except StoreUnavailable as error:
            log.warning("%s", error)

    def _judged(self) -> Judged:
        passes = {"passes": self._loop.passes, "failed_passes": self._loop.failed, "pass_seconds": self._loop.seconds}
        observed, states = self._reconciler.found or (None, {})
        return Judged(self._looked, states, self._reconciler.desired, observed, passes)

    async def _tidy(self) -> None:
        await self._loop.run_blocking(self._source.tidy)
        await asyncio.to_thread(self._origins.tidy)

    # -- what the command line may ask ---------------------------------------------------------------------------

    async def _sync(self, confirm: bool) -> Mapping[str, Any]:
        if confirm:
            await self._loop.run_blocking(lambda: self._reconciler.confirm_deletions(steady_now()))
        outcome = await self._loop.sync()
        return {"commit": outcome.commit, "remaining": outcome.remaining, "error": self._redactor.text(outcome.error)}

    def _logs(self, app: str, query: Mapping[str, str]) -> AsyncIterator[list[Mapping[str, Any]]]:
        if "build" in query:
            return self._origins.builder.log(app, follow="follow" in query)
        return app_logs(self._broker, self._views, log_query(app, query))

    def _exec(self, command: Command, person: Person) -> AsyncIterator[Mapping[str, Any]]:
        audit = audit_into(self._store, self._redactor.text)
        return app_exec(self._broker, self._views(), command, person, audit)

    def _views(self) -> Mapping[str, NodeView]:
        desired = self._reconciler.desired
        return self._registry.views(desired.nodes, desired.settings) if desired else {}

    def _cloud(self) -> str:
        desired = self._reconciler.desired
        return desired.settings.name if desired else "home"

    def _heartbeat(self) -> float:
        desired = self._reconciler.desired
        return desired.settings.heartbeat if desired else 30.0

    def _url(self) -> str:
        host, port = host_and_port(self._options.listen)
        return f"https://{self._names(host)[0]}:{port}"

    def _names(self, host: str) -> list[str]:
        """Return the names in the engine's certificate, the one to print first."""
        own = [] if host in ("0.0.0.0", "::", "") else [host]  # noqa: S104
        return list(dict.fromkeys([*self._options.names, *own, socket.gethostname(), "localhost", "127.0.0.1"]))
