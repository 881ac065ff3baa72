"""What a person may ask of backups while the engine runs: make one, restore one, test one, and how far that is."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from automator67.engine.backups.address import BUCKET, AddressError
from automator67.engine.backups.schedule import Target, trouble
from automator67.engine.control import ControlError
from automator67.engine.secrets.errors import SecretError
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.volumes import load_volumes
from automator67.engine.volume_desk import VolumeDesk
from automator67.engine.volumes import Run, RunKind, Snapshot, VolumeId
from automator67.schemas.near import near_hint

Query = Mapping[str, str]


class VolumeActions:
    """Each verb takes ``app``, ``volume`` (empty where there is only one) and ``slot``."""

    def __init__(self, desk: VolumeDesk, store: Store, clock: Callable[[], float]) -> None:
        self._desk, self._store, self._clock = desk, store, clock
        self._verbs: dict[str, Callable[[Query], Awaitable[Mapping[str, Any]]]] = {
            "backup": self._backup, "test": self._test, "restore": self._restore, "run": self._run,
            "recovery": self._recovery,
        }  # fmt: skip

    async def ask(self, verb: str, query: Query) -> Mapping[str, Any]:
        """Do what is asked. Raises ControlError."""
        if verb not in self._verbs:
            raise ControlError(f"nothing is known of {verb}")
        try:
            return await self._verbs[verb](query)
        except (AddressError, SecretError, StoreUnavailable) as error:
            raise ControlError(str(error)) from error

    async def _backup(self, query: Query) -> Mapping[str, Any]:
        target = self._able(self._target(query))
        return await self._want("backup", target.volume, target.node, target.volume, "", query)

    async def _test(self, query: Query) -> Mapping[str, Any]:
        target = self._able(self._target(query))
        return await self._want("test", target.volume, target.node, target.volume, self._snapshot(target, query).id,
                                query)  # fmt: skip

    async def _restore(self, query: Query) -> Mapping[str, Any]:
        """Restore ``snapshot`` (the latest) into the same volume, or into that of ``to`` (APP or APP/VOLUME)."""
        source = self._target(query)
        snapshot = self._snapshot(source, query)
        volume = source.volume
        if query.get("to"):
            app, _, name = query["to"].removeprefix("app/").partition("/")
            volume = self._volume(app, name, query.get("to_slot", "0"))
        node = self._desk.facts.homes.get((volume.app, volume.slot), "")
        if not node:
            raise ControlError(f"app {volume.app} has not run yet, so that {volume} is nowhere; push it first")
        self._able(Target(source.volume, source.backup, node))
        found = await self._want("restore", volume, node, source.volume, snapshot.id, query)
        return {**found, "snapshot": asdict(snapshot), "origin": str(source.volume)}

    async def _run(self, query: Query) -> Mapping[str, Any]:
        """Return how far a run is: ``id``."""

        def read() -> Run | None:
            with self._store.read() as tx:
                return next((r for r in load_volumes(tx).runs if r.id == query.get("id")), None)

        run = await asyncio.to_thread(read)
        if run is None:
            raise ControlError("there is no such run any more")
        return {**asdict(run), "progress": self._desk.progress.get(run.id, "")}

    async def _recovery(self, query: Query) -> Mapping[str, Any]:
        """Return what a person needs to get at the snapshots without this engine."""
        target = self._target(query)
        _, place = await asyncio.to_thread(self._desk.repository, target.volume)
        found = {"volume": str(target.volume), "repository": place.name, "env": place.env}
        if target.backup.bucket:
            # Who has no engine has no endpoint either: the files come out of the bucket first.
            found |= {"repository": "", "bucket": place.name.removeprefix(BUCKET).replace("/", ":", 1) + "/",
                      "env": {"RESTIC_PASSWORD": place.env["RESTIC_PASSWORD"]}}  # fmt: skip
        return found

    async def _want(
        self, kind: RunKind, volume: VolumeId, node: str, origin: VolumeId, snapshot: str, query: Query
    ) -> Mapping[str, Any]:
        run = Run(secrets.token_hex(8), kind, volume, node, "wanted", "asked for by a person", self._clock(), origin,
                  snapshot)  # fmt: skip
        if "dry" not in query and not await self._desk.want([run]):
            raise ControlError(f"something is being done with {volume} already; see automator67 backup list")
        return {"id": run.id, "volume": str(volume), "node": node}

    def _target(self, query: Query) -> Target:
        volume = self._volume(query.get("app", ""), query.get("volume", ""), query.get("slot", "0"))
        found = next((t for t in self._desk.targets() if t.volume == volume), None)
        if found is None:
            raise ControlError(f"{volume} is not backed up: apps/{volume.app}.yaml says of no backup of it")
        return found

    def _volume(self, app: str, name: str, slot: str) -> VolumeId:
        apps = self._desk.desired.apps if self._desk.desired else {}
        app = app.removeprefix("app/")
        if app not in apps:
            raise ControlError(f"there is no app {app}{near_hint(app, apps)}")
        names = [v.name for v in apps[app].volumes]
        if not names:
            raise ControlError(f"app {app} has no volumes")
        if not name and len(names) > 1:
            raise ControlError(f"app {app} has several volumes, say which: {', '.join(names)}")
        name = name or names[0]
        if name not in names:
            raise ControlError(f"app {app} has no volume {name}; it has {', '.join(names)}")
        if not slot.isdigit() or int(slot) >= apps[app].replicas:
            raise ControlError(f"app {app} has no slot {slot}; it has {apps[app].replicas}")
        return VolumeId(app, int(slot), name)

    def _able(self, target: Target) -> Target:
        desired = self._desk.desired
        assert desired is not None
        if not target.node:
            raise ControlError(f"app {target.volume.app} has not run yet, so that there is nothing to back up")
        problem = trouble(target, desired.nodes.get(target.node), self._desk.view(target.node))
        if problem:
            raise ControlError(problem)
        return target

    def _snapshot(self, target: Target, query: Query) -> Snapshot:
        known = self._desk.facts.snapshots.get(target.volume, ())
        wanted = query.get("snapshot", "")
        fits = [s for s in known if s.id.startswith(wanted)]
        if not known:
            raise ControlError(f"there is no snapshot of {target.volume} yet; make one: automator67 backup run "
                               f"{target.volume.app}")  # fmt: skip
        if not fits or (wanted and len(fits) > 1):
            raise ControlError(f"there is no one snapshot {wanted}; see automator67 backup list {target.volume.app}")
        return fits[-1]
