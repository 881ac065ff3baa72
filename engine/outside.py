"""What is outside our own nodes and follows the newest commit: places that run apps, and providers of names."""

from __future__ import annotations

from collections.abc import Mapping

from automator67.engine.apis.client import ApiError
from automator67.engine.desired import Desired
from automator67.engine.names.registrar import Registrar
from automator67.engine.observed import NodeView
from automator67.engine.place_desk import PlaceDesk
from automator67.engine.places.fleet import Fleet
from automator67.engine.places.protocol import PlaceError


class Outside:
    """Places by ``fleet``, and the zones; used from the thread of the passes."""

    def __init__(self, desk: PlaceDesk) -> None:
        self._desk = desk
        self.fleet = Fleet(desk)
        self._registrar = Registrar(desk)

    def follow(self, desired: Desired, views: Mapping[str, NodeView]) -> None:
        """Let all of it follow a commit, and nodes as they are judged now."""
        self.fleet.follow(desired.settings.name, desired.nodes, self._desk.secret)
        self._registrar.follow(desired, views, self._secret)

    def _secret(self, name: str) -> bytes:
        try:
            return self._desk.secret(name)
        except PlaceError as error:
            raise ApiError(str(error)) from None

    def close(self) -> None:
        """Stop; what is there stays."""
        self.fleet.close()
        self._registrar.close()
