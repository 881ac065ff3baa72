"""What the worker does with volumes: snapshots, restores into a fresh directory, and the change of the two.

Every job may be repeated with the same ``run``, whenever and wherever the one before was killed. A restore is never
seen half: it goes into a directory beside the volume, which changes places with the volume's only when all of it is
there and compared. What the volume held before then stays in that directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

from automator67.agent import sealing
from automator67.agent.restic import Count, Restic, ResticError, tree_count
from automator67.agent.state import read_json, write_json
from automator67.agent.trees import remove_tree
from automator67.agent.volume_place import Place, exchange, place_of
from automator67.schemas.messages.policy import Demands, read_policy, refusal

Progress = Callable[[str], None]

_MARKERS_KEPT = 7 * 86400.0
_ROOM = 1.05
"""How much more than the files' own size must be free before they are restored."""


class VolumeError(Exception):
    """A job cannot be done; one line."""


def do(job: str, args: Mapping[str, Any], socket: str, progress: Progress) -> dict[str, Any]:
    """Do one job. Raises VolumeError, ResticError, PlaceError."""
    return _JOBS[job](args, place_of(args, socket), progress)


def _repository(args: Mapping[str, Any]) -> Restic:
    """Return the repository that the engine encrypted to this node for this run."""
    about = b"automator67 volume 1\0" + "\0".join((args["cloud"], args["node"], args["run"])).encode()
    doc = sealing.open_document(args["state"], args["box"], about, "run")
    path = str(doc.get("path", ""))
    if path:
        for name in (path, os.path.realpath(path)):
            if why := refusal(Demands(mounts=((name, False),)), read_policy(args["policy"])):
                raise VolumeError(f"backups into a directory of the node: {why}")
    program = shutil.which("restic")
    if program is None:
        raise VolumeError("restic is not installed on this node; install it: apt install restic")
    return Restic(program, str(doc["repository"]), doc["env"], args["state"], args["engine"])


def _backup(args: Mapping[str, Any], place: Place, progress: Progress) -> dict[str, Any]:
    data = place.data()
    if data is None:
        raise VolumeError(f"there is no volume {args['name']} on this node")
    tag = f"run-{args['run']}"
    progress("looking at the repository")
    restic = _repository(args)
    there = restic.snapshots()
    if there is None:
        restic.make()
    # The attempt before may have been killed when this was done.
    made = next((s.id for s in there or () if tag in s.tags), "")
    if not made:
        made, troubles = restic.backup(data, tag, progress)
        if troubles:
            restic.forget(made)
            more = f" and {len(troubles) - 1} more" if len(troubles) > 1 else ""
            raise VolumeError(f"not all of it could be read: {troubles[0]}{more}")
    progress("counting")
    count = restic.count(made)
    progress("looking which snapshots stay")
    note = ""
    try:
        listed = restic.keep_last(int(args["keep"]))
    except ResticError as e:
        # The snapshot is there; older ones go next time.
        note = f"older snapshots stay for now: {e}"
        listed = restic.snapshots() or []
    full = next((s.id for s in listed if s.id.startswith(made)), made)
    return {"snapshot": full, "files": count.files, "bytes": count.bytes, "message": note,
            "snapshots": [{"id": s.id, "at": s.at} for s in listed]}  # fmt: skip


def _restore(args: Mapping[str, Any], place: Place, progress: Progress) -> dict[str, Any]:
    """Have a snapshot in a directory beside the volume, whole and compared."""
    tag, marker = _tag(args), _marker(args)
    known = read_json(marker)
    fresh, data = place.beside(tag), place.data()
    if known is not None and known["inode"] in (_inode(fresh), _inode(data)):
        return {key: known[key] for key in ("files", "bytes", "snapshot")}
    place.drop(tag)
    fresh = place.beside(tag)
    try:
        there = _filled(args, fresh, progress)
    except BaseException:
        with contextlib.suppress(Exception):
            place.drop(tag)
        raise
    os.sync()
    found = {"inode": _inode(fresh), "files": there.files, "bytes": there.bytes, "snapshot": str(args["snapshot"])}
    os.makedirs(os.path.dirname(marker), mode=0o700, exist_ok=True)
    write_json(marker, found)
    return {key: found[key] for key in ("files", "bytes", "snapshot")}


