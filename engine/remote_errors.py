"""Why the config repository could not be used. Each text is one line for a person, without any secret."""

from __future__ import annotations


class RemoteError(Exception):
    """The repository gave no usable answer; nothing here has changed."""


class RemoteUnreachable(RemoteError):
    """No answer: no such host, no connection, no reply in time. It may work again by itself."""


class RemoteRefused(RemoteError):
    """The remote answers, but not to us: wrong or missing credentials, no such repository, an untrusted host.

    It needs a person.
    """


class RemoteBroken(RemoteError):
    """The remote answers nonsense: an error of its own, a truncated or corrupt pack."""


class BranchMissing(RemoteError):
    """The remote has no such branch: deleted, misspelt, or nothing was pushed yet."""


class MirrorFailed(RemoteError):
    """Our own copy cannot be read or written: disk full, wrong owner, damaged."""


class UnknownCommit(RemoteError):
    """There is no such commit here."""


class UnusableTree(RemoteError):
    """The commit's files cannot be used as they are: too many, too deep, or no such folder."""


class BlobTooLarge(RemoteError):
    """A file is larger than may be read; it was not loaded."""
