"""Holds every request that httpx makes, and every answer to it, to GitHub's published OpenAPI description."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft4Validator
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

from tests.support.contracts import contract

# The description of this operation lists no refusals; they are those that all operations share.
_SHARED = {
    401: "requires_authentication", 403: "forbidden", 404: "not_found", 422: "validation_failed",
    301: "moved_permanently", 307: "temporary_redirect", 503: "service_unavailable",
}  # fmt: skip


class ContractBroken(AssertionError):
    """A request or an answer is not what GitHub describes."""


class _Request:
    def __init__(self, request: httpx.Request, prefix: str) -> None:
        self.host_url = "https://api.github.com"
        self.path = request.url.path.removeprefix(prefix)
        self.method = request.method.lower()
        self.body = request.content
        self.content_type = request.headers.get("content-type", "").split(";")[0]
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(request.url.params.multi_items()),
            header=Headers(request.headers.multi_items()),
            cookie=ImmutableMultiDict(),
        )


class _Response:
    def __init__(self, response: httpx.Response, content: bytes) -> None:
        self.data = content
        self.status_code = response.status_code
        self.content_type = response.headers.get("content-type", "").split(";")[0]
        self.headers = Headers(response.headers.multi_items())


class Contract:
    """The description, and what was seen pass: ``requests`` as (method, path, body)."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._document, self._api = _load(path)
        self.prefix = prefix
        self.requests: list[tuple[str, str, Any]] = []

    def check_request(self, request: httpx.Request) -> None:
        """Raise ContractBroken unless the request follows the description, headers and unknown keys included."""
        asked = _Request(request, self.prefix)
        result = self._api.unmarshal_request(asked)
        if result.errors:
            raise ContractBroken(f"{request.method} {request.url}: {[_whole(e) for e in result.errors]}")
        if request.headers.get("x-github-api-version") != "2022-11-28":
            raise ContractBroken("no X-GitHub-Api-Version")
        if "github" not in request.headers.get("accept", "") or not request.headers.get("user-agent"):
            raise ContractBroken("no Accept or User-Agent")
        body = json.loads(request.content) if request.content else None
        if isinstance(body, dict):
            unknown = body.keys() - self._properties(request.method.lower(), asked.path)
            if unknown:
                raise ContractBroken(f"unknown keys {sorted(unknown)}")
        self.requests.append((request.method, asked.path, body))

    def check_response(self, request: httpx.Request, response: httpx.Response, content: bytes) -> None:
        """Raise ContractBroken unless the answer follows the description."""
        shared = _SHARED.get(response.status_code)
        if response.status_code == 201:
            result = self._api.unmarshal_response(_Request(request, self.prefix), _Response(response, content))
            if result.errors:
                raise ContractBroken(f"answer to {request.url}: {[_whole(e) for e in result.errors]}")
        elif shared and response.headers.get("content-type", "").startswith("application/json"):
            described = self._document["components"]["responses"][shared]["content"]["application/json"]["schema"]
            schema = {"components": self._document["components"], **described}
            Draft4Validator(schema).validate(json.loads(content))

    def _properties(self, method: str, path: str) -> set[str]:
        pulls = path.endswith("/pulls")
        place = "/repos/{owner}/{repo}/pulls" if pulls else "/repos/{owner}/{repo}/statuses/{sha}"
        operation = self._document["paths"][place][method]
        return set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"])


@pytest.fixture
def github_contract(monkeypatch: pytest.MonkeyPatch) -> Contract:
    """The contract, in the way of every request of every httpx client in this process."""
    held = Contract(contract("github/api.github.com.gitops-subset.json"))
    send = httpx.HTTPTransport.handle_request

    def checked(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        request.read()
        held.check_request(request)
        response = send(transport, request)
        content = response.read()
        held.check_response(request, response, content)
        return httpx.Response(
            response.status_code, headers=response.headers, content=content, extensions=response.extensions
        )

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", checked)
    return held


def _whole(error: BaseException) -> str:
    return f"{error!r} <- {error.__cause__!r}"


@cache
def _load(path: Path) -> tuple[dict[str, Any], OpenAPI]:
    document = json.loads(path.read_bytes())
    return document, OpenAPI.from_dict(document, config=Config(spec_validator_cls=None))  # type: ignore[arg-type]
