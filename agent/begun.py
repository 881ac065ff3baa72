"""Which of the engine's tasks were begun: it repeats one until it has its answer."""

from __future__ import annotations

_REMEMBERED = 200


class Begun:
    """The ids of the last tasks."""

    def __init__(self) -> None:
        self._ids: list[str] = []

    def __contains__(self, task: object) -> bool:
        return task in self._ids

    def add(self, task: str) -> None:
        """Remember a task, and forget the oldest."""
        self._ids = [*self._ids[-_REMEMBERED:], task]
