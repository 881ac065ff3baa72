"""The tables of the store, the same on SQLite and PostgreSQL.

Times are seconds since the epoch (float), JSON is text written by ``json.dumps``. Everything here can be rebuilt
from git, the agents and the forges: the store may be lost without losing an app.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    or_,
)

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Single facts: ``cloud``, ``head`` (commit last fetched), ``applied`` (commit last applied), ``remote_error``,
``engine_started``, ``reconciled_at``."""

commits = Table(
    "commits",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("seq", Integer, nullable=False, unique=True),
    Column("author", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("committed_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("finished_at", Float),
    Column("summary", Text, nullable=False, default=""),
    Column("problems", Text, nullable=False, default="[]"),
    Column("plan", Text, nullable=False, default="{}"),
)
"""Commits the engine has looked at, newest ``seq`` last. ``state``: pending, applying, applied, failed, invalid,
superseded. ``plan`` is the plan as first made for the commit (JSON)."""

nodes = Table(
    "nodes",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("cert_serial", Text, nullable=False, default=""),
    Column("cert_expires", Float, nullable=False, default=0.0),
    Column("enrolled_at", Float, nullable=False, default=0.0),
    Column("revoked_at", Float),
    Column("last_seen", Float, nullable=False, default=0.0),
    Column("connected", Boolean, nullable=False, default=False),
    Column("state", String(16), nullable=False, default="never"),
    Column("state_reason", Text, nullable=False, default=""),
    Column("state_since", Float, nullable=False, default=0.0),
    Column("report", Text, nullable=False, default="{}"),
)
"""Enrolled agents with their last full heartbeat (``report``, the message as JSON)."""

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("secret_hash", String(64), nullable=False),
    Column("node", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)

assignments = Table(
    "assignments",
    metadata,
    Column("instance", String(128), primary_key=True),
    Column("node", String(64), primary_key=True),
    Column("app", String(64), nullable=False),
    Column("slot", Integer, nullable=False),
    Column("rev", String(16), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("want", String(8), nullable=False),
    Column("since", Float, nullable=False),
    Column("commit_id", String(64), nullable=False),
    Column("adopt", Text),
    Column("draining_since", Float, nullable=False, default=0.0),
)
"""``want``: run, drain (runs on, but takes no new requests from ``draining_since`` on), stop. ``since``: when it was
assigned."""
Index("assignments_node", assignments.c.node)

revisions = Table(
    "revisions",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("rev", String(16), primary_key=True),
    Column("commit_id", String(64), nullable=False),
    Column("spec", Text, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("healthy_at", Float, nullable=False, default=0.0),
)
"""``asked_at``: when a commit last asked for this revision; the newest is the deployed one. ``healthy_at``: when
every replica of it was last seen healthy; the newest is the last good one."""

holds = Table(
    "holds",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("rev", String(16), nullable=False),
    Column("blob", String(64), nullable=False),
    Column("commit_id", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
)
"""``blob``: the content of the app's file when it was held; another content releases the hold."""

canaries = Table(
    "canaries",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("rev", String(16), nullable=False),
    Column("admitted_at", Float, nullable=False),
    Column("promoted_at", Float, nullable=False, default=0.0),
)
"""By app: the revision last tried with a share of the requests; ``promoted_at`` 0: not found good enough for all."""

confirmations = Table(
    "confirmations",
    metadata,
    Column("commit_id", String(64), primary_key=True),
    Column("at", Float, nullable=False),
)

actions = Table(
    "actions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("seq", Integer, nullable=False, unique=True),
    Column("commit_id", String(64), nullable=False),
    Column("verb", String(16), nullable=False),
    Column("resource", String(128), nullable=False),
    Column("instance", String(128), nullable=False, default=""),
    Column("node", String(64), nullable=False, default=""),
    Column("reason", Text, nullable=False),
    Column("risk", String(16), nullable=False),
    Column("state", String(12), nullable=False),
    Column("at", Float, nullable=False),
    Column("done_at", Float),
    Column("error", Text, nullable=False, default=""),
)
"""What the engine decided to do, in order. ``state``: intent, done, failed, superseded."""
Index("actions_commit", actions.c.commit_id)
Index("actions_resource", actions.c.resource)
Index("actions_state", actions.c.state)

app_states = Table(
    "app_states",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("sync", String(16), nullable=False),
    Column("health", String(16), nullable=False),
    Column("drift", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("replicas_wanted", Integer, nullable=False, default=0),
    Column("replicas_healthy", Integer, nullable=False, default=0),
    Column("rev_wanted", String(16), nullable=False, default=""),
    Column("rev_running", String(16), nullable=False, default=""),
    Column("commit_compared", String(64), nullable=False, default=""),
    Column("commit_deployed", String(64), nullable=False, default=""),
    Column("instances", Text, nullable=False, default="[]"),
    Column("path", Text, nullable=False, default=""),
    Column("updated_at", Float, nullable=False, default=0.0),
)
"""The judgement of each app. ``sync``: synced, progressing, held, blocked, out-of-sync. ``health``: healthy,
progressing, degraded, missing, unknown, none. ``drift``: none, drifted, unknown. ``instances``: JSON list of
``{id, node, phase, health, address, rev, detail, since, restarts}``."""

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("resource", String(128), nullable=False),
    Column("message", Text, nullable=False),
    Column("commit_id", String(64), nullable=False, default=""),
)
Index("events_resource", events.c.resource)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("forge", String(16), nullable=False),
    Column("event", String(64), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("outcome", Text, nullable=False),
)
"""Webhook deliveries already acted upon, so that a replay is seen."""

posts = Table(
    "posts",
    metadata,
    Column("commit_id", String(64), primary_key=True),
    Column("context", String(255), primary_key=True),
    Column("state", String(8), nullable=False),
    Column("description", String(140), nullable=False),
    Column("wanted_at", Float, nullable=False),
    Column("posted_state", String(8), nullable=False, default=""),
    Column("posted_description", String(140), nullable=False, default=""),
    Column("posted_at", Float, nullable=False, default=0.0),
    Column("count", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Float, nullable=False, default=0.0),
    Column("error", Text, nullable=False, default=""),
)
"""The outbox of commit statuses: wanted against posted; a row whose two sides differ is due."""


def unposted() -> ColumnElement[bool]:
    """Return the condition of ``posts`` that the forge does not show yet what is wanted."""
    return or_(posts.c.state != posts.c.posted_state, posts.c.description != posts.c.posted_description)


Index("posts_due", posts.c.next_at)
