"""Re-encrypts the secrets of an instance to the key of the node it is assigned to.

HPKE (RFC 9180), single-shot base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, to the public key of the
node's certificate. Cloud, node and instance are the ``info``, so that a box opens for this instance alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from automator67.engine.desired import App
from automator67.engine.secrets.contents import contents_of_revision
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.vault import Vault

log = logging.getLogger("automator67.secrets")

_SUITE = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Delivery:
    """Makes the ``sealed`` part of instance messages. A box is made once per instance and node key, then kept: the
    encryption is randomised, and the desired state must not look new when nothing changed."""

    def __init__(self) -> None:
        self._boxes: dict[tuple[str, str, str], str] = {}
        self._used: dict[tuple[str, str, str], str] = {}
        self._told: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Begin a round over all instances: boxes that the last round did not ask for are forgotten."""
        self._boxes, self._used = self._used, {}

    def part(self, vault: Vault, app: App, instance: str, node: str, node_key: bytes) -> Mapping[str, Any]:
        """Return what an app's secrets add to the message of an instance (docs/protocol.md).

        That is ``sealed``; nothing where it has none; ``keep`` where they cannot be had, which is logged: what runs
        then stays as it is, and nothing starts without them. ``node_key``: of the node's certificate (DER, SPKI).
        """
        if not app.secrets:
            return {}
        try:
            return {"sealed": self._sealed(vault, app, instance, node, node_key)}
        except SecretError as error:
            if (instance, str(error)) not in self._told:
                self._told.add((instance, str(error)))
                log.warning("%s is left as it is: %s", instance, error, extra={"resource": f"app/{app.name}"})
            return {"keep": True}

    def _sealed(self, vault: Vault, app: App, instance: str, node: str, node_key: bytes) -> Mapping[str, Any]:
        to = hashlib.sha256(node_key).hexdigest()[:16]
        # The instance's name has the revision in it, and that the fingerprints of all values.
        # A login is no part of that.
        login = next((u.fingerprint or u.blob for u in app.secrets if u.name == app.registry), "")
        key = (to, node, f"{instance} {login}")
        box = self._boxes.get(key) or self._used.get(key)
        if box is None:
            plain = json.dumps(contents_of_revision(app, vault), separators=(",", ":")).encode()
            info = b"automator67 instance 1\0" + "\0".join((vault.cloud, node, instance)).encode()
            box = encrypted(plain, node, node_key, info)
        self._used[key] = box
        told = {"login": login[:12]} if login else {}
        return {"to": to, "files": [f.path for f in app.files], "box": box} | told


def encrypted(plain: bytes, node: str, node_key: bytes, info: bytes) -> str:
    """Return a box (base64) that only a node opens, and only as what ``info`` says it is. Raises SecretError.

    ``node_key``: of the node's certificate (DER, SPKI).
    """
    return base64.b64encode(_SUITE.encrypt(plain, _public(node, node_key), info)).decode()


def _public(node: str, der: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key: object = serialization.load_der_public_key(der)
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise SecretError(f"node {node} has no key that secrets can be encrypted to; let it join again")
    return key
