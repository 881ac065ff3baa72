"""What is outside our own nodes and follows the newest commit: places that run apps, providers of names, databases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from automator67.engine.apis.client import ApiError
from automator67.engine.breaker import Breakers
from automator67.engine.databases.provisioner import Provisioner
from automator67.engine.desired import Desired
from automator67.engine.names.registrar import Registrar
from automator67.engine.names.worker import FarSite
from automator67.engine.observed import NodeView
from automator67.engine.place_desk import PlaceDesk
from automator67.engine.places.fleet import Fleet
from automator67.engine.places.protocol import PlaceError
from automator67.engine.provisioned import ProvisionedUrls
from automator67.engine.secrets.keys import Keyring

Learn = Callable[[str, bytes], None]


class Outside:
    """Places by ``fleet``, and the zones; used from the thread of the passes."""

    def __init__(
        self,
        desk: PlaceDesk,
        breakers: Breakers,
        keyring: Keyring,
        state: Path,
        cloud: Callable[[], str],
        learn: Learn,
    ) -> None:
        """``learn(name, value)`` is told what must never be shown."""
        self._desk = desk
        self.fleet = Fleet(desk, breakers)
        self._registrar = Registrar(desk, breakers)
        urls = ProvisionedUrls(state / "databases", keyring, cloud, learn)
        self._provisioner = Provisioner(desk, breakers, urls, keyring.database_password)

    def follow(self, desired: Desired, views: Mapping[str, NodeView], far: Sequence[FarSite]) -> None:
        """Let all of it follow a commit, nodes as they are judged now, and copies that providers run."""
        self.fleet.follow(desired.settings.name, desired.nodes, self._desk.secret)
        self._registrar.follow(desired, views, far, self._secret)
        self._provisioner.follow(desired, self._secret)

    def _secret(self, name: str) -> bytes:
        try:
            return self._desk.secret(name)
        except PlaceError as error:
            raise ApiError(str(error)) from None

    def close(self) -> None:
        """Stop; what is there stays."""
        self.fleet.close()
        self._registrar.close()
        self._provisioner.close()
