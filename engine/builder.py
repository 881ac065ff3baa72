"""Has images built: hands recorded builds to their nodes, keeps the logs, records how they ended.

The record in the store is the intent. A node or an engine that goes away in the middle leaves it as it is, and it is
begun again; the node looks first whether it has the image already.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Literal

from automator67.engine.build_logs import BuildLog, BuildLogs
from automator67.engine.control import ControlError
from automator67.engine.desired import Source
from automator67.engine.image_name import tree_key
from automator67.engine.nodes.tasks import TaskBroker, TaskError
from automator67.engine.observed import Build
from automator67.engine.remote_errors import RemoteError
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.facts import add_events
from automator67.engine.store.origins import build_records, end_build, start_build
from automator67.engine.trees import Trees

log = logging.getLogger("automator67.builder")

AGAIN_SECONDS = (1.0, 60.0)
Message = Mapping[str, Any]


class Builder:
    """For the event loop's thread. ``ended(reason)`` asks for a pass that looks at the builds again."""

    def __init__(
        self, store: Store, broker: TaskBroker, trees: Trees, logs: BuildLogs, ended: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._store, self._broker, self._trees, self._logs = store, broker, trees, logs
        self._ended, self._clock = ended, clock
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._nodes: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def look(self, wanted: Iterable[tuple[Build, Source]]) -> None:
        """Work on these builds and on no others."""
        now = {(build.image, build.node): (build, source) for build, source in wanted}
        for key, task in list(self._running.items()):
            if key not in now:
                task.cancel()
            if key not in now or task.done():
                del self._running[key]
        for key, (build, source) in now.items():
            if key not in self._running:
                self._running[key] = asyncio.create_task(self._work(build, source))

    async def stop(self) -> None:
        """Let go of all builds; they are begun again by the next engine."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def log(self, app: str, *, follow: bool) -> AsyncIterator[list[Message]]:
        """Yield the lines of the newest build of an app. Raises ControlError when there is none."""

        def newest() -> str:
            with self._store.read() as tx:
                return next((r.build.image for r in build_records(tx, app)), "")

        image = await asyncio.to_thread(newest)
        if not image:
            raise ControlError(f"nothing was built for {app}; only apps with a source are built")
        running = self._logs.running.get(image)
        if running is None:
            kept = await asyncio.to_thread(self._logs.read, image)
            if kept:
                yield kept
        elif follow:
            async for lines in running.follow():
                yield lines
        else:
            yield running.lines()

    async def _work(self, build: Build, source: Source) -> None:
        """Try until the node says how it went."""
        record = self._logs.running[build.image] = BuildLog()
        pause = AGAIN_SECONDS[0]
        try:
            while True:
                try:
                    async with self._nodes[build.node]:
                        state, text = await self._once(build, source, record)
                    await asyncio.to_thread(self._record, build, state, text, record)
                    return
                except (TaskError, RemoteError, StoreUnavailable) as error:
                    log.warning("build of %s: %s", build.image, error, extra={"resource": f"app/{build.app}"})
                    record.add({"t": self._clock(), "s": "err", "m": f"{error}; trying again"})
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_SECONDS[1])
        finally:
            record.end()
            self._logs.running.pop(build.image, None)

    async def _once(self, build: Build, source: Source, record: BuildLog) -> tuple[Literal["done", "failed"], str]:
        await asyncio.to_thread(self._trees.need, source)
        await asyncio.to_thread(self._begin, build)
        question = {
            "image": build.image, "app": build.app, "dockerfile": source.dockerfile, "commit": source.commit,
            "tree": tree_key(source.commit, source.path),
        }  # fmt: skip
        async with self._broker.ask(build.node, "build", **question) as task:
            async for batch in task.batches():
                for line in batch:
                    if line.get("end") == "done":
                        return "done", ""
                    if line.get("end") == "failed":
                        return "failed", str(line.get("m", ""))[:500] or "no reason was given"
                    record.add({key: line.get(key) for key in ("t", "s", "m")} | {"node": build.node})
        raise TaskError(f"node {build.node} broke the build off")

    def _begin(self, build: Build) -> None:
        with self._store.begin() as tx:
            start_build(tx, build.image, self._clock())

    def _record(self, build: Build, state: Literal["done", "failed"], text: str, record: BuildLog) -> None:
        now = self._clock()
        if state == "failed":
            record.add({"t": now, "s": "err", "m": text, "node": build.node})
        self._logs.keep(build.image, record)
        what = f"{build.image} was built on {build.node}" if state == "done" else f"{build.image}: {text}"
        with self._store.begin() as tx:
            if not end_build(tx, build.image, state, text, now):
                return
            add_events(tx, [(now, "built" if state == "done" else "failed", f"app/{build.app}", what, "")])
        log.log(logging.INFO if state == "done" else logging.WARNING, "%s", what)
        self._ended(what)
