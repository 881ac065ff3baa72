"""The order in which resources are handled: dependencies first when starting, dependants first when stopping. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from types import MappingProxyType

_NO_RANK: Mapping[str, int] = MappingProxyType({})


def dependencies_first(depends_on: Mapping[str, Iterable[str]], rank: Mapping[str, int] = _NO_RANK) -> list[str]:
    """Return the names so that each comes after those it depends on; by rank, then by alphabet, where free to choose.

    The highest rank comes first, and what it depends on with it. Unknown dependencies are ignored. Raises
    graphlib.CycleError for a cycle, which validation refuses earlier.
    """
    free: list[str] = []
    sorter: TopologicalSorter[str] = TopologicalSorter()
    bound = set()
    for name, needs in depends_on.items():
        known = [n for n in needs if n in depends_on]
        if known:
            sorter.add(name, *known)
            bound |= {name, *known}
    free = sorted(name for name in depends_on if name not in bound)
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    order = free + order
    if len(set(rank.values())) < 2:
        return order
    inherited = {name: rank.get(name, 0) for name in order}
    for name in reversed(order):
        for needed in depends_on[name]:
            if needed in inherited:
                inherited[needed] = max(inherited[needed], inherited[name])
    # What is needed has the rank of who needs it at least, and came before it: a stable sort keeps that.
    return sorted(order, key=lambda name: -inherited[name])


def dependants_first(depends_on: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names so that each comes before those it depends on."""
    return dependencies_first(depends_on)[::-1]
