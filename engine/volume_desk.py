"""Has things done with volumes: begins what is due, hands recorded runs to their nodes, records how they ended.

The record in the store is the intent. A node or an engine that goes away in the middle leaves it as it is, and it is
begun again under the same name; what was done already is then found (agent/volume_jobs.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from automator67.engine.backups.address import AddressError, Repository, repository
from automator67.engine.backups.schedule import TOOL, Due, Target, due, targets
from automator67.engine.desired import Desired
from automator67.engine.nodes.tasks import TaskBroker, TaskError
from automator67.engine.observed import NodeView
from automator67.engine.s3.access import grant
from automator67.engine.secrets.delivery import encrypted
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.redaction import Redactor
from automator67.engine.secrets.vault import Vault
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.facts import add_events
from automator67.engine.store.intents import Intents
from automator67.engine.store.volumes import begin_run, end_run, note_run, set_snapshots, want_run
from automator67.engine.volumes import Run, Snapshot, VolumeFacts, VolumeId

log = logging.getLogger("automator67.volumes")

AGAIN_SECONDS = (1.0, 60.0)
_HERE = ("healthy", "maintenance", "suspect")
_LASTING = ("failover", "aside")
"""Runs that are tried until they succeed, since nothing else would do."""
_WORDS = {"backup": "backed up", "test": "tested", "restore": "restored", "failover": "restored", "aside": "set aside"}
Message = Mapping[str, Any]


class VolumeDesk:
    """``note`` is for the thread of the passes, the rest for the event loop's. ``changed(reason)`` asks for a pass."""

    def __init__(
        self,
        store: Store,
        broker: TaskBroker,
        keyring: Keyring,
        redactor: Redactor,
        *,
        vault: Callable[[], Vault | None],
        node_key: Callable[[str], bytes],
        views: Callable[[], Mapping[str, NodeView]],
        changed: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._store, self._broker, self._keyring = store, broker, keyring
        self._vault, self._node_key, self._learn, self._redact = vault, node_key, redactor.learn, redactor.text
        self._views, self._changed, self._clock = views, changed, clock
        self._running: dict[str, asyncio.Task[None]] = {}
        self._nodes: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._over: set[str] = set()
        """Runs whose end is recorded, while what a pass read may still say that they are wanted."""
        self._wake_at = 0.0
        self.desired: Desired | None = None
        self.facts = VolumeFacts()
        self.progress: dict[str, str] = {}
        """By run: what its node said last."""

    def note(self, desired: Desired, intents: Intents) -> None:
        """Take up what a pass found."""
        found = {(a.app, a.slot): a.node for a in intents.assignments if a.want != "stop"}
        self.desired = desired
        self.facts = replace(intents.volumes, homes=found | dict(intents.volumes.homes))

    def targets(self) -> list[Target]:
        """Return all volumes that are to be backed up."""
        return targets(self.desired.apps.values(), self.facts.homes) if self.desired else []

    def view(self, node: str) -> NodeView | None:
        """Return a node as it was last seen."""
        return self._views().get(node)

    async def work(self) -> None:
        """Begin what is due, and go on with what is recorded. After each pass, and when time has come."""
        now, views = self._clock(), self._views()
        able = {name: view.state in _HERE and TOOL in view.tools for name, view in views.items()}
        dues, self._wake_at = due(self.targets(), self.facts, able, _serving(views), now)
        if dues:
            await self.want(run_of(one, now) for one in dues)
        wanted = {r.id: r for r in self.facts.runs if r.state == "wanted" and r.id not in self._over}
        self._over &= {r.id for r in self.facts.runs if r.state == "wanted"}
        for name, task in list(self._running.items()):
            if name not in wanted:
                task.cancel()
            if name not in wanted or task.done():
                del self._running[name]
        for name, run in wanted.items():
            view = views.get(run.node)
            if name not in self._running and view is not None and view.state in _HERE:
                self._running[name] = asyncio.create_task(self._work(run))

    async def tick(self) -> None:
        """Begin what has become due since."""
        if self._wake_at and self._clock() >= self._wake_at:
            await self.work()

    async def want(self, runs: Iterable[Run]) -> bool:
        """Record that things are to be done; return whether all were taken up. Raises StoreUnavailable."""

        def write() -> list[bool]:
            with self._store.begin() as tx:
                return [want_run(tx, run) for run in runs]

        taken = await asyncio.to_thread(write)
        if any(taken):
            self._changed("something is to be done with a volume")
        return all(taken)

    async def stop(self) -> None:
        """Let go of everything; the next engine goes on with it."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def repository(self, volume: VolumeId) -> tuple[Target, Repository]:
        """Return a volume that is backed up, and where. Raises AddressError, SecretError."""
        target = next((t for t in self.targets() if t.volume == volume), None)
        vault = self._vault()
        if target is None or vault is None:
            raise AddressError(f"the commit says of no backup of {volume}")
        password = self._keyring.backup_password("\0".join((vault.cloud, *map(str, volume))))
        self._learn(f"backup of {volume}", password.encode())
        return target, repository(target.backup, volume, vault.cloud, vault.text, password, self._grant)

    def _grant(self, bucket: str, prefix: str) -> tuple[str, str]:
        key, secret = grant(bucket, prefix, self._keyring.bucket_password(bucket))
        self._learn(f"access to bucket {bucket}", secret.encode())
        return key, secret

    async def _work(self, run: Run) -> None:
        """Try until it is done, or has failed for good."""
        pause = AGAIN_SECONDS[0]
        try:
            while True:
                try:
                    async with self._nodes[run.node]:
                        done = await self._once(run)
                    await asyncio.to_thread(self._record_done, run, done)
                    self._over.add(run.id)
                    return
                except (AddressError, SecretError, _Failed) as error:
                    text = self._redact(str(error))
                    if run.kind not in _LASTING:
                        await asyncio.to_thread(self._record_failure, run, text)
                        self._over.add(run.id)
                        return
                    await asyncio.to_thread(self._record_trouble, run, text)
                except (TaskError, StoreUnavailable) as error:
                    log.warning("%s of %s: %s; it is tried again", run.kind, run.volume, self._redact(str(error)))
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_SECONDS[1])
        finally:
            self.progress.pop(run.id, None)

    async def _once(self, run: Run) -> Message:
        """Have the node do it. Raises _Failed when it says that it cannot, TaskError when it does not say."""
        question = await asyncio.to_thread(self._question, run)
        await asyncio.to_thread(self._begin, run)
        async with self._broker.ask(run.node, "volume", **question) as task:
            async for batch in task.batches():
                for line in batch:
                    text = self._redact(str(line.get("m", "")))[:500]
                    if line.get("end") == "done":
                        return line
                    if line.get("end") == "failed" and text.startswith("unfinished"):
                        raise TaskError(text)
                    if line.get("end") == "failed":
                        raise _Failed(text or "no reason was given")
                    self.progress[run.id] = text
        raise TaskError(f"node {run.node} broke it off")

    def _question(self, run: Run) -> dict[str, Any]:
        assert self.desired is not None
        app = self.desired.apps.get(run.volume.app)
        question = {
            "run": run.id, "do": run.kind, **run.volume._asdict(), "runtime": app.runtime if app else "docker",
            "snapshot": run.snapshot, "keep": 0, "files": -1, "bytes": -1, "box": "",
        }  # fmt: skip
        if run.kind == "aside":
            return question
        target, place = self.repository(run.origin)
        plain = json.dumps({"repository": place.name, "env": place.env, "path": place.path}).encode()
        vault = self._vault()
        assert vault is not None
        info = b"automator67 volume 1\0" + "\0".join((vault.cloud, run.node, run.id)).encode()
        question["box"] = encrypted(plain, run.node, self._node_key(run.node), info)
        if run.kind == "backup":
            b = target.backup
            return question | {"keep": b.keep, "stop": b.stop, "pre": list(b.pre), "post": list(b.post)}
        counted = next((s for s in self.facts.snapshots.get(run.origin, ()) if s.id == run.snapshot), None)
        return question | ({"files": counted.files, "bytes": counted.bytes} if counted else {})

    def _begin(self, run: Run) -> None:
        with self._store.begin() as tx:
            begin_run(tx, run.id, self._clock())

    def _record_done(self, run: Run, said: Message) -> None:
        now = self._clock()
        done = replace(
            run, snapshot=str(said.get("snapshot", run.snapshot))[:64], files=int(said.get("files", -1)),
            bytes=int(said.get("bytes", -1)), message=_message(said),
        )  # fmt: skip
        listed = [Snapshot(str(s["id"])[:64], float(s["at"])) for s in said.get("snapshots", ())]
        listed = [replace(s, files=done.files, bytes=done.bytes) if s.id == done.snapshot else s for s in listed]
        text = f"volume {run.volume.volume} was {_WORDS[run.kind]} on {run.node}" + _counted(done)
        text += f"; {done.message}" if done.message else ""
        with self._store.begin() as tx:
            if not end_run(tx, done, "done", now):
                return
            if run.kind == "backup":
                set_snapshots(tx, run.volume, listed)
            add_events(tx, [(now, run.kind, f"app/{run.volume.app}", text, "")])
        log.info("%s", text, extra={"resource": f"app/{run.volume.app}"})
        self._changed(text)

    def _record_failure(self, run: Run, text: str) -> None:
        now = self._clock()
        what = f"{run.kind} of volume {run.volume.volume} on {run.node} failed: {text}"
        with self._store.begin() as tx:
            if not end_run(tx, replace(run, message=text), "failed", now):
                return
            add_events(tx, [(now, "failed", f"app/{run.volume.app}", what, "")])
        log.warning("%s", what, extra={"resource": f"app/{run.volume.app}"})
        self._changed(what)

    def _record_trouble(self, run: Run, text: str) -> None:
        log.warning("%s of %s on %s: %s; it is tried again", run.kind, run.volume, run.node, text)
        if text == run.message:
            return
        with self._store.begin() as tx:
            note_run(tx, run.id, text)
        self._changed(text)


def _serving(views: Mapping[str, NodeView]) -> set[tuple[str, int]]:
    copies = (i for view in views.values() if view.state in _HERE for i in view.instances)
    return {(i.app, i.slot) for i in copies if i.phase == "running" and i.health in ("none", "healthy")}


class _Failed(Exception):
    """The node says that it cannot be done."""


def run_of(one: Due, now: float) -> Run:
    """Return the run that does what is due."""
    volume = one.target.volume
    return Run(secrets.token_hex(8), one.kind, volume, one.target.node, "wanted", one.reason, now, volume, one.snapshot)


def _message(said: Message) -> str:
    kept = str(said.get("kept", ""))
    text = str(said.get("message", ""))
    return f"what it held before is kept as {kept}" if kept else text


def _counted(run: Run) -> str:
    return f": {run.files} files with {run.bytes} bytes, snapshot {run.snapshot[:8]}" if run.files >= 0 else ""
