"""Tells systemd how the agent is (the protocol of sd_notify(3)); does nothing elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(text: str) -> None:
    """Send a state such as ``READY=1`` or ``WATCHDOG=1`` to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        s.sendto(text.encode(), address)


def watchdog_interval() -> float:
    """Return how often the service manager wants to hear ``WATCHDOG=1``, in seconds; infinity when never."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 / 2 if text.isdigit() else float("inf")
