"""The web process: pages and webhooks in one server. It opens the store for reading and is given no key.

``python -m automator67.ui --state DIR --listen 127.0.0.1:6780``. All it is told is in ``DIR/web.json``
(``automator67.webhooks.settings``).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flask import Flask

from automator67.engine.inbox import Inbox
from automator67.engine.logs import setup_logging
from automator67.ui.app import create_app
from automator67.ui.metrics import metrics_blueprint
from automator67.ui.readonly import ReadOnlyStore
from automator67.ui.server import WebServer
from automator67.webhooks.endpoint import webhooks_blueprint
from automator67.webhooks.seen import Seen, recorded
from automator67.webhooks.settings import SettingsError, SettingsFile


def compose(state: Path, settings: SettingsFile) -> Flask:
    """Return the application with everything the web process serves."""
    told = settings.current()
    open_readonly = ReadOnlyStore(told.store or state / "store.db")
    app = create_app(open_readonly, trusted_proxies=told.trusted_proxies)
    app.register_blueprint(metrics_blueprint(open_readonly, lambda: settings.current().metrics_token_sha256))
    seen = Seen(recorded(open_readonly))
    app.register_blueprint(webhooks_blueprint(settings.current, Inbox(state / "inbox"), seen))
    return app


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM. Returns the exit status: 2 when the settings cannot be used."""
    parser = argparse.ArgumentParser(prog="automator67 web", description="Serve the pages and the webhooks.")
    parser.add_argument("--state", type=Path, required=True, help="the state directory")
    parser.add_argument("--listen", default="127.0.0.1:6780", help="HOST:PORT (port 0 takes a free one)")
    options = parser.parse_args(arguments)
    setup_logging()
    state: Path = options.state
    try:
        settings = SettingsFile(state / "web.json")
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    def ready(url: str) -> None:
        print(f"listening on {url}", flush=True)

    WebServer(lambda: compose(state, settings), options.listen, ready).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
