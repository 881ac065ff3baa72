"""What is said to who may open it: the secrets of one instance, still encrypted, and for whom they are. Pure.

The resident process passes a box on and never opens it: what is in it is seen by the worker, which makes containers,
and by the opener, which starts processes.
"""

from __future__ import annotations

from typing import TypedDict

from automator67.agent.model import Wanted


class Request(TypedDict):
    """A box, what it is bound to, and where this node's key is."""

    state: str
    cloud: str
    node: str
    instance: str
    box: str


def request(w: Wanted, state: str, cloud: str, node: str) -> Request | None:
    """Return what the worker or the opener needs for the secrets of an instance; None when it has none."""
    if w.sealed is None:
        return None
    return Request(state=state, cloud=cloud, node=node, instance=w.id, box=w.sealed.box)
