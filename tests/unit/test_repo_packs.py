"""Repacking: which packs, that nothing is lost, and that few remain however many fetches there were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.remote_errors import MirrorFailed
from automator67.engine.repo import packs
from automator67.engine.repo.commits import log
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.packs import MAX_LOOSE, MAX_PACKS, repack_if_needed, to_combine
from automator67.engine.repo.tree import Tree
from tests.support.githttp import commit_files, git


def test_few_packs_stay() -> None:
    assert to_combine([1] * MAX_PACKS, MAX_LOOSE) == []
    assert to_combine([], 0) == []


def test_small_packs_are_rolled_up_and_the_big_one_stays() -> None:
    sizes = [3] * MAX_PACKS + [60_000]
    assert sorted(to_combine(sizes, 0)) == list(range(MAX_PACKS))


def test_loose_objects_alone_become_a_pack() -> None:
    assert to_combine([60_000], MAX_LOOSE + 1) == []
    assert to_combine([500], MAX_LOOSE + 1) == [0]


@given(st.lists(st.integers(1, 10**6), max_size=80), st.integers(0, 3000))
def test_what_remains_grows_geometrically(sizes: list[int], loose: int) -> None:
    chosen = to_combine(sizes, loose)
    if len(sizes) <= MAX_PACKS and loose <= MAX_LOOSE:
        assert chosen == []
        return
    left = sorted(size for i, size in enumerate(sizes) if i not in chosen)
    total = loose + sum(sizes[i] for i in chosen)
    for size in left:
        assert size >= 2 * total
        total += size
    # No larger pack than needed is rewritten: every one left is larger than every one chosen.
    assert not left or max((sizes[i] for i in chosen), default=0) <= left[0]


@given(st.lists(st.integers(1, 50), min_size=40, max_size=400))
def test_packs_stay_few_and_work_stays_small(fetches: list[int]) -> None:
    have: list[int] = []
    rewritten = 0
    for size in fetches:
        have.append(size)
        chosen = to_combine(have, 0)
        if chosen:
            merged = sum(have[i] for i in chosen)
            have = [s for i, s in enumerate(have) if i not in chosen] + [merged]
            rewritten += merged
        assert len(have) <= MAX_PACKS
    assert rewritten <= 8 * sum(fetches)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    git("init", "-q", "--bare", "-b", "main", path)
    return path


def test_nothing_is_lost_over_many_fetches(tmp_path: Path, remote: Path) -> None:
    mirror = Mirror(tmp_path / "m.git", str(remote), "main")
    assert repack_if_needed(mirror) is None
    done, ids = [], []
    for i in range(80):
        ids.append(commit_files(remote, {f"apps/a{i % 7}.yaml": f"image: x:{i}\n"}))
        mirror.fetch()
        done.append(repack_if_needed(mirror))
    assert sum(d is not None for d in done) == 2
    assert len(list((mirror.path / "objects" / "pack").glob("*.idx"))) <= MAX_PACKS
    git("-C", mirror.path, "fsck", "--full", "--strict")
    assert [c.id for c in log(mirror, ids[-1], 1000)] == ids[::-1]
    fresh = Mirror(mirror.path, str(remote), "main")
    for commit in ids:
        tree = Tree(fresh, commit)
        assert all(tree.read(e.blob) for e in tree.entries())


def test_loose_objects_are_packed_too(tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = commit_files(remote, {"apps/a.yaml": "1"})
    mirror = Mirror(tmp_path / "m.git", str(remote), "main")
    mirror.fetch()
    loose = [mirror.repository.create_blob(f"note {i}".encode()) for i in range(30)]
    monkeypatch.setattr(packs, "MAX_LOOSE", 20)
    result = repack_if_needed(mirror)
    assert result is not None
    assert result.loose == 30
    assert not [p for p in (mirror.path / "objects").iterdir() if len(p.name) == 2 and any(p.iterdir())]
    assert all(name in mirror.repository for name in loose)
    assert len(Tree(mirror, head).entries()) == 1
    assert repack_if_needed(mirror) is None


def _many_fetches(mirror: Mirror, remote: Path) -> None:
    for i in range(MAX_PACKS + 1):
        commit_files(remote, {"apps/a.yaml": f"image: x:{i}\n"})
        mirror.fetch()


def test_a_new_pack_that_lacks_objects_is_not_used(
    tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(tmp_path / "m.git", str(remote), "main")
    _many_fetches(mirror, remote)
    before = sorted(p.name for p in (mirror.path / "objects" / "pack").iterdir())

    class Forgetful(pygit2.PackBuilder):
        forgot = False

        def add(self, oid: pygit2.Oid) -> None:
            if self.forgot:
                super().add(oid)
            self.forgot = True

    monkeypatch.setattr(pygit2, "PackBuilder", Forgetful)
    with pytest.raises(MirrorFailed, match="lacks objects"):
        repack_if_needed(mirror)
    assert sorted(p.name for p in (mirror.path / "objects" / "pack").iterdir()) == before


def test_half_a_pack_is_cleared_away(tmp_path: Path, remote: Path) -> None:
    mirror = Mirror(tmp_path / "m.git", str(remote), "main")
    _many_fetches(mirror, remote)
    place = mirror.path / "objects" / "pack"
    lonely = sorted(place.glob("*.idx"))[0]
    shutil.copy(lonely, place / f"pack-{'0' * 40}.idx")
    (place / f"pack-{'1' * 40}.pack").write_bytes(b"half")
    assert repack_if_needed(mirror) is not None
    assert not [p for p in place.iterdir() if "0000" in p.name or "1111" in p.name]
    git("-C", mirror.path, "fsck", "--full", "--strict")


def test_a_damaged_pack_leaves_everything_in_place(tmp_path: Path, remote: Path) -> None:
    mirror = Mirror(tmp_path / "m.git", str(remote), "main")
    _many_fetches(mirror, remote)
    victim = sorted((mirror.path / "objects" / "pack").glob("*.pack"))[0]
    victim.chmod(0o644)
    content = bytearray(victim.read_bytes())
    content[20:60] = bytes(40)
    victim.write_bytes(content)
    before = sorted(p.name for p in (mirror.path / "objects" / "pack").iterdir())
    fresh = Mirror(mirror.path, str(remote), "main")
    with pytest.raises(MirrorFailed, match="could not be repacked"):
        repack_if_needed(fresh)
    assert sorted(p.name for p in (mirror.path / "objects" / "pack").iterdir()) == before
    assert not list((mirror.path / "objects").glob("repack-*"))
