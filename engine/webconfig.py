"""What the web process is told: its webhook secrets, the repository it listens for. Nothing else of the engine's."""

from __future__ import annotations

import hashlib
import json

from automator67.engine.durable import replace
from automator67.engine.options import Options


def write_web_config(options: Options) -> None:
    """Write ``web.json`` (mode 0600) into the state directory, all of it or nothing."""
    data = {
        "repository": options.repository,
        "branch": options.branch,
        "secrets": {forge: list(secrets) for forge, secrets in options.webhook_secrets.items()},
        "trusted_proxies": options.trusted_proxies,
        "store": options.store,
        # What it must recognise it need not know.
        "metrics_token_sha256": hashlib.sha256(options.metrics_token.encode()).hexdigest()
        if options.metrics_token
        else "",
    }
    replace(options.state / "web.json", json.dumps(data).encode())
