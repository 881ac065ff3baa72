"""What providers really answered, as their own tools recorded it, is read without stumbling."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
import yaml

from automator67.engine.apis.client import Client
from automator67.engine.image_name import full_name
from automator67.engine.places.hosted.login import bearer
from automator67.engine.places.hosted.service import STAMP, Stamp
from automator67.engine.places.render.account import PROVIDER, RenderAccount
from tests.support.contracts import contract

STAMPED = Stamp("home", "r1", "blog", "r1", 1, (0,), "m")
RECORDS = ("webservice_resource-env_var_cassette.yaml", "webservice_resource-web_service_cassette.yaml")


def render_interactions(name: str) -> list[dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: list[dict[str, Any]] = yaml.load(contract(f"render/cassettes/{name}").read_text(), loader)["interactions"]
    return found


class Recorded(httpx.BaseTransport):
    """Answers with a recorded service of ours, its recorded variables and deploy."""

    def __init__(self, service: dict[str, Any], env: list[dict[str, Any]], deploy: dict[str, Any]) -> None:
        self._service = service | {"name": "a67-blog"}
        self._env = [*env, {"envVar": {"key": STAMP, "value": STAMPED.text()}, "cursor": "z"}]
        self._deploy = deploy

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer by path."""
        path = request.url.path
        if path.endswith("/services"):
            return httpx.Response(200, json=[{"cursor": "c", "service": self._service}])
        if path.endswith("/env-vars"):
            return httpx.Response(200, json=self._env)
        return httpx.Response(200, json=[{"deploy": self._deploy, "cursor": "c"}])


@pytest.mark.parametrize("name", RECORDS)
def test_services_of_render(name: str) -> None:
    services, env, deploys = [], [], []
    for i in render_interactions(name):
        method, path = i["request"]["method"], i["request"]["url"].partition("/v1")[2].partition("?")[0]
        body = json.loads(i["response"]["body"] or "null")
        if method in ("GET", "PATCH") and re.fullmatch(r"/services/srv-\w+", path) and i["response"]["code"] == 200:
            services.append(body)
        elif method == "GET" and path.endswith("/env-vars") and body:
            env.append(body)
        elif method == "POST" and path.endswith("/deploys"):
            deploys.append(body)
    assert services
    assert env
    for n, service in enumerate(services):
        deploy = deploys[n % len(deploys)] if deploys else {}
        client = Client(PROVIDER, bearer("t"), transport=Recorded(service, env[n % len(env)], deploy))
        found = RenderAccount(client, "oregon", "tea-1").look("home", "r1")
        (ours,) = found.services
        assert ours.stamp == STAMPED
        assert ours.url == service["serviceDetails"]["url"]
        assert ours.since > 1.7e9
        if service["serviceDetails"]["runtime"] == "image":
            assert ours.shape["image"] == full_name("nginx")


def test_render_takes_what_is_written_as_we_write_it() -> None:
    """The requests of Render's own tool in the calls we make have the keys that ours have."""
    posts = [i["request"] for name in RECORDS for i in render_interactions(name) if i["request"]["method"] == "POST"]
    made = [json.loads(r["body"]) for r in posts if r["url"].endswith("/services")]
    assert any(m["serviceDetails"].get("runtime") == "image" and "imagePath" in m["image"] for m in made)
    assert {r["body"].strip() for r in posts if r["url"].endswith("/deploys")} == {"{}"}
