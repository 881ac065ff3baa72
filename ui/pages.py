"""The pages, and the same content as fragments for an open page and as JSON for programs."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from sqlalchemy import Connection
from werkzeug.exceptions import NotFound

from automator67.engine.store.database import Store
from automator67.ui import queries
from automator67.ui.attention import app_tone, concerns, mood
from automator67.ui.parts import Part, render_parts, version_of
from automator67.ui.words import rank, tone

_COMMIT: Final = re.compile(r"[0-9a-f]{4,64}")


@dataclass(frozen=True, slots=True)
class _View:
    """One page's content: its title, the parts it is made of, and what they are rendered from."""

    title: str
    parts: Sequence[str]
    context: Mapping[str, Any]


def pages_blueprint(open_readonly: Callable[[], Store], clock: Callable[[], float] = time.time) -> Blueprint:
    """Return the blueprint; ``clock`` gives seconds since the epoch."""
    blueprint = Blueprint("pages", __name__)

    def read(make: Callable[[Connection], _View]) -> tuple[_View, tuple[Part, ...]]:
        with open_readonly().read() as tx:
            view, facts = make(tx), queries.engine(tx)
        context = {"now": clock(), "engine": facts, **view.context}
        return view, render_parts(view.parts, context)

    def page(make: Callable[[Connection], _View], fragment: str) -> str:
        view, parts = read(make)
        return render_template("page.html", title=view.title, parts=parts, fragment=fragment, now=clock())

    def fragment(make: Callable[[Connection], _View]) -> Response:
        _, parts = read(make)
        return _with_etag(version_of(parts), lambda: render_template("fragment.html", parts=parts))

    def overview_view(tx: Connection) -> _View:
        return _overview(tx, clock())

    @blueprint.get("/")
    def overview() -> str:
        return page(overview_view, "/api/v1/fragment")

    @blueprint.get("/api/v1/fragment")
    def overview_fragment() -> Response:
        return fragment(overview_view)

    @blueprint.get("/apps/<name>")
    def app(name: str) -> str:
        return page(lambda tx: _app(tx, name, clock()), f"/api/v1/fragment/apps/{name}")

    @blueprint.get("/api/v1/fragment/apps/<name>")
    def app_fragment(name: str) -> Response:
        return fragment(lambda tx: _app(tx, name, clock()))

    @blueprint.get("/nodes/<name>")
    def node(name: str) -> str:
        return page(lambda tx: _node(tx, name), f"/api/v1/fragment/nodes/{name}")

    @blueprint.get("/api/v1/fragment/nodes/<name>")
    def node_fragment(name: str) -> Response:
        return fragment(lambda tx: _node(tx, name))

    @blueprint.get("/commits/<commit>")
    def commit(commit: str) -> str:
        return page(lambda tx: _commit(tx, commit), f"/api/v1/fragment/commits/{commit}")

    @blueprint.get("/api/v1/fragment/commits/<commit>")
    def commit_fragment(commit: str) -> Response:
        return fragment(lambda tx: _commit(tx, commit))

    @blueprint.get("/api/v1/overview")
    def overview_json() -> Response:
        with open_readonly().read() as tx:
            seen = queries.overview(tx, clock())
        found = concerns(seen, clock())
        how, headline = mood(seen, found)
        content = {
            "mood": how,
            "headline": headline,
            "concerns": [asdict(c) for c in found],
            **asdict(seen),
        }
        response = jsonify(content)
        response.add_etag()
        response.headers["Cache-Control"] = "no-cache"
        response.make_conditional(request)
        return response

    @blueprint.get("/healthz")
    def healthz() -> Response:
        with open_readonly().read() as tx:
            facts = queries.engine(tx)
        return jsonify(status="ok", cloud=facts.cloud, reconciled_at=facts.reconciled_at)

    return blueprint


def _overview(tx: Connection, now: float) -> _View:
    seen = queries.overview(tx, now)
    found = concerns(seen, now)
    how, headline = mood(seen, found)
    context = {
        "seen": seen,
        "concerns": found,
        "mood": how,
        "headline": headline,
        "apps": sorted(seen.apps, key=lambda a: (rank(app_tone(a)), a.name)),
        "nodes": sorted(seen.nodes, key=lambda n: (rank(tone("node", n.state)), n.name)),
    }
    return _View("Overview", ("attention", "summary", "apps", "nodes", "alerts", "commits", "events"), context)


def _app(tx: Connection, name: str, now: float) -> _View:
    detail = queries.app_detail(tx, name, now)
    if detail is None:
        raise NotFound(f"There is no app {name!r}.{_near(name, queries.app_names(tx))}")
    return _View(name, ("app",), {"detail": detail, "app": detail.app})


def _node(tx: Connection, name: str) -> _View:
    detail = queries.node_detail(tx, name)
    if detail is None:
        raise NotFound(f"There is no node {name!r}.{_near(name, queries.node_names(tx))}")
    return _View(name, ("node",), {"detail": detail, "node": detail.node})


def _commit(tx: Connection, commit: str) -> _View:
    detail = queries.commit_detail(tx, commit) if _COMMIT.fullmatch(commit) else None
    if detail is None:
        raise NotFound("The engine has seen no such commit.")
    return _View(detail.commit.id[:7], ("commit",), {"detail": detail, "commit": detail.commit, "plan": detail.plan})


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _with_etag(version: str, render: Callable[[], str]) -> Response:
    etag = f'"{version}"'
    unchanged = etag in request.headers.get("If-None-Match", "")
    response = make_response("" if unchanged else render(), 304 if unchanged else 200)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "no-cache"
    return response
