"""Which maintenance windows are open at a time, and when that changes. Pure but for the machine's time zone data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from automator67.engine.desired import Desired, Node
from automator67.engine.windows import Maintenance, Window
from automator67.schemas.cron_times import first_after, moment, shown

_MOST_STARTS = 50
"""How many overlapping starts of one schedule are followed to find its end."""


def in_force(desired: Desired, now: float) -> Desired:
    """Return the desired state with each node's window that is open now; the same object where nothing changes."""
    nodes = {name: _with(node, window_at(node.maintenance, now)) for name, node in desired.nodes.items()}
    return desired if nodes == desired.nodes else replace(desired, nodes=nodes)


def next_change(nodes: Mapping[str, Node], now: float) -> float:
    """Return when a window opens or closes next (seconds since the epoch), 0 when none ever does."""
    times = [at for node in nodes.values() for m in node.maintenance for at in _changes(m, now) if at > now]
    return min(times, default=0.0)


def window_at(windows: Iterable[Maintenance], now: float) -> Window | None:
    """Return what is open at a time: of several, the one that lasts longest; it drains if any of them does."""
    open_now = [(until, m) for m in windows if (until := _open_until(m, now)) > now]
    if not open_now:
        return None
    until, longest = max(open_now, key=lambda pair: pair[0])
    return Window(until, any(m.drain for _, m in open_now), f"maintenance until {shown(until, longest.timezone)}")


def _with(node: Node, window: Window | None) -> Node:
    return node if node.window == window else replace(node, window=window)


def _open_until(m: Maintenance, now: float) -> float:
    """Return when a window that is open now ends, 0 when none is."""
    if m.begins:
        begin = moment(m.begins, m.timezone)
        return begin + m.length if begin <= now else 0.0
    begin, until = now - m.length, 0.0
    for _ in range(_MOST_STARTS):
        found = first_after(m.schedule, m.timezone, begin)
        if found is None or found > now:
            break
        begin, until = found, found + m.length
    return until


def _changes(m: Maintenance, now: float) -> tuple[float, ...]:
    if m.begins:
        begin = moment(m.begins, m.timezone)
        return begin, begin + m.length
    return _open_until(m, now), first_after(m.schedule, m.timezone, now) or 0.0
