"""A bad link: passes TCP connections on with a delay, and breaks some of them, where the kernel has no netem."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress


class Relay:
    """Listens on a port of 127.0.0.1 and passes on to another; ``delay`` (s, each way) and ``loss`` may change."""

    def __init__(self, target: tuple[str, int], seed: int = 67) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self.delay = 0.0
        self.loss = 0.0
        """The share of pieces of data whose connection breaks instead."""
        self.broken = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._server.accept()
                try:
                    outer = socket.create_connection(self._target, 5)
                except OSError:
                    inner.close()
                    continue
                for one, other in ((inner, outer), (outer, inner)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                time.sleep(self.delay)
                if self._chance.random() < self.loss:
                    self.broken += 1
                    break
                other.sendall(data)
        for s in (one, other):
            with suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
