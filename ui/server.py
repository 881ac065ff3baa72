"""Serves the web process's application with gunicorn: one process, a few threads, HTTP/1.1 only."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gunicorn.app.base import BaseApplication

from automator67.ui.worker import BufferedWorker

THREADS: Final = 8
CONNECTIONS: Final = 500
STOP_SECONDS: Final = 1
_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when the one that forked it, ``parent``, is gone, however that ended (prctl(2)).

    A worker that outlived its killed parent would go on holding the port and the store.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It was gone before we asked.
        os._exit(0)


class WebServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """``load_app`` is called in the process that serves; ``listen`` is ``HOST:PORT``, port 0 takes a free one."""

    def __init__(self, load_app: Callable[[], Any], listen: str, ready: Callable[[str], None]) -> None:
        self._load_app = load_app
        self._listen = listen
        self._ready = ready
        super().__init__()

    def load_config(self) -> None:
        """Set everything that matters here; neither files nor environment variables of gunicorn are read."""

        def when_ready(arbiter: Any) -> None:
            host, port = arbiter.LISTENERS[0].sock.getsockname()[:2]
            self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

        def post_fork(arbiter: Any, worker: Any) -> None:  # noqa: ARG001
            end_with_parent(arbiter.pid)

        shared_memory = Path("/dev/shm")  # noqa: S108 - where a worker's sign of life touches no disk
        settings: dict[str, Any] = {
            "bind": self._listen,
            "worker_class": BufferedWorker,
            "workers": 1,
            "threads": THREADS,
            "worker_connections": CONNECTIONS,
            "keepalive": 15,
            "timeout": 30,
            "graceful_timeout": STOP_SECONDS,
            "limit_request_line": 4094,
            "limit_request_fields": 60,
            "limit_request_field_size": 8190,
            "forwarded_allow_ips": "",
            "control_socket_disable": True,
            "errorlog": "-",
            # Below "error" gunicorn writes a line for every malformed request, as often as anybody likes.
            "loglevel": "error",
            "worker_tmp_dir": str(shared_memory) if shared_memory.is_dir() else None,
            "when_ready": when_ready,
            "post_fork": post_fork,
        }
        for key, value in settings.items():
            self.cfg.set(key, value)

    def load(self) -> Any:
        """Return the WSGI application."""
        return self._load_app()
