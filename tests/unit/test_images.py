"""Names of images, what they mean, and the step that builds one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automator67.engine.apps.building import building
from automator67.engine.desired import App, Desired, Node, Origin, Source
from automator67.engine.image_name import Reference, built_name, parse, pinned_name, with_tag
from automator67.engine.images.pins import Pin, due, pinned
from automator67.engine.observed import Build, NodeView

COMMIT = "c" * 40
DIGEST = "sha256:" + "d" * 64
WEB = App("web", Origin("apps/web.yaml", "b1"), "docker", image="busybox:1.36", rev="r1")
BUILT = App("site", Origin("apps/site.yaml", "b1"), "docker", source=Source("/src", "main"), rev="r2")


def desired(*apps: App) -> Desired:
    return Desired("commit", apps={a.name: a for a in apps})


@pytest.mark.parametrize(
    ("image", "means"),
    [
        ("busybox", Reference("docker.io", "library/busybox", "latest")),
        ("ana/blog:1.4", Reference("docker.io", "ana/blog", "1.4")),
        ("ghcr.io/ana/blog:1.4", Reference("ghcr.io", "ana/blog", "1.4")),
        ("localhost:5000/blog", Reference("localhost:5000", "blog", "latest")),
        (f"a.example/x@{DIGEST}", Reference("a.example", "x", "", DIGEST)),
    ],
)
def test_a_name_is_read_as_docker_reads_it(image: str, means: Reference) -> None:
    assert parse(image) == means


def test_names_are_made_of_names() -> None:
    assert with_tag("localhost:5000/blog", "2") == "localhost:5000/blog:2"
    assert with_tag(f"ghcr.io/a/b:1@{DIGEST}", "2") == "ghcr.io/a/b:2"
    assert pinned_name("a/b:1", DIGEST) == f"a/b:1@{DIGEST}"


def test_an_image_waits_until_its_registry_was_asked_once_and_is_then_pinned() -> None:
    assert [q.reference for q in due(desired(WEB), {}, 0.0, 1.0)] == ["busybox:1.36"]
    waiting, _ = pinned(desired(WEB), {})
    assert "busybox:1.36" in waiting.apps["web"].awaits
    pins = {"web": Pin("web", "busybox:1.36", DIGEST, blob="b1")}
    found, notes = pinned(desired(WEB), pins)
    assert found.apps["web"].image == f"busybox:1.36@{DIGEST}"
    assert found.apps["web"].rev != WEB.rev
    assert not notes
    assert not due(desired(replace(WEB, origin=Origin("apps/web.yaml", "b2"))), pins, 9e9, 1.0), "a tag moves nothing"


def test_a_registry_that_does_not_answer_leaves_the_tag_and_says_so() -> None:
    pins = {"web": Pin("web", "busybox:1.36", "", "no answer", "b1")}
    found, notes = pinned(desired(WEB), pins)
    assert found.apps["web"] == WEB
    assert "no answer" in notes["app/web"]
    assert not due(desired(WEB), pins, 9e9, 1.0), "nothing changed: it is not asked again"
    assert due(desired(replace(WEB, origin=Origin("apps/web.yaml", "b2"))), pins, 0.0, 1.0)


def test_a_source_is_followed_and_its_last_commit_stays_when_it_cannot_be_reached() -> None:
    reference = "/src main"
    pins = {"site": Pin("site", reference, COMMIT, "gone", "b1", at=10.0)}
    found, notes = pinned(desired(BUILT), pins)
    site = found.apps["site"]
    assert site.image == built_name("site", COMMIT, ".", "Dockerfile")
    assert site.source is not None
    assert site.source.commit == COMMIT
    assert "stays" in notes["app/site"]
    moved, _ = pinned(desired(BUILT), {"site": Pin("site", reference, "e" * 40, blob="b1")})
    assert moved.apps["site"].rev != site.rev
    assert due(desired(BUILT), pins, 13.0, 3.0)
    assert not due(desired(BUILT), pins, 12.0, 3.0)
    never, _ = pinned(desired(BUILT), {"site": Pin("site", reference, "", "gone", "b1")})
    assert never.apps["site"].awaits == "the source cannot be used: gone"


def ready_to_build() -> App:
    found, _ = pinned(desired(BUILT), {"site": Pin("site", "/src main", COMMIT, blob="b1")})
    return found.apps["site"]


def nodes(**cpu_used: float) -> tuple[dict[str, Node], dict[str, NodeView]]:
    views = {
        n: NodeView(n, "healthy", cpu=2.0, cpu_used=u, runtimes=frozenset({"docker"})) for n, u in cpu_used.items()
    }
    return {n: Node(n, Origin("", "")) for n in cpu_used}, views


def test_a_build_goes_to_the_least_loaded_node_and_gates_the_start() -> None:
    declared, views = nodes(a=1.5, b=0.2, c=0.1)
    views["c"] = replace(views["c"], runtimes=frozenset({"process"}))
    app = ready_to_build()
    assert app.image is not None
    first = building(app, {}, declared, views)
    assert first.action is not None
    assert (first.action.node, first.action.ready) == ("b", True)
    assert first.gate
    wanted = {app.image: Build(app.image, "site", COMMIT, "b", "wanted")}
    going = building(app, wanted, declared, views)
    assert going.action is not None
    assert not going.action.ready
    views["b"] = replace(views["b"], state="unavailable")
    moved = building(app, wanted, declared, views)
    assert moved.action is not None
    assert (moved.action.node, moved.action.ready) == ("a", True)
    assert building(app, {app.image: replace(wanted[app.image], state="done")}, declared, views).gate == ""
    failed = building(app, {app.image: replace(wanted[app.image], state="failed", error="exit 3")}, declared, views)
    assert "exit 3" in failed.failed
    assert failed.action is None
