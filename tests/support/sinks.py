"""Who alerts are told to: a web hook and a mail server, real ones on this machine, that can be in trouble."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.cloud import free_port


class Hook:
    """A web hook. ``taken`` are the messages it has taken, ``seen`` all that came, with their headers.

    ``status``: what it answers; ``delay``: after how many seconds.
    """

    def __init__(self) -> None:
        outer = self
        self.taken, self.seen = list[dict[str, Any]](), list[tuple[dict[str, str], Any]]()
        self.status, self.delay, self.answer = 200, 0.0, b"ok"

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                data = json.loads(body) if "json" in self.headers.get("Content-Type", "") else body
                outer.seen.append(({k.lower(): v for k, v in self.headers.items()}, data))
                time.sleep(outer.delay)
                if outer.status < 300:
                    outer.taken.append(data)
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.answer)))
                self.end_headers()
                self.wfile.write(outer.answer)

            def log_message(self, *_args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_args: Any) -> None:
                pass  # Whoever sent did not wait for the answer.

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hooks/s3cret-path?token=s3cret-token"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def titles(self) -> list[str]:
        """Return the titles of what it has taken."""
        return [m["title"] for m in self.taken]

    def told(self) -> dict[str, Counter[str]]:
        """Return by ``problem`` and ``resolved`` how often each incident was told of.

        The same message may come twice when the engine is killed in between: its id says so.
        """
        times: dict[str, Counter[str]] = {"problem": Counter(), "resolved": Counter()}
        for m in {m["id"]: m for m in self.taken}.values():
            times[m["kind"]].update(i["id"] for i in m["incidents"])
        return times

    def lasting(self) -> set[str]:
        """Return the incidents whose end was not told yet."""
        times = self.told()
        return set(times["problem"]) - set(times["resolved"])

    def wrongly_told(self) -> list[str]:
        """Return what was told twice, and ends of what was never told."""
        times = self.told()
        twice = [f"{i} was told as {kind} {n} times" for kind, c in times.items() for i, n in c.items() if n > 1]
        return twice + [
            f"the end of {i} was told, which never was" for i in times["resolved"].keys() - times["problem"]
        ]

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class Mail:
    """A mail server. ``taken`` are the mails it has accepted; ``reply`` is what it answers to each."""

    def __init__(self) -> None:
        self.taken, self.reply = list[EmailMessage](), "250 OK"
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())
        self._controller.start()
        self.port = self._controller.port
        self.url = f"mailto://127.0.0.1:{self.port}/?from=cloud@example.org&to=ana@example.org&mode=insecure"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Take a mail, or not."""
        if self.reply.startswith("250"):
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            self.taken.append(mail)
        return self.reply

    def close(self) -> None:
        """Stop."""
        self._controller.stop()
