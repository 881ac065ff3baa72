"""The present of all nodes, in memory: what they reported, how they are judged, what they are told.

Heartbeats arrive on the event loop's thread while a pass looks from its own, so everything is under one lock. The
store gets what changed, in batches; it is read only at the start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from automator67.engine.copies import LOST_STATES
from automator67.engine.desired import Node
from automator67.engine.instances import NodeDesired, node_desired
from automator67.engine.nodes.certificates import AGENT_LIFE, Identity
from automator67.engine.nodes.entry import Entry, grant, heard, remembered, told
from automator67.engine.nodes.judgement import Standing
from automator67.engine.nodes.reading import read_report, view_of
from automator67.engine.nodes.watching import Watch
from automator67.engine.observed import NodeView
from automator67.engine.settings import Settings
from automator67.engine.store.database import Store
from automator67.engine.store.facts import add_events
from automator67.engine.store.nodes import NodeRecord, node_records, put_nodes

SAVE_SECONDS = 10.0
"""How often a node's last report is written when nothing in it matters to a plan."""


class IdentityRefused(Exception):
    """A certificate is genuine but may not be used any more; one line for the agent's log."""


class Conflict(Exception):
    """Two agents speak for one node."""


class Registry:
    """All nodes that ever joined. ``woken`` is called (from any thread) with a node whose desired state changed."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        revoked: Mapping[str, float] | None = None,
    ) -> None:
        """``revoked``: nodes and when they were refused, as known outside the store (which may have been lost)."""
        self._store = store
        self._revoked = dict(revoked or {})
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._nodes: dict[str, Entry] = {}
        self._events: list[tuple[float, str, str, str, str]] = []
        self._began = monotonic()
        self.watch = Watch(monotonic)
        self.woken: Callable[[str], None] = lambda _: None

    def load(self) -> None:
        """Read what the store remembers. A remembered report is not a fresh one: the node has yet to speak."""
        with self._store.read() as tx:
            records = node_records(tx)
        now = self._clock()
        with self._lock:
            for record in records:
                self._nodes[record.name] = remembered(record, now, self._monotonic())

    def enrolled(self, node: str, serial: str, expires: float) -> None:
        """A node joined, perhaps again: certificates of before are refused from now on."""
        with self._lock:
            entry = self._nodes.setdefault(node, Entry(NodeRecord(node)))
            entry.record = replace(
                entry.record, cert_serial=serial, cert_expires=expires, enrolled_at=self._clock(), revoked_at=None
            )
            entry.boots.clear()
            entry.dirty = True
            self._log("joined", node, "the agent has a new certificate")
        self.flush()

    def renewed(self, node: str, serial: str, expires: float) -> None:
        """A node got its next certificate."""
        with self._lock:
            entry = self._nodes.setdefault(node, Entry(NodeRecord(node)))
            entry.record = replace(entry.record, cert_serial=serial, cert_expires=expires)
            entry.dirty = True

    def revoke(self, node: str) -> bool:
        """Refuse a node from now on; return whether it was known."""
        with self._lock:
            entry = self._nodes.get(node)
            if entry is None:
                return False
            entry.record = replace(entry.record, revoked_at=self._clock())
            entry.dirty = True
            self._log("revoked", node, "the node's certificate was revoked")
        self.flush()
        self.woken(node)
        return True

    def is_revoked(self, node: str) -> bool:
        """Whether a node is refused."""
        with self._lock:
            entry = self._nodes.get(node)
            return entry is not None and entry.record.revoked_at is not None

    def admit(self, identity: Identity) -> str:
        """Return the node a certificate may speak for. Raises IdentityRefused."""
        with self._lock:
            entry = self._nodes.get(identity.node)
            if entry is None:
                # A store that was lost: the CA has survived, and its certificates are still good.
                revoked_at = self._revoked.get(identity.node)
                record = NodeRecord(identity.node, identity.serial, identity.expires, revoked_at=revoked_at)
                entry = self._nodes[identity.node] = Entry(record)
                entry.dirty = True
            if entry.record.revoked_at is not None:
                raise IdentityRefused(f"node {identity.node} is revoked; join again with a new token")
            if identity.expires - AGENT_LIFE.total_seconds() < entry.record.enrolled_at - 5.0:
                raise IdentityRefused(f"node {identity.node} has joined anew since; this certificate is of before")
            # What was encrypted to an old key has to be told again: the next report leads to it.
            entry.fresh, entry.key = entry.fresh and entry.key in (b"", identity.key), identity.key
            return identity.node

    def key(self, node: str) -> bytes:
        """Return the public key of a node's certificate (DER, SPKI); empty before it spoke to this engine."""
        with self._lock:
            entry = self._nodes.get(node)
            return entry.key if entry else b""

    def heartbeat(self, node: str, message: Mapping[str, Any]) -> bool:
        """Take a valid heartbeat; return whether it brings something a plan or a judgement cares about.

        Raises Conflict when an agent speaks that another one has replaced.
        """
        now = self._clock()
        with self._lock:
            entry = self._nodes[node]
            boot = str(message["boot_id"])
            if boot in entry.boots and entry.boots[-1] != boot:
                self._log("conflict", node, "two agents speak for this node; is it a copy of another machine?")
                raise Conflict(f"another agent speaks for node {node} (a cloned machine?)")
            if boot not in entry.boots:
                entry.boots.append(boot)
            report = read_report(node, message, now, entry.report)
            changed = not entry.fresh or report != entry.report
            heard(entry, self._monotonic())
            entry.report, entry.fresh = report, True
            entry.record = replace(entry.record, last_seen=now, report=message)
            entry.dirty = entry.dirty or changed or now - entry.saved > SAVE_SECONDS
            for event in message.get("events", [])[:50]:
                about = f"{event['instance']}: " if event.get("instance") else ""
                self._log(str(event.get("kind", "event"))[:32], node, f"{about}{event.get('message', '')}"[:500])
            return changed or entry.record.state != "healthy"

    def place_reports(self, node: str, message: Mapping[str, Any]) -> bool:
        """Take the report of a place that the engine itself looks at, as if an agent had sent it."""
        with self._lock:
            entry = self._nodes.setdefault(node, Entry(NodeRecord(node)))
            entry.trouble, entry.broken = "", None
            entry.record = replace(entry.record, connected=True)
            # There is one who speaks for it, us; it may be another swarm today.
            entry.boots.clear()
            return self.heartbeat(node, message)

    def place_fails(self, node: str, why: str) -> bool:
        """Note that a place cannot be looked at; return whether that is news. Its silence is judged as an agent's."""
        with self._lock:
            entry = self._nodes.setdefault(node, Entry(NodeRecord(node)))
            news = entry.trouble != why
            entry.trouble = why
            if entry.broken is None:
                entry.broken = self._monotonic()
                entry.record = replace(entry.record, connected=False)
                entry.dirty = True
            return news

    def hold(self, node: str) -> None:
        """A request of the node is held: as long as it is, the node is there."""
        with self._lock:
            entry = self._nodes[node]
            entry.held += 1
            entry.broken = None
            entry.record = replace(entry.record, connected=True)

    def let_go(self, node: str, *, broken: bool) -> None:
        """A held request ended; ``broken`` when the other side vanished."""
        with self._lock:
            entry = self._nodes[node]
            entry.held -= 1
            if entry.held == 0 and broken:
                entry.broken = self._monotonic()
                entry.record = replace(entry.record, connected=False)
                entry.dirty = True

    def answers(self, node: str, every: float) -> float:
        """Note how often a node is told to report; return its lease in seconds, 0 for one that was given up."""
        with self._lock:
            self._nodes[node].every = every
            return grant(self._nodes[node], self._monotonic(), self.watch.settings.lease)

    def tick(self) -> None:
        """Notice that the engine itself was away (stopped, suspended); call it about every second."""
        with self._lock:
            self.watch.tick(self._monotonic())

    def verdicts_due(self) -> bool:
        """Whether the passing of time alone has changed what a node would be judged as."""
        with self._lock:
            verdicts = self.watch.judge(self._nodes, self._monotonic())
            return any(v.state != self._nodes[n].record.state for n, v in verdicts.items())

    def views(self, nodes: Mapping[str, Node], settings: Settings) -> dict[str, NodeView]:
        """Return every node that is declared or known, judged now."""
        with self._lock:
            self.watch.follow(settings, nodes)
            now = self._clock()
            entries = {name: self._nodes.get(name) for name in sorted({*nodes, *self._nodes})}
            mono = self._monotonic()
            verdicts = self.watch.judge(entries, mono)
            # An engine of before may have given a lease just before this one began.
            lease = now - mono + self._began + settings.lease
            return {n: self._view(n, e, told(verdicts[n], nodes.get(n), e), now, lease) for n, e in entries.items()}

    def _view(self, name: str, entry: Entry | None, verdict: Standing, now: float, lease: float) -> NodeView:
        if entry is None:
            return NodeView(name, verdict.state, verdict.reason)
        if entry.trouble:
            text = entry.trouble if verdict.state in ("never", "healthy") else f"{verdict.reason}: {entry.trouble}"
            verdict = replace(verdict, reason=text)
        entry.lapsed = entry.lapsed or verdict.state in LOST_STATES
        record = entry.record
        if (record.state, record.state_reason) != (verdict.state, verdict.reason):
            if record.state != verdict.state:
                self._log(verdict.state, name, verdict.reason or "heartbeats arrive")
            since = now if record.state != verdict.state else record.state_since
            entry.record = replace(record, state=verdict.state, state_reason=verdict.reason, state_since=since)
            entry.dirty = True
        degraded = ", ".join(entry.report.degraded) if entry.report else ""
        return view_of(
            name, entry.report, record.report.get("usage", {}), verdict.state, verdict.reason or degraded,
            record.last_seen, fresh=entry.fresh, failures=len(verdict.falls),
            lease_until=max(lease, now - self._monotonic() + entry.lease_until),
        )  # fmt: skip

    def set_desired(
        self, node: str, cloud: str, instances: Sequence[Mapping[str, Any]], edge: Mapping[str, Any] | None = None,
        *, alive: bool = True,
    ) -> str:  # fmt: skip
        """Set the complete desired state of a node, seen ``alive`` or not; return its revision. News wakes it."""
        told = node_desired(node, cloud, instances, edge)
        with self._lock:
            entry = self._nodes.get(node)
            if entry is not None and alive:
                entry.lapsed = False
            if entry is None or (entry.desired is not None and entry.desired.rev == told.rev):
                return told.rev
            entry.desired = told
        self.woken(node)
        return told.rev

    def desired(self, node: str) -> NodeDesired | None:
        """Return the desired state of a node, None while the engine does not know it."""
        with self._lock:
            entry = self._nodes.get(node)
            return entry.desired if entry else None

    def flush(self) -> None:
        """Write what changed to the store, in one transaction. Raises StoreUnavailable; nothing is lost then."""
        with self._lock:
            dirty = [e for e in self._nodes.values() if e.dirty]
            records, events = [e.record for e in dirty], self._events
            if not records and not events:
                return
            self._events = []
            for entry in dirty:
                entry.dirty, entry.saved = False, self._clock()
        try:
            # Not under the lock: heartbeats must not wait for a database that is slow or locked.
            with self._store.begin() as tx:
                put_nodes(tx, records)
                add_events(tx, events)
        except BaseException:
            with self._lock:
                self._events = events + self._events
                for entry in dirty:
                    entry.dirty = True
            raise

    def _log(self, kind: str, node: str, message: str) -> None:
        self._events.append((self._clock(), kind, f"node/{node}", message, ""))
