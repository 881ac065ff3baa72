"""Where images and sources come from, put together: looking up names, building, and carrying to the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from automator67.engine.build_logs import BuildLogs
from automator67.engine.builder import Builder
from automator67.engine.desired import Desired, Source
from automator67.engine.forges.choose import pull_requests_of
from automator67.engine.image_name import tree_key
from automator67.engine.image_updates import ImageUpdates
from automator67.engine.images.registry import RegistryClient
from automator67.engine.nodes.carrying import Carrier
from automator67.engine.nodes.registry import Registry
from automator67.engine.nodes.tasks import TaskBroker
from automator67.engine.observed import Build, NodeView
from automator67.engine.options import Options
from automator67.engine.remote_errors import RemoteError
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.sources import Sources
from automator67.engine.resolver import Resolver
from automator67.engine.source import credentials_of
from automator67.engine.store.database import Store
from automator67.engine.store.intents import Intents
from automator67.engine.store.origins import forget_build
from automator67.engine.trees import Trees


class Origins:
    """``changed(reason)`` asks for a pass that reads intents and builds anew; ``secret(name)`` opens a secret."""

    def __init__(
        self,
        options: Options,
        store: Store,
        registry: Registry,
        broker: TaskBroker,
        mirror: Mirror,
        *,
        secret: Callable[[str], str],
        changed: Callable[[str], None],
        views: Callable[[], Mapping[str, NodeView]],
        clock: Callable[[], float],
    ) -> None:
        self._store, self._registry, self._changed, self._views = store, registry, changed, views
        copies = Sources(options.state / "sources", mirror.address, credentials_of(options))
        self._trees = Trees(options.state / "trees", copies)
        self._client = RegistryClient()
        self.resolver = Resolver(store, self._trees, self._client, secret, changed, clock)
        self.requests = pull_requests_of(mirror.name, options.forge_token, api=options.forge_url)
        self._updates = ImageUpdates(store, mirror, options.path, self._client, secret, self.requests, clock)
        logs = BuildLogs(options.state / "builds")
        self.builder = Builder(store, broker, self._trees, logs, changed, clock)
        self.carrier = Carrier(broker, self._tree, self._holders, self._lost)
        self._sources: dict[str, Source] = {}
        self._builds: Mapping[str, Build] = {}

    def settle(self, desired: Desired, now: float, fetch: bool) -> tuple[Desired, dict[str, str]]:
        """Return the desired state with what its names mean, and notes by resource; begin to look for newer images.

        With ``fetch`` refs of sources are looked up again. Raises StoreUnavailable.
        """
        self._updates.look(desired, now)
        settled, notes = self.resolver.settle(desired, now, fetch)
        return settled, self._updates.notes | notes

    def note(self, desired: Desired, intents: Intents) -> None:
        """Take up what a pass found: which sources there are, which images are to be built. For any thread."""
        specs = [r.spec.get("source") for r in intents.specs.values()]
        old = [Source(**spec) for spec in specs if spec and spec.get("commit")]
        used = [*old, *(a.source for a in desired.apps.values() if a.source is not None and a.source.commit)]
        self._sources = {tree_key(s.commit, s.path): s for s in used}
        self._builds = intents.builds

    def work(self, desired: Desired | None) -> None:
        """Have what is to be built built. For the event loop's thread, after each pass."""
        apps = desired.apps.values() if desired else ()
        by_image = {a.image: a.source for a in apps if a.image is not None and a.source is not None}
        wanted = [b for b in self._builds.values() if b.state == "wanted" and b.image in by_image]
        self.builder.look([(b, by_image[b.image]) for b in wanted])

    def tidy(self) -> None:
        """Clear away trees that nobody needs."""
        self._trees.tidy(self._sources.values())

    async def stop(self) -> None:
        """End what is under way."""
        await self.builder.stop()
        self.resolver.close()
        self._updates.close()
        self._client.close()

    async def _tree(self, node: str, key: str) -> Path | None:
        source = self._sources.get(key)
        builds = any(b.node == node and b.state == "wanted" for b in self._builds.values())
        if source is None or not (builds or self._mentions(node, key)):
            return None
        try:
            return await asyncio.to_thread(self._trees.need, source)
        except RemoteError:
            return None

    def _holders(self, node: str, image: str) -> list[str] | None:
        if not self._mentions(node, image):
            return None
        build = self._builds.get(image)
        running = [v.name for v in self._views().values() if any(i.image == image for i in v.instances)]
        built = [build.node] if build is not None and build.state == "done" else []
        return list(dict.fromkeys([*built, *running]))

    def _lost(self, image: str) -> None:
        with self._store.begin() as tx:
            forget_build(tx, image)
        self._changed(f"no node has {image} any more")

    def _mentions(self, node: str, text: str) -> bool:
        """Whether a node's desired state speaks of something; what it does not is none of its business."""
        desired = self._registry.desired(node)
        return desired is not None and f'"{text}"'.encode() in desired.body
