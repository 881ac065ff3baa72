"""The reference: made of the schemas, complete, up to date in the docs, and found by what people type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from automator67.engine.cli.explain import command
from automator67.schemas.kinds import YAML_KINDS, Kind, schema
from automator67.schemas.reference import UnknownKey, every, find, reference, yaml_text
from automator67.schemas.reference_pages import pages
from automator67.schemas.repository import check_files
from automator67.schemas.samples import SAMPLES, sample_value
from automator67.schemas.source import read_yaml
from tests.support.sealed import sealed

ROOT = Path(__file__).resolve().parents[2]


def properties(node: Any, at: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every property of a schema, wherever it is."""
    if isinstance(node, dict):
        for name, inner in node.get("properties", {}).items():
            yield f"{at}/{name}", inner
        for name, inner in node.items():
            yield from properties(inner, f"{at}/{name}")
    elif isinstance(node, list):
        for n, inner in enumerate(node):
            yield from properties(inner, f"{at}/{n}")


@pytest.mark.parametrize("kind", YAML_KINDS)
def test_each_schema_is_valid_2020_12_and_describes_every_key(kind: Kind) -> None:
    root = schema(kind)
    assert root["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(root)
    silent = [path for path, node in properties(root) if not node.get("description")]
    assert silent == []


@pytest.mark.parametrize("kind", YAML_KINDS)
def test_every_default_and_example_is_valid_itself(kind: Kind) -> None:
    root = schema(kind)
    validator = jsonschema.Draft202012Validator(root)
    for path, node in properties(root):
        whole = {**root["$defs"].get(str(node.get("$ref", "")).removeprefix("#/$defs/"), {}), **node}
        shown = [*whole.get("examples", []), *([whole["default"]] if "default" in whole else [])]
        for value in shown:
            if "..." not in str(value):
                assert validator.evolve(schema={**whole, "$defs": root["$defs"]}).is_valid(value), f"{path}: {value}"


def test_definitions_of_one_name_are_the_same_in_all_schemas() -> None:
    seen: dict[str, Any] = {}
    for kind in YAML_KINDS:
        for name, node in schema(kind)["$defs"].items():
            assert seen.setdefault(name, node) == node, name


def test_samples_show_real_keys_and_are_a_valid_repository_together() -> None:
    files = {
        "automator67.yaml": SAMPLES["cloud"], "apps/blog.yaml": SAMPLES["app"], "apps/db.yaml": "image: postgres:17",
        "nodes/hel1.yaml": SAMPLES["node"], "nodes/fsn1.yaml": "region: us", "shards/main.yaml": SAMPLES["shard"],
        "buckets/photos.yaml": SAMPLES["bucket"], "nodes/render-free.yaml": "kind: render\ntoken: {secret: blog-db}",
        "nodes/r2-free.yaml": "kind: r2", "nodes/b2-free.yaml": "kind: b2",
    }  # fmt: skip
    files |= {
        f"secrets/{name}.sealed": sealed(name) for name in ("slack-url", "blog-db", "s0-url", "s1-url", "photos-key")
    }
    report = check_files({path: text.encode() for path, text in files.items()})
    assert [str(p) for p in report.problems] == []
    assert sample_value("app.volumes[].backup.every") == "1d"
    assert sample_value("shard.tables.NAME.strategy") == "hash"
    assert sample_value("app.nothing.here") is None


def test_pages_in_the_docs_are_what_the_schemas_say() -> None:
    folder = ROOT / "docs" / "config"
    made = pages()
    assert {p.name for p in folder.iterdir()} == set(made)
    for name, text in made.items():
        hint = "run: python -m automator67.schemas.reference docs/config"
        assert (folder / name).read_text(encoding="utf-8") == text, f"docs/config/{name} is not up to date; {hint}"


@pytest.mark.parametrize("kind", YAML_KINDS)
def test_a_page_has_a_row_for_every_key(kind: Kind) -> None:
    text = pages()[f"{kind}.md"]
    keys = list(every(reference(kind)))
    assert len(keys) > 5
    for key in keys:
        assert f"| `{key.path.removeprefix(kind + '.')}` |" in text
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.replace("\\|", "").count("|") == 5, line


def test_every_key_of_a_schema_is_in_the_reference() -> None:
    for kind in YAML_KINDS:
        listed = {k.name for k in every(reference(kind))}
        named = {path.rpartition("/")[2] for path, _ in properties({**schema(kind), "$defs": {}})}
        assert named <= listed


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("app", "app"), ("apps", "app"), ("settings", "cloud"), ("automator67", "cloud"),
        ("app.update.strategy", "app.update.strategy"), ("app.volumes.backup.every", "app.volumes[].backup.every"),
        ("app.volumes[0].name", "app.volumes[].name"), ("apps.volumes[].path", "app.volumes[].path"),
        ("shard.tables.users.strategy", "shard.tables.NAME.strategy"), ("app.health.tcp", "app.health.tcp"),
        ("duration", "duration"), ("bucket", "bucket"),
    ],
)  # fmt: skip
def test_find(asked: str, path: str) -> None:
    assert find(asked).path == path


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("app.updat", "there is no key 'updat' in app; did you mean app.update?"),
        ("app.memory", "did you mean app.resources.memory?"),
        ("app.health.intervl", "did you mean app.health.interval?"),
        ("replicas", "did you mean app.replicas or bucket.replicas?"),
        ("ap", "did you mean app?"),
        ("app.zzzzz", "see automator67 explain app"),
        ("zzzzz", "kinds are cloud, app, node, shard, bucket"),
        ("", "there is no kind ''"),
        ("..", "there is no kind ''"),
    ],
)
def test_a_wrong_key_is_answered_with_the_right_one(asked: str, said: str) -> None:
    with pytest.raises(UnknownKey) as error:
        find(asked)
    assert said in str(error.value)


