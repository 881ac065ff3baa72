"""Proposes newer images: looks at the tags of a registry from time to time, and commits to a branch what it finds.

See docs/decisions/0005-newer-images-are-proposed.md. Each tag is proposed once: who deletes the branch is not asked
again for the same tag.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from automator67.engine.desired import App, Desired
from automator67.engine.forges.pull_requests import PullRequestFailed, PullRequests
from automator67.engine.image_name import parse, with_tag
from automator67.engine.images.policy import DIGEST, newest, with_image
from automator67.engine.images.registry import RegistryClient, RegistryError
from automator67.engine.remote_errors import RemoteError
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.propose import propose, read_file
from automator67.engine.secrets.errors import SecretError
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.facts import add_events, fact, set_fact

log = logging.getLogger("automator67.updates")


class ImageUpdates:
    """``subdir`` is the folder of the configuration in the repository; ``secret(name)`` raises SecretError."""

    def __init__(
        self, store: Store, mirror: Mirror, subdir: str, registry: RegistryClient, secret: Callable[[str], str],
        requests: PullRequests | None, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._store, self._mirror, self._registry, self._secret = store, mirror, registry, secret
        self._subdir, self._requests, self._clock = subdir.strip("/"), requests, clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="updates")
        self._looked: dict[str, tuple[float, str]] = {}
        self.notes: dict[str, str] = {}
        """By resource: what is proposed, or why nothing could be."""

    def look(self, desired: Desired, now: float) -> None:
        """Look for newer tags where that is due, in a thread."""
        followed = {}
        for app in desired.apps.values():
            if app.policy is None or app.policy.track == DIGEST or app.image is None:
                continue
            followed[f"app/{app.name}"] = app
            at, blob = self._looked.get(app.name, (0.0, ""))
            if now - at >= app.policy.every or blob != app.origin.blob:
                self._looked[app.name] = (now, app.origin.blob)
                self._pool.submit(self._follow, app, desired.commit)
        self.notes = {resource: note for resource, note in self.notes.items() if resource in followed}

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _follow(self, app: App, commit: str) -> None:
        try:
            note = self._newer(app, commit)
        except (RegistryError, RemoteError, SecretError, StoreUnavailable) as error:
            note = f"newer images cannot be looked for: {error}"
        except Exception as error:
            log.exception("looking for a newer image of %s failed", app.name)
            note = f"newer images cannot be looked for: {type(error).__name__}"
        self.notes = {**self.notes, f"app/{app.name}": note} if note else {
            k: v for k, v in self.notes.items() if k != f"app/{app.name}"}  # fmt: skip

    def _newer(self, app: App, commit: str) -> str:
        assert app.policy is not None
        image: str = app.document["image"]
        login = self._secret(app.registry) if app.registry else ""
        tag = newest(app.policy.track, self._registry.tags(image, login), parse(image).tag)
        if tag is None:
            return ""
        branch, new = f"update/{app.name}-{tag}", with_tag(image, tag)
        key = f"newer:{app.name}"[:64]
        with self._store.read() as tx:
            if fact(tx, key) == f"{image} {tag}":
                return f"{new} is there; it is proposed on branch {branch}"
        path = f"{self._subdir}/{app.origin.path}".lstrip("/")
        text = read_file(self._mirror, commit, path).decode(errors="surrogateescape")
        edited = with_image(text, image, new)
        if edited is None:
            return f"{new} is there; {path} cannot be edited with certainty, so change it by hand"
        title = f"{app.name}: {image} -> {new}"
        changed = {path: edited.encode(errors="surrogateescape")}
        if propose(self._mirror, commit, branch, changed, f"{title}\n\nimage_policy: {app.policy.track}\n"):
            self._ask(branch, title, app.policy.track)
        now = self._clock()
        with self._store.begin() as tx:
            set_fact(tx, key, f"{image} {tag}")
            add_events(tx, [(now, "proposed", f"app/{app.name}", f"{new} on branch {branch}", "")])
        log.info("proposed %s on branch %s", new, branch, extra={"resource": f"app/{app.name}"})
        return f"{new} is there; it is proposed on branch {branch}"

    def _ask(self, branch: str, title: str, track: str) -> None:
        if self._requests is None:
            return
        try:
            self._requests.open(branch, self._mirror.branch, title, f"`image_policy` follows `{track}`.")
        except PullRequestFailed as error:
            log.warning("no pull request for %s: %s", branch, error)
