"""Every provider that runs apps, through one suite; its stand-in holds both sides to the published description."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from automator67.engine.apis import client as client_module
from automator67.engine.places.protocol import PlaceError
from tests.support.hosted import WORLDS, World, unit
from tests.support.standin import FAULTS, Call, HungUp


@pytest.fixture(params=sorted(WORLDS))
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], World]]:
    """Makes worlds; afterwards nothing may have broken a description or a limit."""
    monkeypatch.setattr(client_module, "PAUSES", (0.0, 0.0))
    made: list[World] = []

    def one() -> World:
        made.append(WORLDS[request.param](f"n{len(made)}", len(made)))
        return made[-1]

    yield one
    for world in made:
        assert not world.api.standin.broken
        world.place.close()


@pytest.fixture
def world(make: Callable[[], World]) -> World:
    return make()


def phases(world: World, app: str = "blog") -> list[tuple[str, str, bool]]:
    """Return revision, phase and whether it has a URL, of every copy."""
    there = world.place.observe().units[app]
    return [(str(i["rev"]), str(i["phase"]), str(i["address"]).startswith("https://")) for i in there.instances]


def test_an_app_is_made_once_and_then_only_looked_at(world: World) -> None:
    assert [a.verb for a in world.turn(unit())] == ["create"]
    assert world.turn(unit()) == []
    assert phases(world) == [("r1", "running", True)]
    writes = len(world.api.standin.writes())
    for _ in range(3):
        assert world.turn(unit()) == []
    assert len(world.api.standin.writes()) == writes
    assert list(world.api.images().values()) == ["docker.io/ana/blog:1"]


@pytest.mark.parametrize("image", ["nginx", "ana/blog:2", "ghcr.io/ana/blog@sha256:" + "a" * 64])
def test_an_image_may_be_written_in_any_way(world: World, image: str) -> None:
    world.settle(unit(image=image))
    assert world.turn(unit(image=image)) == []


def test_a_new_revision_is_patched_and_the_old_one_serves_until_it_is_live(world: World) -> None:
    world.settle(unit())
    world.api.outcome = lambda image: world.api.busy
    assert [a.verb for a in world.turn(unit(rev="r2", image="docker.io/ana/blog:2"))] == ["update"]
    assert world.turn(unit(rev="r2", image="docker.io/ana/blog:2")) == []
    assert phases(world) == [("r1", "running", True), ("r2", "starting", False)]
    assert world.place.pause() < 10
    world.api.outcome = lambda image: world.api.good
    assert phases(world) == [("r2", "running", True)]
    assert world.place.pause() == 30.0
    assert list(world.api.images().values()) == ["docker.io/ana/blog:2"]
    assert len(world.api.images()) == 1


def test_a_revision_that_fails_is_given_up_and_the_old_one_serves(world: World) -> None:
    world.settle(unit())
    world.api.outcome = lambda image: world.api.bad
    wanted = unit(rev="r2", attempt=3, image="docker.io/ana/blog:2")
    world.turn(wanted)
    there = world.place.observe().units["blog"]
    assert there.gave_up == ("r2", 3)
    assert there.why
    assert ("r1", "running", True) in phases(world)
    writes = len(world.api.standin.writes())
    assert world.turn(wanted) == []
    assert len(world.api.standin.writes()) == writes
    world.api.outcome = lambda image: world.api.good
    world.settle(unit())
    assert phases(world) == [("r1", "running", True)]


def test_an_app_that_never_ran_has_failed(world: World) -> None:
    world.api.outcome = lambda image: world.api.bad
    world.turn(unit())
    assert phases(world) == [("r1", "failed", False)]


@pytest.mark.parametrize("moment", ["fault", "afterwards"])
def test_a_change_that_was_broken_off_anywhere_is_completed_and_nothing_is_made_twice(
    make: Callable[[], World], moment: str
) -> None:
    """The engine is killed at every write of an app's life, before it arrives or when it was carried out."""
    for cut in range(40):
        world = make()
        sent = 0

        def kill(call: Call, cut: int = cut) -> None:
            nonlocal sent
            if call.method != "GET":
                sent += 1
                if sent == cut + 1:
                    raise HungUp

        setattr(world.api.standin, moment, kill)
        for wanted in (unit(), unit(rev="r2", image="docker.io/ana/blog:2", env={"GREETING": "hi"})):
            for _ in range(4):
                try:
                    world.settle(wanted)
                except PlaceError:
                    continue
                break
            assert phases(world) == [(wanted.rev, "running", True)], cut
            assert list(world.api.images().values()) == [wanted.message["image"]], cut
        for _ in range(4):
            try:
                assert world.settle().units == {}
            except PlaceError:
                continue
            break
        assert not world.api.images()
        if sent <= cut:
            return
    raise AssertionError("it never ran through")


