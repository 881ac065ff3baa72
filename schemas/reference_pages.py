"""Writes the reference in docs/config: one page per kind, and one with what all of them share."""

from __future__ import annotations

from pathlib import Path

from automator67.schemas.kinds import YAML_KINDS, Kind
from automator67.schemas.reference import FILES, Key, every, reference, terms
from automator67.schemas.samples import SAMPLES

_MADE = "<!-- Made by `python -m automator67.schemas.reference docs/config` of the schemas: change those instead. -->"
_TITLES: dict[Kind, str] = {
    "cloud": "The cloud", "app": "Apps", "node": "Nodes", "shard": "Shards", "bucket": "Buckets",
}  # fmt: skip

_INDEX = """\
# Every key of the YAML

A directory is a kind, a file is a resource, its name is the resource's name: `apps/blog.yaml` is the app `blog`.

| file | is | reference |
|---|---|---|
{kinds}
| `queries/*.sql` | a saved query; its first comment line is its title | |
| `secrets/NAME.sealed`, `secrets/NAME.sops.yaml` | the sealed value that `{{secret: NAME}}` means | |

Names are lower-case letters, digits and inner hyphens, at most 40. Other files are left alone.

## Ask

```sh
automator67 validate                # check everything offline: file:line:column, and what to write instead
automator67 explain app             # the keys of an app
automator67 explain app.update      # one key
```

`validate` takes a directory or a commit (`automator67 validate origin/main`), and prints text, `--format json`,
`github` (annotations on the lines of a pull request) or `sarif` (code scanning). Exit codes: 0 valid, 1 problems,
255 it could not be checked.

## Words

Where a key's type is one of these words, this is what it means. A text of `true`, `null` or a number is put in quotes.

| word | means | for example |
|---|---|---|
{terms}

Unknown keys are errors. Keys that begin with `x-` are free, for notes and anchors of your own.

## What YAML means here

Files are UTF-8, of at most 1 MiB, with one document, nested at most 50 deep. What a plain word means follows the core
schema of YAML 1.2: only `true` and `false` are booleans, so `on`, `off`, `yes` and `no` are text, as are `22:22` and
`2026-01-01`. Tags, duplicate keys, and aliases that would grow without bound are refused.

## Editors

The schemas are JSON Schema, draft 2020-12, and complete and check the files in every editor with a YAML language
server. Write them where the editor finds them, and name them in the first line of a file:

```sh
automator67 explain --schema all --to .vscode/schemas
automator67 explain --schema app > app.schema.json      # or one of them anywhere
```

```yaml
# yaml-language-server: $schema=../.vscode/schemas/app.schema.json
image: ghcr.io/ana/blog:1.4.2
```

The [example repository](../../example-config-repo) has both, and settings for VS Code that need no such line.
"""


def pages() -> dict[str, str]:
    """Return the pages by file name."""
    found = {f"{kind}.md": _page(kind) for kind in YAML_KINDS}
    kinds = "\n".join(f"| `{FILES[k]}` | {reference(k).description} | [{_TITLES[k]}]({k}.md) |" for k in YAML_KINDS)
    words = "\n".join(f"| {t.path} | {_cell(t.description)} | `{_cell(t.example)}` |" for t in terms().values())
    found["README.md"] = f"{_MADE}\n\n{_INDEX.format(kinds=kinds, terms=words)}"
    return found


def write_pages(folder: str) -> None:
    """Write the pages into a directory."""
    for name, text in pages().items():
        (Path(folder) / name).write_text(text, encoding="utf-8")


def _page(kind: Kind) -> str:
    root = reference(kind)
    rows = "\n".join(_row(key, len(kind) + 1) for key in every(root))
    head = f"{_MADE}\n\n# {_TITLES[kind]}: `{FILES[kind]}`\n\n{root.description}"
    sample = f"```yaml\n# {FILES[kind]}\n{SAMPLES[kind]}```"
    table = f"| key | type | default | meaning |\n|---|---|---|---|\n{rows}"
    return f"{head} What the types mean: [words](README.md#words).\n\n{sample}\n\n{table}\n"


def _row(key: Key, skip: int) -> str:
    default = "**required**" if key.required else f"`{_cell(key.default)}`" if key.default else ""
    example = f" For example `{_cell(key.example)}`." if key.example else ""
    return f"| `{key.path[skip:]}` | {_cell(key.type)} | {default} | {_cell(key.description)}{example} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