def test_a_key_says_type_default_and_what_is_in_it() -> None:
    update = find("app.update")
    assert update.type == "keys"
    assert [k.name for k in update.keys][:2] == ["strategy", "max_extra"]
    strategy = find("app.update.strategy")
    assert (strategy.type, strategy.default) == ("one of rolling, blue-green, canary", "rolling")
    assert find("app.source.git").required
    assert find("app.stop_timeout").type == "duration"
    assert find("app.domains").type == "list of domain or keys"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("30s", "30s"), ("1.4.*", '"1.4.*"'), ("0", '"0"'), ("true", '"true"'), (True, "true"), (0.5, "0.5"),
        (".", "."),
        ("a: b", '"a: b"'), ({"a": ["x", 1]}, "{a: [x, 1]}"), ("https://a.example/b", "https://a.example/b"),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_yaml_that_means_it(value: Any, text: str) -> None:
    assert yaml_text(value) == text
    assert read_yaml("x", f"a: {text}".encode()).value == {"a": value}


def test_explain_prints_a_key_with_its_example() -> None:
    result = CliRunner().invoke(command, ["app.update"])
    assert result.exit_code == 0
    assert "example  update: {strategy: rolling" in result.output
    assert "healthy_for      duration; default 10s" in result.output
    assert "image: ghcr.io/ana/blog" in CliRunner().invoke(command, ["app"]).output


def test_explain_without_a_key_lists_the_kinds() -> None:
    output = CliRunner().invoke(command, []).output
    assert "app      apps/NAME.yaml" in output
    assert [k["kind"] for k in json.loads(CliRunner().invoke(command, ["--json"]).output)] == list(YAML_KINDS)


def test_explain_json_has_the_whole_tree() -> None:
    data = json.loads(CliRunner().invoke(command, ["app.volumes", "--json"]).output)
    assert data["path"] == "app.volumes"
    assert {"name", "path", "backup"} == {k["path"].rpartition(".")[2] for k in data["keys"]}


def test_explain_writes_schemas_for_editors(tmp_path: Path) -> None:
    assert json.loads(CliRunner().invoke(command, ["--schema", "app"]).output) == schema("app")
    result = CliRunner().invoke(command, ["--schema", "all", "--to", str(tmp_path / "new")])
    assert result.exit_code == 0
    written = {p.name: json.loads(p.read_text()) for p in (tmp_path / "new").iterdir()}
    assert written == {f"{kind}.schema.json": schema(kind) for kind in YAML_KINDS}
    assert CliRunner().invoke(command, ["--schema", "all"]).exit_code != 0


def test_explain_of_a_wrong_key_is_one_line_and_fails() -> None:
    result = CliRunner().invoke(command, ["app.updat"])
    assert result.exit_code != 0
    assert "did you mean app.update?" in result.output
