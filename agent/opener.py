"""Opens the secrets of a process on its way to ``launch.py``: reads on standard input, writes on standard output.

    {"request": agent.box.Request, "directory": where its files go, "launch": what launch.py is told}

A short-lived process between the resident one and the app: so the resident process never has a value in its memory,
and none is in a command line. When it fails, ``launch.py`` is told why instead, and starts nothing.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from automator67.agent import sealing, secret_files


def main() -> None:
    """Pass on what standard input says, with the secrets in it."""
    try:
        launch = completed(json.loads(sys.stdin.buffer.read()))
    except secret_files.SecretFilesError as e:
        launch = {"error": str(e)}
    except (sealing.SealError, OSError, ValueError, KeyError) as e:
        launch = {"error": f"its secrets cannot be opened: {e}"}
    sys.stdout.write(json.dumps(launch))


def completed(doc: dict[str, Any]) -> dict[str, Any]:
    """Write the files of a process and return what launch.py is told, with the values in the environment."""
    contents = sealing.open_box(doc["request"])
    launch: dict[str, Any] = doc["launch"]
    user = launch["user"]
    if contents.files:
        secret_files.write(doc["directory"], contents.files, (user["uid"], user["gid"]) if user else None)
    # The stamp stays ours: nothing that an app is given may make it look like another's.
    stamp = {key: value for key, value in launch["env"].items() if key.startswith("A67_")}
    return launch | {"env": launch["env"] | contents.env | stamp}


if __name__ == "__main__":
    main()
