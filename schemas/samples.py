"""One complete file of each kind, as ``explain`` and the reference show it; together they are a valid repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from automator67.schemas.source import read_yaml

SAMPLES: Mapping[str, str] = {
    "cloud": """\
name: home
statuses: {per_app: false}
limits: {deletions: 3}
heartbeat: {interval: 30s, suspect_after: 45s, unavailable_after: 105s}
alerts:
  - {to: {secret: slack-url}, on: [failing, unavailable, recovered], for: 1m}
access:
  users: [{email: ana@example.org, password: $argon2id$v=19$m=65536$c2FsdA$aGFzaA}]
  oauth: [{provider: github, allow: [ana, team:acme/ops]}]
""",
    "app": """\
image: ghcr.io/ana/blog:1.4.2
port: 8080
replicas: 2
resources: {cpu: 0.25, memory: 128Mi}
health: {path: /healthz, interval: 10s, timeout: 2s}
env: {GREETING: hello, DATABASE_URL: {secret: blog-db}}
domain: blog.example.org
place: {spread: region, require: {disk: ssd}, avoid: [render-free]}
update: {strategy: rolling, healthy_for: 10s, deadline: 5m}
depends_on: [db]
volumes: [{name: data, path: /data, backup: {bucket: photos, every: 1d, keep: 7}}]
""",
    "node": """\
kind: agent
region: eu
labels: {disk: ssd}
capacity: {memory: 900Mi}
gateway: true
""",
    "shard": """\
shards:
  - {name: s0, url: {secret: s0-url}}
  - {name: s1, url: {secret: s1-url}, weight: 2}
default: s0
tables:
  users: {strategy: hash, key: id}
  orders: {strategy: hash, key: user_id, with: users}
  events: {strategy: range, key: at, ranges: [{below: 2026-01-01, shard: s0}, {shard: s1}]}
  tenants: {strategy: directory, key: tenant, directory: {acme: s0, globex: s1}, default: s0}
  countries: {strategy: everywhere}
""",
    "bucket": """\
providers: [r2-free, b2-free, hel1]
replicas: 2
key: {secret: photos-key}
chunk: 5MB
quota: 10GB
keep_deleted: 30d
cache: 500MB
""",
}


def sample_value(path: str) -> Any:
    """Return what the sample of a kind says for a key (``app.update``, ``app.volumes[].name``), None when nothing."""
    kind, *keys = re.sub(r"\[\]", ".[]", path).split(".")
    value: Any = read_yaml(kind, SAMPLES.get(kind, "").encode()).value
    for key in keys:
        if key == "[]":
            value = value[0] if isinstance(value, list) and value else None
        elif isinstance(value, dict):
            value = next(iter(value.values()), None) if key == "NAME" else value.get(key)
        else:
            return None
    return value