@pytest.mark.parametrize("fault", FAULTS)
def test_an_account_that_does_not_answer_is_not_empty(world: World, fault: str) -> None:
    world.settle(unit())
    before = len(world.api.standin.calls)

    def broken(call: Call) -> None:
        raise FAULTS[fault]()

    world.api.standin.fault = broken
    with pytest.raises(PlaceError) as raised:
        world.place.observe()
    assert "\n" not in str(raised.value)
    # What only reads is tried again where that can help, and not where it cannot.
    tries = len(world.api.standin.calls) - before
    assert tries == (3 if fault in ("500", "silent", "half-open") else 1)
    world.api.standin.fault = lambda _: None
    if fault == "429":
        with pytest.raises(PlaceError, match="asked us to wait"):
            world.place.observe()
        assert len(world.api.standin.calls) == before + tries
        world.clock.now += 91
    assert phases(world) == [("r1", "running", True)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_write_that_fails_is_not_repeated_blindly_and_says_why_without_secrets(world: World, fault: str) -> None:
    seen = world.place.observe()
    assert not seen.units

    def broken(call: Call) -> None:
        if call.method != "GET":
            raise FAULTS[fault]()

    world.api.standin.fault = broken
    with pytest.raises(PlaceError) as raised:
        world.turn(unit())
    assert len(world.api.standin.writes()) == 1
    for secret in ("s3cret-value", world.api.standin.token):
        assert secret not in str(raised.value)
    world.api.standin.fault = lambda _: None
    world.clock.now += 91
    world.settle(unit())
    assert phases(world) == [("r1", "running", True)]


def test_what_is_not_ours_is_shown_and_never_touched(world: World) -> None:
    for name in ("theirs", "a67-imposter"):
        world.api.add_foreign(name)
    world.settle(unit())
    world.settle()
    assert set(world.api.images()) == {"theirs", "a67-imposter"}
    assert {f["name"] for f in world.place.observe().foreign} == {"theirs", "a67-imposter"}


def test_a_change_by_hand_is_told_and_repaired(world: World) -> None:
    world.settle(unit())
    (name,) = world.api.images()
    world.api.change_by_hand(name)
    (act,) = world.turn(unit())
    assert act.verb == "update"
    assert "image" in act.reason
    assert list(world.api.images().values()) == ["docker.io/ana/blog:1"]


def test_secrets_reach_the_service_and_no_difference_shows_their_value(world: World) -> None:
    world.settle(unit())
    wanted = world.place.shape(unit(), world.secrets)
    other = world.place.shape(unit(), type(world.secrets)({"TOKEN": "another"}))
    told = world.place.differences(wanted, other)
    assert told
    assert "TOKEN" in " ".join(told)
    assert "another" not in " ".join(told)
    assert "s3cret-value" in " ".join(str(call.body) for call in world.api.standin.writes())


def test_log_lines_come_once_each(world: World) -> None:
    world.settle(unit())
    if world.kind == "cloudrun":
        with pytest.raises(PlaceError, match="Google's console"):
            world.place.logs("blog-0-r1", tail=10, since=0.0, follow=False)
        return
    lines = list(world.place.logs("blog-0-r1", tail=10, since=0.0, follow=False))
    assert [line.text for line in lines] == ["hello"]
    with pytest.raises(PlaceError, match="no service"):
        world.place.logs("other-0-r1", tail=1, since=0.0, follow=False)


def test_a_hundred_apps_over_five_accounts_need_as_few_calls_as_there_can_be(make: Callable[[], World]) -> None:
    worlds = [make() for _ in range(5)]
    wanted = [[unit(f"app{n}-{a}") for n in range(20)] for a in range(5)]
    for world, mine in zip(worlds, wanted, strict=True):
        world.turn(*mine)
        assert len(world.api.standin.writes()) == 20 * len(WRITES[world.kind])
        world.turn(*mine)
        writes = len(world.api.standin.writes())
        reads = len(world.api.standin.calls)
        assert world.turn(*mine) == []
        assert len(world.api.standin.writes()) == writes
        # When nothing has changed, the list alone is read.
        assert len(world.api.standin.calls) - reads == LOOKS[world.kind]


WRITES = {"render": ("POST /services",), "koyeb": ("POST /apps", "POST /services"), "cloudrun": ("POST services",)}
"""The writes that one app needs at the least."""
LOOKS = {"render": 1, "koyeb": 1, "cloudrun": 1}
"""The reads of a look at twenty apps of which none has changed."""
