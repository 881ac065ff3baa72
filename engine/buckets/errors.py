"""What can go wrong with a bucket, in one family; each says in one line what, why and what to do."""

from __future__ import annotations


class BucketError(Exception):
    """Something cannot be done with a bucket; one line for a person. Nothing was changed, unless it says so."""


class NotFound(BucketError):
    """There is no such object, version or upload."""


class Refused(BucketError):
    """A condition of the request does not hold: somebody else was there first, or the object is another one."""


class BadRequest(BucketError):
    """What was asked for has no meaning: a bad name, a part that is missing, a range outside of the object."""


class QuotaExceeded(BucketError):
    """The bucket, or every provider that could take the data, is full."""


class Unavailable(BucketError):
    """Too few providers answer now; the same may work later."""


class Corrupt(BucketError):
    """No copy of some data is as it was written."""


class KeyProblem(BucketError):
    """The bucket's key is missing, malformed or not the one that the bucket was sealed with."""
