"""Images of a real registry: what tags mean, private ones, and one that is away."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import APIError

from automator67.engine.images.registry import RegistryClient, RegistryError
from automator67.engine.judge import AppState
from tests.support.cloud import Cloud, free_port, wait_for
from tests.support.images import busybox
from tests.support.registry import PASSWORD, USER, Registry

__all__ = ["busybox"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry"), login=True) as running:
        yield running


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), nodes=("one",), runtime="docker") as running:
        running.poll = "300ms"
        running.push(running.base(), "a node")
        running.up()
        yield running


def app(image: str, **keys: object) -> dict[str, object]:
    sleeps = {"command": ["sleep", "100000"], "resources": {"memory": "16Mi"}, "update": {"healthy_for": "0s"}}
    return {"image": image} | sleeps | keys


def healthy(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


def forget(*images: str) -> None:
    """Remove these names from this machine's Docker Engine; an image that has another name stays under that."""
    client = docker.from_env()
    for image in client.images.list():
        for name in (*image.tags, *(image.attrs.get("RepoDigests") or ())):
            if name.startswith(images):
                with contextlib.suppress(APIError):
                    client.images.remove(name)
    client.close()


def test_the_api_tells_digests_and_tags_to_who_may_know(registry: Registry, busybox: str) -> None:
    digest = registry.push(busybox, "lib/api:1.0", "a")
    registry.push(busybox, "lib/api:1.1", "b")
    client = RegistryClient()
    try:
        image = f"{registry.host}/lib/api:1.0"
        assert client.digest(image, f"{USER}:{PASSWORD}") == digest
        config = json.dumps({"auths": {registry.host: {"username": USER, "password": PASSWORD}}})
        assert sorted(client.tags(image, config)) == ["1.0", "1.1"]
        for login, why in (("", "asks for a login"), (f"{USER}:wrong", "not accepted"), ("nonsense", "neither")):
            with pytest.raises(RegistryError, match=why) as refused:
                client.digest(image, login)
            assert "wrong" not in str(refused.value)
        with pytest.raises(RegistryError, match="has no"):
            client.digest(f"{registry.host}/lib/api:9", f"{USER}:{PASSWORD}")
        for _ in range(2):
            with pytest.raises(RegistryError, match="cannot be reached"):
                client.digest(f"127.0.0.1:{free_port()}/x:1")
    finally:
        client.close()


def test_a_private_image_is_pinned_by_digest_and_pulled_with_the_login(
    cloud: Cloud, registry: Registry, busybox: str
) -> None:
    first = registry.push(busybox, "shop/web:1.4", "one")
    second = registry.push(busybox, "shop/web:1.5", "two")
    cloud.seal("shop-login", f"{USER}:{PASSWORD}")
    image = f"{registry.host}/shop/web"
    try:
        shop = app(f"{image}:1.4", registry={"secret": "shop-login"})
        cloud.wait_commit(cloud.push({"apps/shop.yaml": shop}, "a private image"), seconds=60)
        state = cloud.wait_app("shop", healthy)
        pushed = cloud.push({"apps/shop.yaml": shop | {"image": f"{image}:1.5"}}, "newer")
        record = cloud.wait_commit(pushed, seconds=60)
        reasons = record.plan["changes"][0]["reasons"]
        assert f"image {image}:1.4 → {image}:1.5" in reasons
        assert f"image.digest {first[:19]} → {second[:19]}" in reasons
        newer = cloud.wait_app("shop", healthy)
        assert newer.rev_running != state.rev_running
        client = docker.from_env()
        try:
            found = client.containers.list(
                ignore_removed=True, filters={"label": [f"a67.cloud={cloud.name}", "a67.app=shop"]}
            )
            assert [c.attrs["Config"]["Image"] for c in found] == [f"{image}:1.5@{second}"]
        finally:
            client.close()
        for name in ("engine", "agent-one"):
            assert PASSWORD not in cloud.log(name)
    finally:
        cloud.wait_commit(cloud.push({"apps/shop.yaml": None}, "remove it"))
        forget(image)


def test_without_the_registry_the_tag_is_used_and_the_plan_says_so(cloud: Cloud, busybox: str) -> None:
    image = f"127.0.0.1:{free_port()}/away:1"
    client = docker.from_env()
    try:
        client.images.get(busybox).tag(image.rpartition(":")[0], tag="1")
        cloud.wait_commit(cloud.push({"apps/away.yaml": app(image)}, "an image that is here"), seconds=60)
        state = cloud.wait_app("away", healthy)
        assert "the tag is used as it is" in state.reason
        assert "cannot be reached" in state.reason
    finally:
        client.close()
        cloud.wait_commit(cloud.push({"apps/away.yaml": None}, "remove it"))
        wait_for("the app to be gone", lambda: cloud.app("away") is None)
        forget(image.rpartition(":")[0])


