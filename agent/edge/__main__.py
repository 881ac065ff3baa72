"""``python -m automator67.agent.edge DIRECTORY``."""

import sys

from automator67.agent.edge.serve import main

sys.exit(main())
