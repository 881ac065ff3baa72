"""Access keys that say themselves what they open."""

from __future__ import annotations

import pytest

from automator67.engine.s3.access import grant, granted
from automator67.engine.s3.errors import S3Error

KEY = "the key of the bucket"


def test_a_grant_opens_what_it_says_and_nothing_else() -> None:
    id_, secret = grant("photos", "backups/home/blog/0/data/", KEY)
    holder = granted(id_, KEY)
    assert holder.secret == secret
    holder.allow("photos", "write", "backups/home/blog/0/data/config")
    holder.allow("photos", "read", "backups/home/blog/0/data/config")
    for name in ("backups/home/blog/0/database/config", "backups/home/blog/1/data/config", "config", ""):
        with pytest.raises(S3Error):
            holder.allow("photos", "read", name)
    with pytest.raises(S3Error):
        holder.allow("other", "read", "backups/home/blog/0/data/config")


def test_another_bucket_prefix_or_key_has_another_secret() -> None:
    secrets = {grant(b, p, k)[1] for b in ("one", "two") for p in ("a/", "b/") for k in (KEY, "another")}
    assert len(secrets) == 8


@pytest.mark.parametrize(
    "id_", ["", "a67-", "PHONE", "a67-####", "a67-cGhvdG9z", "a67-cGhvdG9zLw", "a67-_w", "a67-YS9i=", "YS9i"]
)
def test_what_is_no_grant_is_no_access_key(id_: str) -> None:
    with pytest.raises(S3Error) as caught:
        granted(id_, KEY)
    assert caught.value.code == "InvalidAccessKeyId"