def test_a_login_never_reaches_a_file_or_an_argument_of_the_agent(cloud: Cloud) -> None:
    for file in [*Path(cloud.agent_state("one")).rglob("*"), *Path("/proc").glob("[0-9]*/cmdline")]:
        with contextlib.suppress(OSError):
            assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


def test_a_moved_tag_is_followed_by_its_digest_where_that_is_asked_for(
    cloud: Cloud, registry: Registry, busybox: str
) -> None:
    first = registry.push(busybox, "follow/web:edge", "one")
    cloud.seal("shop-login", f"{USER}:{PASSWORD}")
    image = f"{registry.host}/follow/web"
    try:
        follow = app(
            f"{image}:edge", registry={"secret": "shop-login"}, image_policy={"track": "digest", "every": "1s"}
        )
        cloud.wait_commit(cloud.push({"apps/follow.yaml": follow}, "follow"), seconds=60)
        before = cloud.wait_app("follow", healthy)
        assert pinned(cloud, "follow").endswith(first)
        second = registry.push(busybox, "follow/web:edge", "two")
        after = cloud.wait_app("follow", lambda s: healthy(s) and s.rev_running != before.rev_running, 60)
        assert after.commit_deployed == before.commit_deployed
        wait_for("the old one to go", lambda: pinned(cloud, "follow").endswith(second))
    finally:
        cloud.wait_commit(cloud.push({"apps/follow.yaml": None}, "remove it"))
        forget(image)


def test_a_newer_tag_is_proposed_on_a_branch_once(cloud: Cloud, registry: Registry, busybox: str) -> None:
    registry.push(busybox, "tags/web:1.4.9", "one")
    image = f"{registry.host}/tags/web"
    cloud.seal("shop-login", f"{USER}:{PASSWORD}")
    policy = {"track": "1.4.*", "every": "1s"}
    followed = app(f"{image}:1.4.9", registry={"secret": "shop-login"}, image_policy=policy)
    try:
        pushed = cloud.push({"apps/tags.yaml": followed}, "follow tags")
        cloud.wait_commit(pushed, seconds=60)
        for tag in ("1.4.10", "1.5.0", "1.4.11-rc1"):
            registry.push(busybox, f"tags/web:{tag}", tag)
        branch = "update/tags-1.4.10"
        wait_for("the branch", lambda: branch in branches(cloud), 40)
        assert branches(cloud) == {"main", branch}
        cloud.git("fetch", "-q", "origin")
        assert cloud.git("rev-parse", f"origin/{branch}^") == pushed
        changed = cloud.git("diff", "--numstat", pushed, f"origin/{branch}").split()
        assert changed == ["1", "1", "apps/tags.yaml"]
        assert f'"{image}:1.4.10"' in cloud.git("show", f"origin/{branch}:apps/tags.yaml")
        state = cloud.wait_app("tags", lambda s: branch in s.reason)
        assert state.sync == "synced"
        proposed = cloud.git("rev-parse", f"origin/{branch}")
        cloud.git("push", "-q", "origin", "--delete", branch)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert branches(cloud) == {"main"}, "who deletes it is not asked again"
        cloud.git("merge", "-q", "--ff-only", proposed)
        cloud.git("push", "-q", "origin", "HEAD:main")
        cloud.wait_commit(cloud.git("rev-parse", "HEAD"), seconds=60)
        wait_for("the newer one", lambda: f"{image}:1.4.10@" in pinned(cloud, "tags"))
    finally:
        cloud.wait_commit(cloud.push({"apps/tags.yaml": None}, "remove it"))
        forget(image)


def branches(cloud: Cloud) -> set[str]:
    listed = cloud.git("ls-remote", "--heads", "origin").split()[1::2]
    return {name.removeprefix("refs/heads/") for name in listed}


def pinned(cloud: Cloud, name: str) -> str:
    """Return the image of the app's one container."""
    client = docker.from_env()
    try:
        found = client.containers.list(
            ignore_removed=True, filters={"label": [f"a67.cloud={cloud.name}", f"a67.app={name}"]}
        )
        return str(found[0].attrs["Config"]["Image"]) if len(found) == 1 else ""
    finally:
        client.close()
