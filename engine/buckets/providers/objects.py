"""S3 and its compatible services as providers, through obstore.

Nothing here relies on conditional writes, checksum headers, ACLs or versioning, which the services have or lack as they
please: names are unique, blobs are written once, and every chunk carries its own proof.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from automator67.engine.buckets.providers.protocol import ProviderError, Stored

REGIONS = {"s3": "us-east-1", "r2": "auto", "b2": "us-west-004", "supabase": "us-east-1"}
"""The usual region by the kind of the node; ``region`` in its file comes first."""


_NO_RANGE = "non-partial response"


class Objects:
    """Blobs as objects of one bucket of a service, below ``prefix``."""

    def __init__(
        self, name: str, endpoint: str, bucket: str, access_key: str, secret_key: str, region: str, prefix: str = "",
    ) -> None:  # fmt: skip
        self.name = name
        plain = endpoint.startswith("http://")
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            endpoint=endpoint,
            access_key_id=access_key,
            secret_access_key=secret_key,
            region=region,
            virtual_hosted_style_request=False,
            # Over TLS the payload is protected already, and sealed in any case; hashing it again costs real time.
            unsigned_payload=True,
            client_options={
                "allow_http": plain,
                "timeout": timedelta(seconds=120),
                "connect_timeout": timedelta(seconds=10),
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=40)},
        )

    async def put(self, name: str, data: bytes) -> None:
        """Write an object, in one request."""
        try:
            await obstore.put_async(self._store, name, data, use_multipart=False)
        except BaseError as error:
            raise self._problem(error) from error

    async def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it."""
        try:
            if length is None and not start:
                return await self._whole(name)
            try:
                if length is not None:
                    return bytes(await obstore.get_range_async(self._store, name, start=start, length=length))
                found = await obstore.get_async(self._store, name, options={"range": {"offset": start}})
                return bytes(await found.bytes_async())
            except BaseError as error:
                if _NO_RANGE not in str(error):
                    raise
                # A server may answer any range with the whole (RFC 9110, 14.2); some do when it is the whole.
                return (await self._whole(name))[start : None if length is None else start + length]
        except FileNotFoundError:
            raise ProviderError("missing", f"{self.name}: there is no such blob") from None
        except BaseError as error:
            raise self._problem(error) from error

    async def _whole(self, name: str) -> bytes:
        found = await obstore.get_async(self._store, name)
        return bytes(await found.bytes_async())

    async def delete(self, name: str) -> None:
        """Remove an object."""
        try:
            await obstore.delete_async(self._store, name)
        except FileNotFoundError:
            return
        except BaseError as error:
            raise self._problem(error) from error

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[Stored]:
        """Yield objects below a prefix. obstore takes prefixes by whole folders, so the rest is sifted here."""
        folder = prefix.rpartition("/")[0]
        try:
            async for batch in obstore.list(self._store, folder or None, offset=after or None, chunk_size=1000):
                for meta in batch:
                    if meta["path"].startswith(prefix) and meta["path"] > after:
                        yield Stored(meta["path"], meta["size"])
        except FileNotFoundError:
            return
        except BaseError as error:
            raise self._problem(error) from error

    def _problem(self, error: BaseError) -> ProviderError:
        text = f"{self.name}: {str(error).splitlines()[0][:300]}"
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
            return ProviderError("refused", text)
        return ProviderError("away", text)
