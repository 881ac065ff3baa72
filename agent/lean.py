"""Where the resident process begins: a bare interpreter without ``site``, executed as a file by ``options``.

``python -I -S lean.py run ...``: what site-packages' start-up files import, and malloc's arena per thread, would stay
resident for months (2.5 MiB of 22 in an editable installation) for a process that needs neither.
"""

import os
import sys
import types

if __name__ == "__main__":
    # Without site there is no way to installed packages: this one's is given by hand, the others are not needed.
    package = types.ModuleType("automator67")
    package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    sys.modules["automator67"] = package
    from automator67.agent.options import be_the_agent

    sys.exit(be_the_agent(sys.argv[1:]))
