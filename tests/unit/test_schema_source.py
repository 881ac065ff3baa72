"""Reading YAML that nobody vouches for: what words mean, and what is refused, where, in bounded time and memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest

from automator67.schemas.source import MAX_BYTES, MAX_DEPTH, dotted, positions, read_yaml

MIB = 2**20


def value(text: str) -> Any:
    source = read_yaml("f.yaml", text.encode())
    assert source.problems == []
    return source.value


def refused(data: bytes) -> tuple[str, int, int]:
    """Return code, line and column of the first problem; reading must be quick, and the place must be in the file."""
    started = time.process_time()
    source = read_yaml("f.yaml", data)
    assert time.process_time() - started < 3
    if source.value is not None:
        pytest.fail("it was read")  # without its value: written out, a hostile one would fill the memory
    problem = source.problems[0]
    assert problem.file == "f.yaml"
    assert 1 <= problem.line <= data.count(b"\n") + 1
    assert problem.column >= 1
    assert "\n" not in str(problem)
    assert len(str(problem)) < 400
    return problem.code, problem.line, problem.column


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("on: [failing]", {"on": ["failing"]}),
        ("a: no", {"a": "no"}), ("a: yes", {"a": "yes"}), ("a: off", {"a": "off"}), ("a: n", {"a": "n"}),
        ("a: 22:22", {"a": "22:22"}), ("a: 1:30:00", {"a": "1:30:00"}), ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 2026-01-01T10:00:00Z", {"a": "2026-01-01T10:00:00Z"}), ("a: 1_000", {"a": "1_000"}),
        ("a: 0b11", {"a": "0b11"}), ("a: =", {"a": "="}), ("a: 1.4.2", {"a": "1.4.2"}), ("a: 12e", {"a": "12e"}),
        ("a: true", {"a": True}), ("a: false", {"a": False}), ("a: 8080", {"a": 8080}), ("a: -3", {"a": -3}),
        ("a: 0.25", {"a": 0.25}), ("a: 1e3", {"a": 1000}), ("a: 2.0", {"a": 2}), ("a: 1e30", {"a": 1e30}),
        ("a: null", {"a": None}), ("a: ~", {"a": None}),
        ("a:", {"a": None}), ("a: 'true'", {"a": "true"}), ('a: "8080"', {"a": "8080"}), ("a: !!str 1", {"a": "1"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}), ("a: >\n  x\n  y\n", {"a": "x y\n"}),
        ("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}", {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("%YAML 1.1\n---\na: no", {"a": "no"}), ("---\na: 1\n...\n", {"a": 1}), ("\ufeffa: 1", {"a": 1}),
        ("", {}), ("# nothing\n", {}), ("---\n", {}), ("a: é", {"a": "é"}),
        ("a: {b: [{c: 1}]}", {"a": {"b": [{"c": 1}]}}),
    ],
)  # fmt: skip
def test_words_mean_what_people_expect(text: str, meant: Any) -> None:
    found = value(text)
    assert found == meant
    assert repr(found) == repr(meant)  # 1, 1.0 and True are equal for Python


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"a: 1\nb: [\n", ("syntax", 3, 1)),
        (b"a: 1\n  b: 2\n", ("syntax", 2, 4)),
        (b"a:\n\tb: 1\n", ("syntax", 2, 1)),
        (b"a: b: c\n", ("syntax", 1, 5)),
        (b"a: `x`\n", ("syntax", 1, 4)),
        (b"a: 'x\n", ("syntax", 2, 1)),
        (b'a: "\\ud800"\n', ("syntax", 1, 7)),
        (b"a: 1\nb: 2\na: 3\n", ("duplicate-key", 3, 1)),
        (b"x:\n  a: 1\n  a: 1\n", ("duplicate-key", 3, 3)),
        (b"a: 1\n---\nb: 2\n", ("documents", 2, 1)),
        (b"? [a]\n: 1\n", ("key", 1, 3)),
        (b"a: 1\n<<: 5\n", ("key", 2, 1)),
        (b"a: &a 1\n<<: [*a]\n", ("key", 2, 1)),
        (b"{a: 1}: 2\n", ("key", 1, 1)),
        (b"a: !!python/object/apply:os.system [id]\n", ("tag", 1, 4)),
        (b"!!python/object:os.system {}\n", ("tag", 1, 1)),
        (b"a: !mine x\n", ("tag", 1, 4)),
        (b"a: !!binary aGk=\n", ("tag", 1, 4)),
        (b"a: !!set {x}\n", ("tag", 1, 4)),
        (b"a: .nan\n", ("number", 1, 4)),
        (b"a: -.inf\n", ("number", 1, 4)),
        (b"a: 1e999\n", ("number", 1, 4)),
        (b"a: 99999999999999999999\n", ("number", 1, 4)),
        (b"a: " + b"9" * 100_000 + b"\n", ("number", 1, 4)),
        (b"a: *b\n", ("alias", 1, 4)),
        (b"a: &a [*a]\n", ("alias", 1, 8)),
        (b"a: &a\n  b: *a\n", ("alias", 2, 6)),
        (b"a: 1\nb: \xff\n", ("encoding", 2, 4)),
        ("a: 1".encode("utf-16"), ("encoding", 1, 1)),
        (b"a: b\x00c\n", ("encoding", 1, 5)),
        ("é: 1\nà: ".encode() + b"\xff", ("encoding", 2, 4)),
        (b"a: \x01\n", ("encoding", 1, 4)),
        ("a: 1\nb: x\x85y \x9b2J".encode(), ("encoding", 2, 8)),
        ("image: a # \u202e }ecivres\n".encode(), ("encoding", 1, 12)),
        ("a: \u2066x\n".encode(), ("encoding", 1, 4)),
        ("a: x\ufeffy\n".encode(), ("encoding", 1, 5)),
        (b'a: 1\nb: "x\\0y"\n', ("encoding", 2, 4)),
        (b'"a\\0": 1\n', ("encoding", 1, 1)),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(data: bytes, where: tuple[str, int, int]) -> None:
    assert refused(data) == where


def laughs(width: int = 9) -> bytes:
    """Return a short file that means 9^10 values."""
    lines = [b"a: &a [" + b",".join([b"x"] * width) + b"]"]
    for level in range(9):
        inner = b",".join([b"*%c" % (97 + level)] * width)
        lines.append(b"%c: &%c [%s]" % (98 + level, 98 + level, inner))
    return b"\n".join(lines) + b"\n"


HOSTILE: dict[str, bytes] = {
    "billion laughs": laughs(),
    "many aliases": b"a: &a [1,2,3,4,5,6,7,8,9]\nb: [" + b"*a," * 100_000 + b"]",
    "long texts again and again": b"a: &a " + b"x" * 500_000 + b"\nb: [" + b"*a," * 20_000 + b"]",
    "long keys again and again": b"a: &a {" + b"x" * 900 + b": 1}\nb: [" + b"*a," * 12_000 + b"]",
    "10,000 lists deep": b"[" * 10_000,
    "a million lists deep": b"[" * 1_000_000,
    "deep mappings": b"{a: " * 200_000,
    "deep sequences": b"- " * 500_000,
    "deep block mappings": b"".join(b" " * n + b"a:\n" for n in range(1_000)),
    "deep keys": b"? " * 500_000,
    "too many values": b"[" + b"1," * 500_000 + b"]",
    "too many lines": b"-\n" * 400_000,
    "an open bracket": b"[" + b"a: b, " * 150_000,
    "anchors without end": b"&a " * 300_000,
    "a huge flow of quotes": b"[" + b'"' * 999_999,
    "colons": b"a: " * 300_000,
    "one byte too many": b"#" * (MAX_BYTES + 1),
    "100 MB": b"a: " + b"x" * 100_000_000,
    "nothing but NUL": b"\0" * MAX_BYTES,
    "not text": bytes(range(256)) * 1_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_quickly(name: str) -> None:
    refused(HOSTILE[name])


@pytest.mark.parametrize(
    "data",
    [
        b"a: '" + b"x" * 1_000_000 + b"'\n", b"a: |\n" + b" x\n" * 300_000, b"#\n" * 500_000, b" " * 1_000_000,
        b"? " + b"k" * 500_000 + b"\n: 1\n", b"a\n" * 300_000, b"|\n" + b" \n" * 400_000,
    ],
)  # fmt: skip
def test_giant_but_simple_files_are_read_quickly(data: bytes) -> None:
    started = time.process_time()
    read_yaml("f.yaml", data)
    assert time.process_time() - started < 3


def test_memory_stays_bounded() -> None:
    """All of it within 400 MiB of address space beyond a bare interpreter, and 60 s of one CPU."""
    code = """
        import resource
        from tests.unit.test_schema_source import HOSTILE
        from automator67.schemas.source import read_yaml
        import yaml
        with open("/proc/self/statm") as f:
            now = int(f.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 400 * 2**20,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        for name, data in HOSTILE.items():
            assert read_yaml(name, data).problems, name
        print("refused", len(HOSTILE))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.stdout.strip() == f"refused {len(HOSTILE)}", done.stderr[-2000:]


def test_nesting_up_to_the_limit_is_read() -> None:
    def deep(levels: int) -> bytes:
        return b"[" * levels + b"]" * levels

    assert read_yaml("f", deep(MAX_DEPTH)).problems == []
    assert refused(deep(MAX_DEPTH + 2)) == ("too-deep", 1, MAX_DEPTH + 2)


def test_a_file_of_exactly_the_largest_size_is_read() -> None:
    assert read_yaml("f", b"#" * MAX_BYTES).problems == []


def test_a_terminal_cannot_be_moved_by_what_a_file_says() -> None:
    for data in (b'"\\e[2J": 1\n"\\e[2J": 2\n', b"a: !<tag:\\e[2J> 1", b"a: *\x1b[2J"):
        for problem in read_yaml("f", data).problems:
            assert "\x1b" not in problem.message


def test_paths_are_one_printable_line() -> None:
    assert dotted(("tables", "a b", "ranges", 1, "shard")) == 'tables["a b"].ranges[1].shard'
    assert dotted(("\x1b[2J", "é", "")) == '["\\u001b[2J"].é[""]'
    assert len(dotted(("k" * 1000,))) < 80
    assert dotted(()) == ""


def test_positions_of_keys_and_items() -> None:
    text = "a: 1\nb:\n  - x\n  - c: [1, {d: 2}]\n    e: é\n"
    found = {dotted(path): place for path, place in positions("f", text.encode()).items()}
    assert found == {
        "a": (1, 1), "b": (2, 1), "b[0]": (3, 5), "b[1]": (4, 5), "b[1].c": (4, 5), "b[1].c[0]": (4, 9),
        "b[1].c[1]": (4, 12), "b[1].c[1].d": (4, 13), "b[1].e": (5, 5),
    }  # fmt: skip


def test_positions_of_what_cannot_be_read_are_left_out() -> None:
    assert positions("f", b"\xff") == {}
    assert positions("f", b"a: 1\nb: [").get(("a",)) == (1, 1)
