"""``/metrics`` in Prometheus' text format, and the history of what is measured as JSON.

Who may read: whoever shows the token (``Authorization: Bearer``), where one is set; else only this machine itself. A
request that a proxy has passed on is not of this machine.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flask import Blueprint, Response, jsonify, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from werkzeug.exceptions import Forbidden, NotFound

from automator67.engine.metrics import CATALOGUE, PREFIX, Seen, samples
from automator67.engine.store.database import Store
from automator67.engine.store.history import HOURS, read_history
from automator67.engine.store.watching import seen

LOCAL = ("127.0.0.1", "::1")
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")
_KINDS = ("app", "node")


@dataclass(frozen=True, eq=False)
class _Now(Collector):
    """The store's metrics as Prometheus' own library wants them."""

    facts: Seen

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, labels, value in samples(self.facts):
            if name not in families:
                about = CATALOGUE[name]
                family = CounterMetricFamily if about.kind == "counter" else GaugeMetricFamily
                families[name] = family(PREFIX + name, about.help, labels=about.labels)
            families[name].add_metric(labels, value)
        yield from families.values()


def metrics_blueprint(
    open_readonly: Callable[[], Store],
    token_sha256: Callable[[], str] = lambda: "",
    clock: Callable[[], float] = time.time,
) -> Blueprint:
    """Return the blueprint. ``token_sha256()`` is the SHA-256 of the token in hex, empty where none is set."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def metrics() -> Response:
        if not _may_read(token_sha256()):
            raise Forbidden("Metrics are for this machine, or for who shows the token (docs/metrics.md).")
        registry = CollectorRegistry(auto_describe=False)
        with open_readonly().read() as tx:
            registry.register(_Now(seen(tx)))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    @blueprint.get("/api/v1/history/engine", defaults={"kind": "engine", "name": ""})
    @blueprint.get("/api/v1/history/<kind>/<name>")
    def history(kind: str, name: str) -> Response:
        if kind not in (*_KINDS, "engine"):
            raise NotFound(f"There is history of {', '.join(_KINDS)} and engine.")
        resource, now = f"{kind}/{name}" if name else kind, clock()
        hours = min(max(request.args.get("hours", 24, type=int), 1), HOURS.seconds // 3600)
        with open_readonly().read() as tx:
            points = read_history(tx, resource, now - hours * 3600, now)
        names = sorted({key for _, measures in points for key in measures})
        series = {key: [measures.get(key) for _, measures in points] for key in names}
        return jsonify(resource=resource, times=[at for at, _ in points], series=series)

    return blueprint


def _may_read(wanted: str) -> bool:
    if not wanted:
        return request.remote_addr in LOCAL and not any(name in request.headers for name in _FORWARDED)
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    return hmac.compare_digest(hashlib.sha256(given.encode()).hexdigest(), wanted)
