"""Newer tags: always one that matches, never an older one, whatever a registry lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.images.policy import matched, newest, with_image

numbers = st.integers(0, 10**6)
versions = st.tuples(numbers, numbers, numbers)
noise = st.text("0123456789.*-abcv_", max_size=20)


def text(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


@given(st.lists(versions), versions, st.lists(noise))
def test_it_is_the_newest_and_newer_than_now(
    found: list[tuple[int, int, int]], now: tuple[int, int, int], other: list[str]
) -> None:
    tags = [*map(text, found), *other]
    tag = newest("*.*.*", tags, text(now))
    best = max((m for t in tags if (m := matched("*.*.*", t)) is not None), default=(-1,))
    if tag is None:
        assert best <= now
    else:
        assert tag in tags
        assert matched("*.*.*", tag) == best > now


@given(noise, st.lists(noise), noise)
def test_no_list_of_tags_and_no_pattern_breaks_it(track: str, tags: list[str], current: str) -> None:
    tag = newest(track, tags, current)
    assert tag is None or (tag in tags and matched(track, tag) is not None)


@given(st.lists(versions, min_size=1, unique=True), versions)
def test_what_was_taken_is_not_offered_again(found: list[tuple[int, int, int]], now: tuple[int, int, int]) -> None:
    tag = newest("*.*.*", map(text, found), text(now))
    assert tag is None or newest("*.*.*", map(text, found), tag) is None


@pytest.mark.parametrize(
    ("track", "current", "tags", "newer"),
    [
        ("1.4.*", "1.4.9", ["1.4.10", "1.5.0", "1.4.11-rc1", "latest"], "1.4.10"),
        ("1.4.*", "1.4.10", ["1.4.9", "1.4.10"], None),
        ("1.4.*", "1.3.7", ["1.4.0"], "1.4.0"),
        ("v*.*", "v1.2", ["v1.10", "2.0"], "v1.10"),
        ("1.*-alpine", "1.2-alpine", ["1.3", "1.3-alpine", "1.40-alpine"], "1.40-alpine"),
        ("*", "9", ["10", "9"], "10"),
    ],
)
def test_tags_are_ordered_as_versions(track: str, current: str, tags: list[str], newer: str | None) -> None:
    assert newest(track, tags, current) == newer


@pytest.mark.parametrize(
    ("file", "edited"),
    [
        ("image: a/b:1  # keep\nport: 80\n", "image: a/b:2  # keep\nport: 80\n"),
        ('{"image": "a/b:1", "port": 80}', '{"image": "a/b:2", "port": 80}'),
        ("# was a/b:1\nimage: 'a/b:1'\nenv: {X: a/b:1}\n", "# was a/b:1\nimage: 'a/b:2'\nenv: {X: a/b:1}\n"),
        ("image: a/b:11\n", None),
        ("x: &i a/b:1\nimage: *i\n", "x: &i a/b:2\nimage: *i\n"),
        ("{x: a/b:1, y: a/b:1}", None),
    ],
)
def test_only_the_image_of_a_file_is_edited(file: str, edited: str | None) -> None:
    assert with_image(file, "a/b:1", "a/b:2") == edited
