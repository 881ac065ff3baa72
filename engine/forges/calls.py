"""Calls of a forge's API by one token: pages of listings, and in words what the token lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from automator67.engine.apis.client import ApiError, Client

MAX_PAGES = 100


class Calls:
    """``where`` is what the token is for, ``needs`` what it needs there unless a call says otherwise."""

    def __init__(self, client: Client, where: str, needs: str) -> None:
        self._client, self._where, self._needs = client, where, needs

    def __call__(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, *, needs: str = ""
    ) -> Any:
        """Return the answer. Raises ApiError."""
        try:
            return self._client.call(method, path, body=body, query=query)
        except ApiError as error:
            if error.status == 401:
                raise ApiError(f"the token is wrong, expired or revoked; make a new one ({error})", 401) from None
            if error.status == 403 and "rate limit" not in str(error).lower():
                text = f"the token may not do this in {self._where}: it needs {needs or self._needs} ({error})"
                raise ApiError(text, 403) from None
            raise

    def pages(
        self, path: str, query: Mapping[str, str], size: tuple[str, int], *, needs: str = "", capped: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield what is listed at a path, as ``paged`` does. Raises ApiError."""
        return paged(lambda asked: self("GET", path, None, asked, needs=needs), query, size, capped=capped)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def paged(
    get: Callable[[Mapping[str, str]], Any], query: Mapping[str, str], size: tuple[str, int], *, capped: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield what ``get`` lists for a query, page by page.

    ``size``: the parameter for the size of a page, and how large; ``capped``: a server may give fewer than that, so
    that only an empty page is the end.
    """
    key, count = size
    for page in range(1, MAX_PAGES + 1):
        items = get({**query, key: str(count), "page": str(page)})
        if not isinstance(items, list) or not items:
            return
        yield from (item for item in items if isinstance(item, dict))
        if not capped and len(items) < count:
            return
