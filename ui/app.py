"""The Flask application of the pages: it reads the store, holds no key and answers nothing but GET and HEAD."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flask import Flask, Response, jsonify, render_template, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.middleware.proxy_fix import ProxyFix

from automator67.engine.store.database import Store, StoreUnavailable
from automator67.ui import attention, text, words
from automator67.ui.headers import guard
from automator67.ui.pages import pages_blueprint
from automator67.ui.readonly import ReadOnlyStore

log = logging.getLogger("automator67.ui")

_TITLES = {404: "Not found", 405: "Nothing can be changed here", 503: "The store is not there yet"}


def create_app(
    store: str | Path | Callable[[], Store],
    *,
    clock: Callable[[], float] = time.time,
    trusted_proxies: int = 0,
) -> Flask:
    """Return the application over the store at a path or URL (or over what opens it for reading).

    ``clock`` gives seconds since the epoch. ``trusted_proxies`` is how many reverse proxies stand before the
    process: that many entries of ``X-Forwarded-For`` and ``-Proto`` are believed.
    """
    app = Flask(__name__, static_folder="static", static_url_path="/static")
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    open_readonly = ReadOnlyStore(store) if isinstance(store, (str, Path)) else store
    _templates(app)
    guard(app)
    _errors(app)
    app.register_blueprint(pages_blueprint(open_readonly, clock))

    @app.before_request
    def only_reading() -> None:
        if request.method not in ("GET", "HEAD") and request.blueprint != "webhooks":
            raise MethodNotAllowed(["GET", "HEAD"])

    if trusted_proxies:
        fixed = ProxyFix(app.wsgi_app, x_for=trusted_proxies, x_proto=trusted_proxies)
        app.wsgi_app = fixed  # type: ignore[method-assign]
    return app


def _templates(app: Flask) -> None:
    env = app.jinja_env
    env.trim_blocks = env.lstrip_blocks = True
    env.filters.update(
        iso=text.iso,
        clock=text.clock,
        size=text.size,
        cores=text.cores,
        short=text.short,
        address_url=text.address_url,
        domain_url=text.domain_url,
        resource_url=text.resource_url,
        commit_url=text.commit_url,
    )
    env.globals.update(
        ago=text.ago,
        share=text.share,
        tone=words.tone,
        said=words.said,
        app_tone=attention.app_tone,
        write_cores=text.cores,
        write_size=text.size,
        static=partial(_static, app, {}),
    )


def _static(app: Flask, known: dict[str, str], name: str) -> str:
    """Return the URL of a static file with its content's hash, so that it may be cached for good."""
    if name not in known:
        content = Path(app.static_folder or "", name).read_bytes()
        known[name] = f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"
    return known[name]


def _errors(app: Flask) -> None:
    def answer(status: int, reason: str) -> tuple[Response | str, int]:
        if request.path.startswith(("/api/", "/hooks/", "/healthz")):
            return jsonify(error=reason), status
        title = _TITLES.get(status, "This did not work")
        return render_template("error.html", title=title, status=status, reason=reason, now=time.time()), status

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[Response | str, int] | HTTPException:
        if error.code is None or error.code < 400:
            return error
        reason = "This page only shows; what runs is changed by a commit." if error.code == 405 else error.description
        response, status = answer(error.code, reason or "")
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            full = app.make_response((response, status))
            full.headers["Allow"] = ", ".join(sorted(error.valid_methods))
            return full, status
        return response, status

    @app.errorhandler(StoreUnavailable)
    def unavailable(error: StoreUnavailable) -> tuple[Response | str, int]:
        return answer(503, str(error))

    @app.errorhandler(SQLAlchemyError)
    def broken(error: SQLAlchemyError) -> tuple[Response | str, int]:
        log.warning("the store cannot be read: %s", type(error).__name__)
        return answer(503, "The store cannot be read; it may be of another version than this page.")

    @app.after_request
    def cache_static(response: Response) -> Response:
        if request.endpoint == "static" and request.args.get("v") and response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
