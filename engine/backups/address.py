"""Where the snapshots of a volume are kept, as restic is told. Pure.

Every volume has a repository of its own below the place that its app names: so no two nodes wait for each other's
locks, and a node gets the password of nothing but what it looks after.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from automator67.engine.volumes import Backup, VolumeId

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}\Z|\[[0-9A-Fa-f:.]+\]\Z")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
_PATH = re.compile(r"[^\x00-\x1f\x7f]{1,1024}\Z")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
SCHEMES = ("s3", "s3+http", "sftp", "file")
BUCKET = "bucket:"
"""How the name of a repository begins that is in a bucket of the cloud."""
FOLDER = "backups"
"""Below which the snapshots of volumes are in a bucket."""
Grant = Callable[[str, str], tuple[str, str]]
"""Returns the access key, and its secret, for the objects of a bucket whose names begin with a prefix."""


class AddressError(Exception):
    """A place for backups cannot be used; one line that holds no secret."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A restic repository: its name, and the environment that opens it (secrets; never shown)."""

    name: str
    env: dict[str, str] = field(repr=False)
    path: str = ""
    """The directory, where it is one of the node itself: its policy decides whether it may be used."""


def repository(
    backup: Backup, volume: VolumeId, cloud: str, secret: Callable[[str], str], password: str, grant: Grant
) -> Repository:
    """Return the repository of a volume; ``secret`` opens one by name, ``password`` is for when none is named.

    That in a bucket of the cloud is named ``bucket:BUCKET/PREFIX``: a node reaches it by its own way to the engine.
    Raises AddressError, and what ``secret`` and ``grant`` raise.
    """
    if backup.bucket:
        prefix = "/".join((FOLDER, cloud, volume.app, str(volume.slot), volume.volume))
        key, value = grant(backup.bucket, f"{prefix}/")
        opened = {"RESTIC_PASSWORD": secret(backup.password) if backup.password else password}
        access = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": value, "AWS_DEFAULT_REGION": "us-east-1"}
        return Repository(f"{BUCKET}{backup.bucket}/{prefix}", opened | access)
    url = secret(backup.url_secret).strip() if backup.url_secret else backup.url
    # Where the whole URL is a secret, nothing of it is told.
    shown = f"the URL in secret {backup.url_secret}" if backup.url_secret else repr(url)
    where = "/".join((cloud, volume.app, str(volume.slot), volume.volume))
    env = {"RESTIC_PASSWORD": secret(backup.password) if backup.password else password}
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise AddressError(f"{shown} is not a URL") from None
    path = unquote(parts.path).rstrip("/")
    if parts.scheme not in SCHEMES or (path and not _PATH.match(path)) or ".." in path.split("/"):
        raise AddressError(
            f"{shown} is no place for backups; write s3://HOST/BUCKET, sftp://USER@HOST/PATH or file:///PATH"
        )
    if parts.scheme == "file":
        if host or len(path) < 2:
            raise AddressError(f"{shown}: write file:///PATH, a directory of the node")
        return Repository(f"{path}/{where}", env, path)
    named = f"[{host}]" if ":" in host else host
    if not _HOST.match(named) or not path:
        raise AddressError(f"{shown}: write {parts.scheme}://HOST/{'PATH' if parts.scheme == 'sftp' else 'BUCKET'}")
    if parts.scheme == "sftp":
        user = unquote(parts.username or "")
        if (user and not _USER.match(user)) or parts.password:
            raise AddressError(f"{shown}: sftp takes the name of a user, and the key of the node's own SSH")
        at = f"{user}@{named}" if user else named
        return Repository(f"sftp://{at}{f':{port}' if port else ''}/{path}/{where}", env)
    scheme = "http" if parts.scheme == "s3+http" else "https"
    at = f"{named}:{port}" if port else named
    return Repository(f"s3:{scheme}://{at}{path}/{where}", env | _s3_access(backup, parts, secret, shown))


def _s3_access(backup: Backup, url: SplitResult, secret: Callable[[str], str], shown: str) -> dict[str, str]:
    """Return the environment with which restic gets into a bucket: keys of the URL, else those of secrets."""
    key = secret(backup.access_key) if backup.access_key else unquote(url.username or "")
    value = secret(backup.secret_key) if backup.secret_key else unquote(url.password or "")
    if not key or not value:
        raise AddressError(f"{shown}: say access_key: and secret_key:, each {{secret: NAME}}")
    env = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": value}
    region = parse_qs(url.query).get("region", [""])[0]
    if region and not _REGION.match(region):
        raise AddressError(f"{shown}: that is no region")
    return env | ({"AWS_DEFAULT_REGION": region} if region else {})
