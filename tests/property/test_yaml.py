"""Whatever bytes a repository holds: nothing is raised, positions lie in the file, both validators agree."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from automator67.engine.load import Loader
from automator67.engine.repo.tree import Entry
from automator67.schemas.complaints import complaints
from automator67.schemas.document import read
from automator67.schemas.kinds import YAML_KINDS, Kind, classify, schema
from automator67.schemas.repository import check_files
from automator67.schemas.samples import SAMPLES
from automator67.schemas.source import read_yaml

PATHS = {"cloud": "automator67.yaml", "app": "apps/blog.yaml", "node": "nodes/hel1.yaml",
         "shard": "shards/main.yaml", "bucket": "buckets/photos.yaml"}  # fmt: skip
EXAMPLES = {kind: read_yaml("f", text.encode()).value for kind, text in SAMPLES.items()}
RUST = {kind: jsonschema_rs.Draft202012Validator(schema(kind)) for kind in YAML_KINDS}

pieces = st.sampled_from(
    ["a", "b: ", ": ", "- ", "[", "]", "{", "}", ",", "\n", "  ", "\t", "&x ", "*x", "!!str ", "!t ", "|\n", ">\n", "'",
     '"', "#", "---\n", "...\n", "%YAML 1.1\n", "? ", "<<: ", "true", "null", "1", ".nan", "1e9", "é", "\\",
     "@", "image: "]
)  # fmt: skip
yamlish = st.lists(pieces, max_size=40).map("".join).map(str.encode)
words = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_categories=["Cc"]), max_size=12)
ended = st.sampled_from(["30s\n", "a\n", "128Mi\n", "/data\n", "ssd\n"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**17), 10**17), words, ended,
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) < 1e15 and not x.is_integer()),
    st.sampled_from(["30s", "128Mi", "a", "ssd", "no", "0 3 * * *", "/data", "x.example.org", "2+1", "5MB"]),
)  # fmt: skip
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(words, v, max_size=4), max_leaves=8)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(p for key, v in inner for p in places(v, (*at, key)))]


def keys(node: Any) -> list[str]:
    """Return the names of all keys in a schema."""
    if isinstance(node, dict):
        return [*node.get("properties", {}), *(k for v in node.values() for k in keys(v))]
    return [k for v in node for k in keys(v)] if isinstance(node, list) else []


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Kind, Any]:
    """Return a kind and a document of it with up to three changes: a value replaced, a key removed, renamed, added."""
    kind = draw(st.sampled_from(YAML_KINDS))
    document = json.loads(json.dumps(EXAMPLES[kind]))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(places(document)))
        if not place:
            document[draw(st.sampled_from(sorted(keys(schema(kind)))))] = draw(values)
            continue
        holder = document
        for step in place[:-1]:
            holder = holder[step]
        action = draw(st.sampled_from(["replace", "remove", "rename"]))
        if action == "replace" or isinstance(holder, list):
            holder[place[-1]] = draw(values)
        elif action == "remove":
            del holder[place[-1]]
        else:
            holder[draw(words)] = holder.pop(place[-1])
    return kind, document


@given(st.one_of(st.binary(max_size=400), yamlish))
@example(b"\xef\xbb\xbf")
@example(b"%TAG ! tag:yaml.org,2002:\n---\n!python/none x")
@example(b"a: &a\nb: *a\n")
@example(b"\x01\xe0\xa0\x80")
@settings(max_examples=400, deadline=None)
def test_no_bytes_raise_and_every_problem_has_a_place(data: bytes) -> None:
    for path in PATHS.values():
        found = read(path, data)
        assert (found.value is None) == bool(found.problems)
        for problem in found.problems:
            assert problem.file == path
            assert 1 <= problem.line <= data.count(b"\n") + data.count(b"\r") + 2
            assert problem.column >= 1
            assert problem.message
            assert problem.message.isprintable()


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_path_raises(path: str) -> None:
    found = classify(path)
    assert found.kind in (None, "cloud", "app", "node", "shard", "bucket", "secret", "query")
    read(path, b"image: a")


@given(st.dictionaries(words, values, max_size=5))
@settings(max_examples=200, deadline=None)
def test_json_means_the_same_as_yaml(value: Any) -> None:
    """JSON is YAML: what it says is what is read, types included."""
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        source = read_yaml("f", text.encode())
        if not source.problems:
            assert repr(source.value) == repr(value)
        else:  # the only JSON that is refused: floats that JSON writes like 1e+300, keys that YAML cannot hold twice
            assert {p.code for p in source.problems} <= {"number", "syntax"}


@given(mutated())
@settings(max_examples=500, deadline=None)
def test_both_validators_agree_and_what_is_wrong_is_explained(case: tuple[Kind, Any]) -> None:
    kind, document = case
    valid = RUST[kind].is_valid(document)
    assert bool(complaints(schema(kind), document)) != valid
    data = json.dumps(document, indent=1, ensure_ascii=False).encode()
    found = read(PATHS[kind], data)
    if not valid:
        assert found.problems
        assert "invalid" not in {p.code for p in found.problems}, "a mistake that could not be put in words"
    for problem in found.problems:
        assert problem.line <= data.count(b"\n") + 1
        # Never the wording of a JSON Schema library.
        for raw in (
            "is not of type",
            "does not match",
            "is a required property",
            "was unexpected",
            "is not valid under",
        ):
            assert raw not in problem.message


@given(st.lists(mutated(), max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_repository_of_anything_is_checked_and_loaded_the_same_way(cases: list[tuple[Kind, Any]]) -> None:
    files = {"automator67.yaml": b"name: home\n"}
    for n, (kind, document) in enumerate(cases):
        path = PATHS[kind] if kind == "cloud" else f"{kind}s/x{n}.yaml"
        files[path] = json.dumps(document, ensure_ascii=False).encode()
    report = check_files(files)
    loaded = Loader().load([Entry(p, p, len(d), 0o100644) for p, d in files.items()], files.__getitem__, "c")
    assert (loaded.desired is None) == bool(report.errors)
    assert sorted(map(str, loaded.problems)) == sorted(map(str, report.problems))
    if loaded.desired is not None:
        for app in loaded.desired.apps.values():
            assert app.replicas >= 0
            assert len(app.rev) == 12
            json.dumps(app.document)


@pytest.mark.parametrize("kind", YAML_KINDS)
def test_patterns_take_no_time_whatever_they_are_asked(kind: Kind) -> None:
    """A pattern that backtracks without end would let one line of YAML stop the check."""

    def patterns(node: Any) -> list[str]:
        if isinstance(node, dict):
            here = [node["pattern"]] if isinstance(node.get("pattern"), str) else []
            return here + [p for v in node.values() for p in patterns(v)]
        return [p for v in node for p in patterns(v)] if isinstance(node, list) else []

    for pattern in set(patterns(schema(kind))):
        for unit in ("a", "0", "a.", "a-", "-", "/a", "1s", "1m", "1ms", "a_", "0 ", "@", ":", "a:", "*", "x@x", " "):
            started = time.process_time()
            re.search(pattern, unit * 20_000 + "\x01")
            assert time.process_time() - started < 1, (pattern, unit)
