"""Asks a running engine something, over its Unix socket."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx


class EngineAway(Exception):
    """The engine does not run, or refused; one line."""


class ControlClient:
    """The engine of one state directory."""

    def __init__(self, state: Path) -> None:
        self._state = state
        transport = httpx.HTTPTransport(uds=str(state / "control.sock"))
        self._http = httpx.Client(transport=transport, base_url="http://engine", timeout=60.0, trust_env=False)

    def answers(self) -> bool:
        """Whether an engine runs there."""
        try:
            return self._http.get("/", timeout=2.0).status_code == 404
        except httpx.HTTPError:
            return False

    def sync(self, *, confirm_deletions: bool = False) -> dict[str, Any]:
        """Let the engine look now; return the outcome. Raises EngineAway."""
        return self._post("/sync", {"confirm": "1"} if confirm_deletions else {})

    def token(self, node: str, ttl: float = 3600.0) -> dict[str, Any]:
        """Return a new join token: ``token``, ``node``, ``expires``. Raises EngineAway."""
        return self._post(f"/nodes/{node}/token", {"ttl": str(ttl)})

    def revoke(self, node: str) -> dict[str, Any]:
        """Cut a node off. Raises EngineAway."""
        return self._post(f"/nodes/{node}/revoke", {})

    def promote(self, app: str, *, abort: bool = False, dry_run: bool = False) -> dict[str, Any]:
        """Let a canary take over, or give it up; return ``rev`` and ``before`` (done before). Raises EngineAway."""
        query = {name: "1" for name, on in (("abort", abort), ("dry", dry_run)) if on}
        return self._post(f"/apps/{quote(app, safe='')}/promote", query)

    def roll_back(self, app: str, revision: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Make the branch that goes back; return what ``Rollbacks.make`` does. Raises EngineAway."""
        query = {"revision": revision} | ({"dry": "1"} if dry_run else {})
        return self._post(f"/apps/{quote(app, safe='')}/rollback", query)

    def volumes(self, verb: str, query: dict[str, str]) -> dict[str, Any]:
        """Have something done with a volume, as engine/volume_actions.py says. Raises EngineAway."""
        return self._post(f"/volumes/{verb}", query)

    def alerts(self, verb: str, query: dict[str, str]) -> dict[str, Any]:
        """Have something done with alerts, as engine/alert_actions.py says. Raises EngineAway."""
        return self._post(f"/alerts/{verb}", query)

    def begin_run(self, app: str, argv: Sequence[str]) -> dict[str, Any]:
        """Ask for a run of an app; return it, as engine/run_actions.py does. Raises EngineAway."""
        return self._post(f"/apps/{quote(app, safe='')}/runs", {"argv": list(argv)})

    def end_run(self, app: str, number: int) -> dict[str, Any]:
        """Ask for the end of a run. Raises EngineAway."""
        return self._post(f"/apps/{quote(app, safe='')}/runs/{number}/end", {})

    def logs(self, app: str, query: dict[str, str], *, follow: bool) -> Iterator[dict[str, Any]]:
        """Yield log lines as they come; ``query`` as engine/app_logs.py reads it. Raises EngineAway."""
        query = query | ({"follow": "1"} if follow else {})
        try:
            with self._http.stream("GET", f"/logs/{app}", params=query, timeout=httpx.Timeout(60, read=None)) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise EngineAway(answer.json().get("error", "the engine refused"))
                for line in answer.iter_lines():
                    data = json.loads(line)
                    if "error" in data:
                        raise EngineAway(data["error"])
                    yield data
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def _post(self, path: str, query: Mapping[str, str | list[str]]) -> dict[str, Any]:
        try:
            answer = self._http.post(path, params=query)
        except httpx.HTTPError as error:
            raise self._away(error) from error
        data: dict[str, Any] = answer.json()
        if answer.status_code != 200:
            raise EngineAway(data.get("error", "the engine refused"))
        return data

    def _away(self, error: httpx.HTTPError) -> EngineAway:
        if isinstance(error, httpx.ConnectError):
            return EngineAway(f"no engine answers in {self._state}; start it with `automator67 up`, or give --state")
        return EngineAway(f"the engine in {self._state} did not answer: {type(error).__name__}")
