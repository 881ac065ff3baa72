"""Programs that a measurement needs beyond what the tests install."""

from __future__ import annotations

import shutil
import sys


def need_program(name: str) -> None:
    """End with a line that says what to install, unless the program is there."""
    if shutil.which(name) is None:
        sys.exit(f"{name} is needed for this: apt install {name}")
