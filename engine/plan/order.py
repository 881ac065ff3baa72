"""The order in which resources are handled: dependencies first when starting, dependants first when stopping. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter


def dependencies_first(depends_on: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names so that each comes after those it depends on; names by alphabet where free to choose.

    Unknown dependencies are ignored. Raises graphlib.CycleError for a cycle, which validation refuses earlier.
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
    return free + order


def dependants_first(depends_on: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names so that each comes before those it depends on."""
    return dependencies_first(depends_on)[::-1]
