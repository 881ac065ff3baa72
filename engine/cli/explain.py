"""``automator67 explain``: the reference of a key of the YAML, and the JSON Schemas for editors."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import indent
from typing import Literal

import click

from automator67.schemas.kinds import YAML_KINDS, Kind, schema_text
from automator67.schemas.reference import FILES, Key, UnknownKey, find, reference, yaml_text


@click.command("explain", short_help="The reference of a key of the YAML.")
@click.argument("key", default="", metavar="[KEY]")
@click.option("--schema", "kind", type=click.Choice([*YAML_KINDS, "all"]), help="Print the JSON Schema of a kind.")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False),
              help="With --schema: write it into this directory.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def command(key: str, kind: Kind | Literal["all"] | None, folder: Path | None, as_json: bool) -> None:
    """Explain KEY, such as `app`, `app.update` or `app.update.strategy`; without KEY list the kinds of files.

    For editors: `automator67 explain --schema all --to .vscode/schemas`. Exit code 255: there is no such key.
    """
    if kind is not None:
        _schemas(YAML_KINDS if kind == "all" else (kind,), folder)
        return
    if not key:
        _kinds(as_json)
        return
    try:
        found = find(key)
    except UnknownKey as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(found.as_data(), indent=2, ensure_ascii=False) if as_json else as_text(found))


def as_text(key: Key) -> str:
    """Return what there is to say of a key, for a terminal."""
    from automator67.schemas.samples import SAMPLES, sample_value

    head = f"{key.path} ({FILES[key.path]})" if key.path in FILES else key.path
    example = key.example
    if not example and (value := sample_value(key.path)) is not None:
        example = yaml_text(value)
    facts = [
        ("type", key.type),
        ("default", key.default),
        ("example", example and f"{key.name}: {example}" if "." in key.path else example),
    ]
    lines = [head, *([key.description] if key.description else [])]
    if key.path not in FILES:
        lines += ["", *(f"  {name:<8} {value}" for name, value in facts if value)]
    if key.keys:
        lines += ["", "Keys:", ""]
        for inner in key.keys:
            more = "required" if inner.required else f"default {inner.default}" if inner.default else ""
            lines += [
                f"  {inner.name:<16} {inner.type}" + (f"; {more}" if more else ""),
                f"  {'':<16} {inner.description}",
            ]
    if key.path in SAMPLES:
        lines += ["", "Example:", "", indent(SAMPLES[key.path], "  ").rstrip()]
    return "\n".join(line.rstrip() for line in lines)


def _kinds(as_json: bool) -> None:
    kinds = [reference(k) for k in YAML_KINDS]
    if as_json:
        listed = [{"kind": k.path, "file": FILES[k.path], "description": k.description} for k in kinds]
        click.echo(json.dumps(listed, indent=2))
        return
    for k in kinds:
        click.echo(f"{k.path:<8} {FILES[k.path]:<20} {k.description}")
    click.echo("\nautomator67 explain app lists the keys of one, automator67 explain app.update shows one key.")


def _schemas(kinds: tuple[Kind, ...], folder: Path | None) -> None:
    if folder is None and len(kinds) > 1:
        raise click.UsageError("all schemas need a directory to go to; add --to DIR")
    for kind in kinds:
        text = schema_text(kind)
        if folder is None:
            click.echo(text, nl=False)
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{kind}.schema.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{error.filename or folder} cannot be written: {error.strerror}") from error
