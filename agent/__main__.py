"""The agent's command line: ``python -m automator67.agent run|join|purge|unit``."""

from __future__ import annotations

import sys

from automator67.agent.options import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
