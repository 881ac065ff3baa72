"""Looks up what names mean, several at a time and away from the passes, and remembers it in the store.

A source or a registry that cannot be reached changes nothing: the last answer stays, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock

from automator67.engine.desired import Desired
from automator67.engine.images.pins import Pin, Question, due, pinned
from automator67.engine.images.registry import RegistryClient, RegistryError
from automator67.engine.remote_errors import RemoteError
from automator67.engine.secrets.errors import SecretError
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.origins import load_pins, save_pins
from automator67.engine.trees import Trees

log = logging.getLogger("automator67.resolver")

AT_ONCE = 8
FIRST_SECONDS = 1.0
"""How long a pass waits for names that are new; what is found out later leads to another pass."""
SOURCE_SECONDS = 3.0
"""Refs are not looked up more often than this, however often somebody asks."""


class Resolver:
    """``secret(name)`` gives the value of a secret (raises SecretError), ``changed(reason)`` asks for a pass."""

    def __init__(
        self, store: Store, trees: Trees, registry: RegistryClient, secret: Callable[[str], str],
        changed: Callable[[str], None], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._store, self._trees, self._registry = store, trees, registry
        self._secret, self._changed, self._clock = secret, changed, clock
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="resolve")
        self._lock = Lock()
        self._pins: dict[str, Pin] | None = None
        self._running: dict[str, Future[None]] = {}

    def settle(self, desired: Desired, now: float, fetch: bool) -> tuple[Desired, dict[str, str]]:
        """Return the desired state with what is known of its names, and notes by resource.

        With ``fetch`` refs of sources are looked up again. Raises StoreUnavailable.
        """
        pins = self._known()
        questions = due(desired, pins, now, SOURCE_SECONDS if fetch else float("inf"))
        if questions:
            running = [self._ask(q) for q in questions]
            new = [f for q, f in zip(questions, running, strict=True)
                   if (pin := pins.get(q.app)) is None or pin.reference != q.reference]  # fmt: skip
            wait(new, FIRST_SECONDS)
        with self._lock:
            return pinned(desired, self._pins or {})

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _known(self) -> dict[str, Pin]:
        with self._lock:
            if self._pins is None:
                with self._store.read() as tx:
                    self._pins = load_pins(tx)
            return dict(self._pins)

    def _ask(self, question: Question) -> Future[None]:
        key = f"{question.app} {question.reference}"
        running = self._running.get(key)
        if running is None or running.done():
            running = self._running[key] = self._pool.submit(self._look, question)
        return running

    def _look(self, question: Question) -> None:
        try:
            value, error = self._answer(question), ""
        except (RemoteError, RegistryError, SecretError) as problem:
            value, error = "", str(problem)
        except Exception as problem:
            log.exception("looking up %s failed", question.reference)
            value, error = "", f"internal error: {type(problem).__name__}"
        with self._lock:
            assert self._pins is not None
            before = self._pins.get(question.app)
            same = before is not None and before.reference == question.reference
            if before is not None and same and not value:
                value = before.value
            pin = Pin(question.app, question.reference, value, error, question.blob, self._clock())
            self._pins[question.app] = pin
        if before is not None and same and (before.value, before.error) == (value, error):
            return
        try:
            with self._store.begin() as tx:
                save_pins(tx, [pin])
        except StoreUnavailable as problem:
            log.warning("%s", problem)
        text = f"{question.reference} is {value}" if not error else f"{question.reference}: {error}"
        log.log(logging.WARNING if error else logging.INFO, "%s", text, extra={"resource": f"app/{question.app}"})
        self._changed(f"{question.reference} was looked up")

    def _answer(self, question: Question) -> str:
        if question.source is not None:
            return self._trees.resolve(question.source)
        login = self._secret(question.credentials) if question.credentials else ""
        return self._registry.digest(question.reference, login)
