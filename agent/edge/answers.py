"""What Caddy asks by HTTP: may a name have a certificate, is there one already, what becomes of this request."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

from automator67.agent.edge.gate import Request, Verdict, decide
from automator67.agent.edge.http import Asked, Reply
from automator67.agent.edge.passwords import Passwords
from automator67.agent.edge.table import Table
from automator67.agent.state import read

_MOST_CONDITIONS = 300
_MOST_WAITING = 64
"""Passwords to check: who comes when so many wait is sent away, so that guessing does not fill the memory."""
_LOW_PRIORITY = 10
_BUSY = Verdict(503, headers=(("Retry-After", "5"),), text="Too many passwords are being checked. Please try again.\n")


def _low_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, _LOW_PRIORITY)


class Answers:
    """``table`` and ``held`` (apps whose requests wait for a copy) are what is known now."""

    def __init__(self, home: str, token: str) -> None:
        self._home, self._token = home, token
        self._passwords = Passwords()
        # One after another, for their memory, and at leisure: all other requests go by.
        self._checker = ThreadPoolExecutor(1, "password", _low_priority)
        self._waiting = 0
        self.table: Table | None = None
        self.held: Collection[str] = ()

    async def answer(self, asked: Asked) -> Reply:
        """Answer one question; without our token nobody gets any."""
        try:
            parts = urlsplit(asked.target)
            query = parse_qs(parts.query, max_num_fields=_MOST_CONDITIONS)
        except ValueError:
            return Reply(400)
        token, _, what = parts.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self._token.encode()) or self.table is None:
            return Reply(404)
        if what == "permit":
            host = query.get("domain", [""])[0].lower()
            return Reply(200 if any(s.tls == "acme" for s in self.table.sites_of(host)) else 403)
        if what == "certificate":
            return self._certificate(self.table, query.get("server_name", [""])[0].lower())
        if what == "gate":
            return _reply(await self._gate(self.table, _request(asked)))
        return Reply(404)

    def _certificate(self, table: Table, host: str) -> Reply:
        """Answer with the certificate for a name that the cloud's own CA vouches for; Caddy gets others by itself."""
        if any(s.tls == "internal" for s in table.sites_of(host)):
            chain, key = read(f"{self._home}/site.pem"), read(f"{self._home}/key.pem")
            if chain and key:
                return Reply(200, chain + key)
        return Reply(204)

    async def _gate(self, table: Table, request: Request) -> Verdict:
        at_once = decide(table, request, self._passwords.remembered, self.held)
        if at_once.status != 401 or not request.authorization:
            return at_once
        if self._waiting >= _MOST_WAITING:
            return _BUSY
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._checker, decide, table, request, self._passwords.fits, frozenset(self.held)
            )
        finally:
            self._waiting -= 1


def _request(asked: Asked) -> Request:
    h = asked.headers
    client = h.get("x-forwarded-for", "").split(",")[0].strip()
    return Request(h.get("x-forwarded-host", ""), h.get("x-forwarded-uri", "/"), client, h.get("authorization", ""))


def _reply(verdict: Verdict) -> Reply:
    if verdict.status == 200:
        return Reply(200, headers=(("A67-App", verdict.app),))
    headers = (*verdict.headers, ("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"))
    return Reply(verdict.status, verdict.text.encode(), headers)
