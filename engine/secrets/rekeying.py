"""Seals every value of a repository again, to another key. Pure but for the keys' randomness.

A value that does not open stops it before anything is written: nothing may be lost by changing keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import Keyring, PublicKey
from automator67.engine.secrets.sealing import open_sealed, read_sealed_file, seal


@dataclass(frozen=True, slots=True)
class Resealed:
    """The new texts of files by path; ``already`` are those that are sealed to the key as they are."""

    files: Mapping[str, str]
    already: tuple[str, ...] = ()


def reseal(files: Mapping[str, bytes], cloud: str, keyring: Keyring, key: PublicKey) -> Resealed:
    """Return the sealed files (path to content) sealed to ``key``. Raises SecretError, naming all that do not open."""
    found: dict[str, str] = {}
    already, troubles = [], []
    for path, data in sorted(files.items()):
        name = path.rpartition("/")[2].removesuffix(".sealed")
        try:
            file = read_sealed_file(path, data)
            private = keyring.find(file.key_id)
            if private is None:
                raise SecretError(f"{path}: it is sealed to the key {file.key_id}, which is not here")
            value = open_sealed(private, file, cloud, name, path)
        except SecretError as error:
            troubles.append(str(error))
            continue
        if file.key_id == key.id:
            already.append(path)
        else:
            found[path] = seal(key, cloud, name, value)
    if troubles:
        raise SecretError("nothing was changed: " + "; ".join(troubles))
    return Resealed(found, tuple(already))


def next_key(keyring: Keyring, published: str) -> PublicKey:
    """Return the key to change to, given the id of the one in the repository.

    That is a new one, or the present one where the last change was cut off before the repository had it.
    Raises SecretError.
    """
    present = keyring.present()
    if present is None:
        raise SecretError(f"there is no key in {keyring.directory}: run this where the engine is")
    return present.public if present.public.id != published else keyring.add().public
