"""The files of a new config repository. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from automator67.schemas.kinds import FOLDERS, YAML_KINDS, schema_text


@dataclass(frozen=True, slots=True)
class Answers:
    """What a person said: the cloud's name, its machines (the first takes the traffic), where the first app answers,
    and who is told of certificates that will expire ("" for none)."""

    name: str = "home"
    nodes: Sequence[str] = ("one",)
    domain: str = "hello.localhost"
    email: str = ""


def first_files(answers: Answers) -> dict[str, str]:
    """Return the files of a working repository: by path their text."""
    files = {
        "automator67.yaml": _CLOUD.format(name=answers.name),
        "apps/hello.yaml": _APP.format(domain=answers.domain),
        "README.md": _README.format(name=answers.name),
        ".gitignore": "*.key\n.env\n",
        ".vscode/settings.json": json.dumps(_settings(), indent=2) + "\n",
        ".vscode/extensions.json": json.dumps({"recommendations": ["redhat.vscode-yaml"]}, indent=2) + "\n",
    }
    for n, node in enumerate(answers.nodes):
        gateway = ""
        if n == 0:
            email = (
                f"\ngateway: {{acme_email: {json.dumps(answers.email)}}}\n" if answers.email else "\ngateway: true\n"
            )
            gateway = f"\n# It takes the requests from outside (ports 80 and 443) for every app.{email}"
        files[f"nodes/{node}.yaml"] = _NODE.format(node=node) + gateway
    for kind in YAML_KINDS:
        files[f".vscode/schemas/{kind}.schema.json"] = schema_text(kind)
    return files


def _settings() -> dict[str, object]:
    found: dict[str, object] = {".vscode/schemas/cloud.schema.json": "/automator67.yaml"}
    for folder, kind in FOLDERS.items():
        if kind not in YAML_KINDS:
            continue
        found[f".vscode/schemas/{kind}.schema.json"] = [f"/{folder}/*.yaml", f"/{folder}/*.yml"]
    return {"yaml.schemas": found, "yaml.yamlVersion": "1.2"}


_CLOUD = """\
# yaml-language-server: $schema=.vscode/schemas/cloud.schema.json
# What belongs to the whole cloud; `automator67 explain cloud` shows every key.

# The name is stamped on everything the cloud makes: choose it once.
name: {name}

# A commit that removes more apps than this waits until you confirm it.
limits: {{deletions: 3}}
"""
_NODE = """\
# yaml-language-server: $schema=../.vscode/schemas/node.schema.json
# A machine of your own; `automator67 node token {node}` prints the command by which it joins.
kind: agent
"""
_APP = """\
# yaml-language-server: $schema=../.vscode/schemas/app.schema.json
# A first app: it says where it runs. Change it, push, and watch; delete the file and it is gone.
image: traefik/whoami:v1.10.2
port: 80
domain: {domain}
resources: {{memory: 32Mi}}
health: {{path: /health}}
"""
_README = """\
# {name}: a personal cloud

Everything that runs is written here; a push makes it so. A folder is a kind, a file is a resource.

| change | by |
|---|---|
| an app | `apps/NAME.yaml`; delete the file, and it is gone (its volumes stay) |
| a machine | `nodes/NAME.yaml`, then `automator67 node token NAME` |
| a password | `automator67 seal NAME`, then `{{secret: NAME}}` where it is needed |
| what belongs to all of it | `automator67.yaml` |

`automator67 validate` says what is wrong, `automator67 plan` what would change and why, `automator67 explain app` which
keys there are. Services of a Compose project come by `automator67 import compose FILE`.
"""
