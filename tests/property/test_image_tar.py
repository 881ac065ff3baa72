"""Saved images with fewer layers: what is needed is always there, as it was."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.image_tar import chain_ids, copy_without, known_layers, members_to_drop

contents = st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=6)


def saved(layers: list[bytes]) -> tuple[bytes, list[str]]:
    """Return an image as Docker 20.10 saves it: equal layers once, then as links."""
    out, seen, names = io.BytesIO(), dict[bytes, str](), list[str]()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for n, data in enumerate(layers):
            entry = tarfile.TarInfo(f"id{n}/layer.tar")
            names.append(entry.name)
            if data in seen:
                entry.type, entry.linkname = tarfile.SYMTYPE, f"../{seen[data]}"
                tar.addfile(entry)
            else:
                seen[data] = entry.name
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        manifest = json.dumps([{"Config": "c.json", "Layers": names}]).encode()
        for name, text in (("c.json", b"{}"), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    return out.getvalue(), names


def files(data: bytes) -> Mapping[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            found[member.name] = file.read() if file else b""
    return found


@given(contents, st.integers(0, 6))
def test_every_layer_that_the_reader_lacks_is_sent_with_its_content(layers: list[bytes], known: int) -> None:
    known = min(known, len(layers))
    image, names = saved(layers)
    drop = members_to_drop(io.BytesIO(image), known)
    out = io.BytesIO()
    copy_without(io.BytesIO(image), drop, out)
    sent = files(out.getvalue())
    assert all(sent[names[n]] == layers[n] for n in range(known, len(layers)))
    assert {"manifest.json", "c.json"} <= set(sent)
    lacking = set(layers[known:])
    assert all(names[n] not in sent for n in range(known) if layers[n] not in lacking)


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=6), st.lists(st.text("abc", min_size=1, max_size=3)))
def test_only_layers_from_the_bottom_count_as_known(mine: list[str], theirs: list[str]) -> None:
    same = 0
    while same < min(len(mine), len(theirs)) and mine[same] == theirs[same]:
        same += 1
    assert known_layers(mine, set(chain_ids(theirs))) == same
