"""Metrics and history: the endpoint, its document and its dashboard agree; who may read; nothing grows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, insert, select

from automator67.engine.breaker import Breakers
from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.chronicle import Chronicle, Judged
from automator67.engine.circuit import Policy
from automator67.engine.judge import AppState
from automator67.engine.measures import mean, present
from automator67.engine.metrics import CATALOGUE, PREFIX
from automator67.engine.observed import Observed
from automator67.engine.quotas import Quota
from automator67.engine.store.database import Store, open_store
from automator67.engine.store.facts import set_app_states
from automator67.engine.store.history import HOURS, MINUTES, put_point, read_history
from automator67.engine.store.nodes import NodeRecord, put_nodes
from automator67.engine.store.quotas import put_quotas
from automator67.engine.store.volume_tables import snapshots
from automator67.engine.store.watch_tables import history
from automator67.ui.app import create_app
from automator67.ui.metrics import metrics_blueprint

ROOT = Path(__file__).resolve().parents[2]
NOON = 1_764_072_000.0
REPORT = {
    "capacity": {"cpu": 2, "memory": 4e9, "disk": 5e10}, "usage": {"cpu": 0.5, "memory": 1e9, "disk": 1e10},
    "agent": {"version": "1", "rss": 18_000_000},
    "instances": [
        {"id": "blog-0-r", "app": "blog", "cpu": 0.25, "memory": 1e8, "restarts": 2},
        {"id": "blog-1-r", "app": "blog", "cpu": 0.05, "memory": 2e8, "restarts": 0},
        {"id": "gone-0-r", "app": "gone", "cpu": 1.0, "memory": 1.0, "restarts": 0},
    ],
}  # fmt: skip


class Cloud:
    """A store that a chronicle writes, and a clock that is moved by hand."""

    def __init__(self, folder: Path) -> None:
        self.now = NOON
        self.path = folder / "store.db"
        self.store = open_store(self.path)
        self.breakers = Breakers()
        self.far = self.breakers.before("node/far", "node far", Policy(failures=1))
        self.chronicle = Chronicle(self.store, self.breakers, folder / "sql", lambda: self.now, str)
        blog = AppState("blog", "synced", "degraded", "none", replicas_wanted=2, replicas_healthy=1)
        with self.store.begin() as tx:
            put_nodes(tx, [NodeRecord("hel1", cert_expires=NOON + 60, last_seen=NOON, state="healthy", report=REPORT)])
            set_app_states(tx, {}, {"blog": blog}, NOON)
            put_quotas(tx, [Quota("far", "hours", 75.0, 750.0, 1500.0, NOON)])
            tx.execute(insert(snapshots).values(
                app="blog", slot=0, volume="data", id="s1", at=NOON - 9, files=3, bytes=70))  # fmt: skip

    def tick(self, figures: dict[str, float] | None = None) -> None:
        bucket = BucketFacts("photos", 3, 70, 2, 1, (("disk1", 140),), 1000)
        self.chronicle.tick(Judged(self.now, observed=Observed(buckets=(bucket,)), figures=figures or {}))

    def client(self, token: str = "") -> FlaskClient:
        app: Flask = create_app(lambda: self.store)
        app.register_blueprint(metrics_blueprint(lambda: self.store, lambda: token, lambda: self.now))
        return app.test_client()

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path)
    yield made
    made.close()


def shown(client: FlaskClient, **more: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = client.get("/metrics", **more)
    assert answer.status_code == 200
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(answer.get_data(as_text=True))
        for s in family.samples
    }


def test_the_endpoint_its_document_and_the_catalogue_agree(cloud: Cloud) -> None:
    with pytest.raises(OSError, match="x"), cloud.far.call(lambda _: True):
        raise OSError("x")
    cloud.tick({"passes": 3.0, "failed_passes": 1.0, "pass_seconds": 0.5})
    found = shown(cloud.client())
    document = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*) \| (.+) \|$", document, re.MULTILINE)
    written = {name: (kind, tuple(filter(None, labels.split(", "))), text) for name, kind, labels, text in rows}
    assert written == {PREFIX + m.name: (m.kind, m.labels, m.help) for m in CATALOGUE.values()}
    assert {name for name, _ in found} == set(written)
    for name, labels in found:
        assert {key for key, _ in labels} == set(written[name][1])

    def value(metric: str, **labels: str) -> float:
        return found[PREFIX + metric, tuple(sorted(labels.items()))]

    assert value("node_memory_used_bytes", node="hel1") == 1e9
    assert value("node_state", node="hel1", state="healthy") == 1
    assert value("node_state", node="hel1", state="suspect") == 0
    assert value("app_health", app="blog", health="degraded") == 1
    assert value("app_memory_used_bytes", app="blog") == 3e8
    assert value("app_cpu_used_cores", app="blog") == pytest.approx(0.3)
    assert value("breaker_state", name="node/far", state="open") == 1
    assert value("volume_last_backup_bytes", app="blog", volume="data", slot="0") == 70
    assert value("bucket_pieces_short", bucket="photos") == 2
    assert value("bucket_provider_bytes", bucket="photos", node="disk1") == 140
    assert value("engine_passes_total") == 3
    assert value("quota_used_ratio", node="far", resource="hours") == 0.1
    assert value("quota_projected_ratio", node="far", resource="hours") == 2
    assert value("engine_resident_memory_bytes") > 1e6


def test_names_are_as_prometheus_wants_them() -> None:
    for metric in CATALOGUE.values():
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        unit = {"memory": "_bytes", "disk": "_bytes", "cpu": ("_cores", "_seconds_total"), "time": "_time_seconds"}
        for word, ending in unit.items():
            if word in metric.name.split("_"):
                assert metric.name.endswith(ending), metric.name
        assert not set(metric.labels) & {"commit", "instance", "address", "reason"}


def test_every_expression_of_the_dashboard_asks_for_what_there_is() -> None:
    dashboard = json.loads((ROOT / "docs/grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) >= 12
    for expression in expressions:
        names = re.findall(rf"{PREFIX}(\w+)", expression)
        assert names, expression
        for name in names:
            assert name in CATALOGUE, expression
            for label in re.findall(rf"{PREFIX}{name}{{(\w+)", expression):
                assert label in CATALOGUE[name].labels
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_who_may_read(cloud: Cloud) -> None:
    here = cloud.client()
    assert here.get("/metrics").status_code == 200
    assert here.get("/metrics", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 403
    assert here.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
    token = "a-token-of-some-length"
    guarded = cloud.client(hashlib.sha256(token.encode()).hexdigest())
    assert guarded.get("/metrics").status_code == 403
    assert guarded.get("/metrics", headers={"Authorization": "Bearer another"}).status_code == 403
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    told = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.7"}
    assert guarded.get("/metrics", headers=told, environ_base=elsewhere).status_code == 200


def test_a_hostile_name_cannot_break_out_of_its_label(cloud: Cloud) -> None:
    name = 'x"} 1\nevil 2'
    with cloud.store.begin() as tx:
        put_nodes(tx, [NodeRecord(name, last_seen=1.0, report={})])
    found = shown(cloud.client())
    assert (PREFIX + "node_last_seen_time_seconds", (("node", name),)) in found
    assert not any(n == "evil" for n, _ in found)


def test_history_is_read_by_the_minute_for_a_day_and_by_the_hour_before(cloud: Cloud) -> None:
    for minute in range(26 * 60):
        with cloud.store.begin() as tx:
            put_point(tx, {"node/hel1": {"cpu_used": float(minute)}}, NOON + 60 * minute)
    cloud.now = NOON + 26 * 3600 - 30
    client = cloud.client()
    day = client.get("/api/v1/history/node/hel1?hours=24").get_json()
    assert len(day["times"]) in (1440, 1439)
    assert day["series"]["cpu_used"][-1] == 26 * 60 - 1
    assert day["times"] == sorted(day["times"])
    week = client.get("/api/v1/history/node/hel1?hours=168").get_json()
    # The last hour is not over.
    assert len(week["times"]) == 25
    assert week["series"]["cpu_used"][:2] == [29.5, 89.5]
    assert client.get("/api/v1/history/node/other").get_json()["times"] == []
    assert client.get("/api/v1/history/secret/other").status_code == 404


def test_an_engine_that_was_away_over_the_hour_still_writes_the_hour_before(cloud: Cloud) -> None:
    with cloud.store.begin() as tx:
        for at, value in ((NOON + 60, 1.0), (NOON + 120, 3.0), (NOON + 7 * 3600, 9.0)):
            put_point(tx, {"engine": {"memory": value}}, at)
        assert read_history(tx, "engine", NOON - 40 * 3600, NOON + 8 * 3600) == [(NOON, {"memory": 2.0})]


def rows(store: Store) -> dict[int, int]:
    counted = select(history.c.step, func.count().label("n")).group_by(history.c.step)
    with store.read() as tx:
        return {r.step: r.n for r in tx.execute(counted)}


def test_a_day_of_minutes_and_a_month_of_hours_do_not_grow(cloud: Cloud) -> None:
    def pass_time(step: float, until: float) -> int:
        while cloud.now < until:
            cloud.now += step
            with cloud.store.begin() as tx:
                put_point(tx, point, cloud.now)
        with cloud.store.begin() as tx:
            return int(tx.exec_driver_sql("PRAGMA page_count").scalar() or 0)

    point = present({"hel1": REPORT}, {}, {"memory": 5e7})
    first = pass_time(60, NOON + 86400)
    second = pass_time(60, NOON + 1.25 * 86400)
    assert rows(cloud.store) == {MINUTES.step: MINUTES.count, HOURS.step: 30}
    assert second <= first + 8
    month = pass_time(1800, NOON + 32 * 86400)
    later = pass_time(1800, NOON + 36 * 86400)
    assert rows(cloud.store) == {MINUTES.step: MINUTES.count, HOURS.step: HOURS.count}
    assert later <= month + 8


def test_one_write_a_minute(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    began = 0
    begin: Callable[..., Any] = cloud.store.begin

    def counted() -> Any:
        nonlocal began
        began += 1
        return begin()

    cloud.tick()
    monkeypatch.setattr(cloud.store, "begin", counted)
    for _ in range(600):
        cloud.now += 1
        cloud.tick()
    assert began == 10


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b"]), st.dictionaries(st.sampled_from(["x", "y"]), st.floats(0, 1e12))),
        max_size=6,
    )
)
def test_a_mean_lies_between_what_was_measured_and_invents_nothing(points: list[dict[str, dict[str, float]]]) -> None:
    found = mean(points)
    for resource in ("a", "b"):
        for name in ("x", "y"):
            values = [p[resource][name] for p in points if name in p.get(resource, {})]
            got = found.get(resource, {}).get(name)
            assert (got is None) == (not values)
            if values and got is not None:
                assert min(values) - 1e-3 <= got <= max(values) + 1e-3


def test_what_a_node_does_not_report_is_left_out() -> None:
    point = present({"a": {"capacity": {}, "usage": None}, "b": {"usage": {"cpu": 0.5}}}, {}, {})
    assert point == {"engine": {}, "node/b": {"cpu_used": 0.5}}