def _filled(args: Mapping[str, Any], fresh: str, progress: Progress) -> Count:
    """Have a directory hold what a snapshot does, compared; return how much that is."""
    progress("looking at the repository")
    restic, snapshot = _repository(args), str(args["snapshot"])
    count = restic.count(snapshot)
    _need_room(fresh, count.bytes)
    stage = f"{fresh}.stage"
    remove_tree(stage)
    os.makedirs(stage, mode=0o700)
    try:
        restic.restore(snapshot, stage, progress)
        there = tree_count(stage)
        expected = (int(args["files"]), int(args["bytes"])) if int(args["files"]) >= 0 else count
        if there != expected or there != count:
            raise VolumeError(
                f"what was restored is not what was backed up: {there.files} files with {there.bytes} bytes, "
                f"and not {expected[0]} with {expected[1]}"
            )
        (only,) = os.listdir(stage)
        os.rmdir(fresh)
        os.rename(f"{stage}/{only}", fresh)
    finally:
        with contextlib.suppress(OSError):
            remove_tree(stage)
    return there


def _switch(args: Mapping[str, Any], place: Place, _: Progress) -> dict[str, Any]:
    """Give the volume what was restored; what it held before stays beside it. Nothing must use the volume."""
    known, tag = read_json(_marker(args)), _tag(args)
    if known is None:
        raise VolumeError("what was restored is gone; it has to be restored again")
    data, fresh = place.ensure(), place.beside(tag)
    if _inode(data) != known["inode"]:
        if _inode(fresh) != known["inode"]:
            raise VolumeError("what was restored is not there any more; it has to be restored again")
        exchange(fresh, data)
    return _left(place, tag, fresh)


def _drop(args: Mapping[str, Any], place: Place, _: Progress) -> dict[str, Any]:
    """Throw away what was restored for a test."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_marker(args))
    place.drop(_tag(args))
    return {}


def _aside(args: Mapping[str, Any], place: Place, _: Progress) -> dict[str, Any]:
    """Take a volume out of use and keep all that is in it, under another name."""
    tag = _tag(args)
    fresh, data = place.beside(tag), place.data()
    if data is not None and os.listdir(data) and not os.listdir(fresh):
        exchange(fresh, data)
    if data is not None and os.listdir(data):
        raise VolumeError(f"{args['name']} was written to after it had been taken aside; look at it by hand")
    place.remove_empty()
    return _left(place, tag, fresh)


def _left(place: Place, tag: str, directory: str) -> dict[str, Any]:
    """Return by what name that which a volume held before is found; what is empty goes."""
    if os.listdir(directory):
        return {"kept": place.name_of(tag)}
    place.drop(tag)
    return {"kept": ""}


def _need_room(directory: str, size: int) -> None:
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < size * _ROOM:
        raise VolumeError(
            f"the disk is too full to restore: {size / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free"
        )


def _tag(args: Mapping[str, Any]) -> str:
    return f"kept-{args['run']}"


def _marker(args: Mapping[str, Any]) -> str:
    """Return the file that says which directory was restored whole, and clear away old ones."""
    root = f"{args['state']}/restores"
    with contextlib.suppress(OSError):
        for entry in os.scandir(root):
            if time.time() - entry.stat().st_mtime > _MARKERS_KEPT:
                os.unlink(entry.path)
    return f"{root}/{args['run']}.json"


def _inode(path: str | None) -> int:
    """Return what stays the same when a directory is renamed; 0 for none."""
    try:
        return os.stat(path).st_ino if path is not None else 0
    except FileNotFoundError:
        return 0


_JOBS: dict[str, Callable[[Mapping[str, Any], Place, Progress], dict[str, Any]]] = {
    "volume backup": _backup,
    "volume restore": _restore,
    "volume switch": _switch,
    "volume drop": _drop,
    "volume aside": _aside,
}
