"""Sources are unpacked below their directory, or not at all."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from automator67.agent.tree_jobs import TreeError, unpack


def tar(*members: tuple[str, bytes, str]) -> bytes:
    """Return a tar of (name, type, content or link target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, text in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, data = kind, text, text.encode()
            entry.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 700] for at in range(0, len(data), 700)]


def test_files_directories_and_links_inside_are_made(tmp_path: Path) -> None:
    members = [("a", tarfile.DIRTYPE, ""), ("a/f", tarfile.REGTYPE, "hello"), ("a/l", tarfile.SYMTYPE, "../a/f")]
    unpack(iter(pieces(tar(*members))), tmp_path)
    assert (tmp_path / "a" / "l").read_text() == "hello"


@pytest.mark.parametrize(
    "members",
    [
        [("../f", tarfile.REGTYPE, "x")],
        [("/etc/f", tarfile.REGTYPE, "x")],
        [("l", tarfile.SYMTYPE, "/etc"), ("l/f", tarfile.REGTYPE, "x")],
        [("l", tarfile.SYMTYPE, "..")],
        [("a", tarfile.DIRTYPE, ""), ("a/l", tarfile.SYMTYPE, "../../x")],
        [("d", tarfile.DIRTYPE, ""), ("l", tarfile.SYMTYPE, "d"), ("l/f", tarfile.REGTYPE, "x")],
        [("l", tarfile.SYMTYPE, "d"), ("l", tarfile.REGTYPE, "x")],
        [("h", tarfile.LNKTYPE, "/etc/passwd")],
        [("n", tarfile.CHRTYPE, "")],
    ],
)
def test_what_leads_outside_is_refused(members: list[tuple[str, bytes, str]], tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(TreeError):
        unpack(iter(pieces(tar(*members))), root)
    assert [p.name for p in tmp_path.iterdir()] == ["root"]
