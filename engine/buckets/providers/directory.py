"""A directory of this machine (another disk, a mounted share) as a provider."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from automator67.engine import durable
from automator67.engine.buckets.providers.protocol import ProviderError, Stored

_SMALL = 256 * 1024
DRAFTS = ".drafts"
"""The folder of what is being written; who is killed leaves something there."""
_ABANDONED_SECONDS = 86400.0


class Directory:
    """Blobs as files below ``root``. A blob is complete and on the disk before it has its name."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._root = root
        self._made: set[Path] = set()

    async def put(self, name: str, data: bytes) -> None:
        """Write a file, durably."""
        await asyncio.to_thread(self._put, name, data)

    async def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Read a file or a part of one."""
        if length is not None and length <= _SMALL:
            # A thread would cost more than the page cache's answer.
            return self._get(name, start, length)
        return await asyncio.to_thread(self._get, name, start, length)

    async def delete(self, name: str) -> None:
        """Remove a file."""
        try:
            await asyncio.to_thread((self._root / name).unlink, missing_ok=True)
        except OSError as error:
            raise self._problem(error) from error

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[Stored]:
        """Yield the files below a prefix, sorted."""
        for stored in await asyncio.to_thread(lambda: sorted(self._walk(prefix), key=lambda s: s.name)):
            if stored.name > after:
                yield stored

    def _put(self, name: str, data: bytes) -> None:
        path = self._root / name
        draft = self._root / DRAFTS / secrets.token_hex(8)
        try:
            if path.parent not in self._made:
                self._begin(path.parent)
                self._made.add(path.parent)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(handle, "wb", buffering=0) as file:
                    written = file.write(data)
                    if written != len(data):
                        raise OSError(errno.ENOSPC, "disk full")
                    os.fsync(handle)
                draft.rename(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            durable.sync(path.parent)
        except OSError as error:
            self._made.clear()
            raise self._problem(error) from error

    def _begin(self, folder: Path) -> None:
        if not self._root.is_dir():
            raise ProviderError("away", f"{self.name}: {self._root} is not there; is the disk mounted?")
        folder.mkdir(parents=True, exist_ok=True)
        drafts = self._root / DRAFTS
        drafts.mkdir(exist_ok=True)
        if not self._made:
            for draft in drafts.iterdir():
                with contextlib.suppress(FileNotFoundError):  # Another process may be done with it just now.
                    if draft.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                        draft.unlink()

    def _get(self, name: str, start: int, length: int | None) -> bytes:
        try:
            handle = os.open(self._root / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(handle).st_size - start if length is None else length
                return os.pread(handle, max(0, size), start)
            finally:
                os.close(handle)
        except OSError as error:
            raise self._problem(error) from error

    def _walk(self, prefix: str) -> Iterator[Stored]:
        try:
            if not self._root.is_dir():
                raise ProviderError("away", f"{self.name}: {self._root} is not there; is the disk mounted?")
            for folder, _, files in os.walk(self._root / prefix.rpartition("/")[0], onerror=_raise):
                for file in files:
                    path = Path(folder, file)
                    name = path.relative_to(self._root).as_posix()
                    if name.startswith(prefix):
                        yield Stored(name, path.stat().st_size)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._problem(error) from error

    def _problem(self, error: OSError) -> ProviderError:
        text = f"{self.name}: {error.strerror} ({self._root})"
        if error.errno == errno.ENOENT:
            return ProviderError("missing", f"{self.name}: there is no such blob")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return ProviderError("full", text)
        return ProviderError("refused" if error.errno in (errno.EACCES, errno.EPERM) else "away", text)


def _raise(error: OSError) -> None:
    raise error
