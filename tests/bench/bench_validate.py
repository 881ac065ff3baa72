"""``automator67 validate`` on 1,000 files as a person runs it: a new process, nothing cached by it.

    python -m tests.bench.bench_validate

Bar: below 3 s. The ratio is against a process that only reads the same bytes with the YAML library (libyaml).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.sealed import sealed

FILES = 1_000
RUNS = 5
BAR_SECONDS = 3.0

_PEER = """
import sys, yaml
from pathlib import Path
for path in Path(sys.argv[1]).rglob("*.yaml"):
    yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
"""


def write_repository(root: Path, count: int) -> None:
    """Write a valid repository of ``count`` files that refer to each other."""
    (root / "automator67.yaml").write_text("name: bench\n")
    for folder in ("apps", "nodes", "secrets"):
        (root / folder).mkdir()
    for n in range(10):
        (root / "nodes" / f"n{n}.yaml").write_text(f"region: {'eu' if n % 2 else 'us'}\nlabels: {{disk: ssd}}\n")
        (root / "secrets" / f"s{n}.sealed").write_text(sealed(f"s{n}", cloud="bench"))
    for n in range(count - 21):
        after = f"depends_on: [app-{n - 1}]\n" if n % 5 else ""
        (root / "apps" / f"app-{n}.yaml").write_text(
            f"# app {n}\nimage: ghcr.io/ana/app-{n}:1.4.2\nport: 8080\nreplicas: 2\n"
            "resources:\n  cpu: 0.25\n  memory: 64Mi\nhealth: {path: /healthz, interval: 10s, timeout: 2s}\n"
            f"env:\n  GREETING: hello\n  DB: {{secret: s{n % 10}}}\n"
            f"domain: app-{n}.example.org\nplace: {{require: {{region: eu}}, prefer: {{disk: ssd}}}}\n"
            f"update: {{strategy: rolling, healthy_for: 10s, deadline: 5m}}\n{after}"
        )


def timed(argv: list[str], expect: str) -> float:
    """Return how long a process takes; its output must be what is expected."""
    started = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    if done.returncode != 0 or expect not in done.stdout:
        raise SystemExit(f"{argv} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return took


def main() -> int:
    """Run the benchmark; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_repository(root, FILES)
        validate = [sys.executable, "-m", "automator67.engine.cli", "validate", folder]
        peer = [sys.executable, "-c", _PEER, folder]
        ours, alone = [], []
        for _ in range(RUNS):
            ours.append(timed(validate, f"{FILES} files, no problems"))
            alone.append(timed(peer, ""))
        (root / "apps" / "app-7.yaml").write_text("image: a\nprots: 1\n")
        started = time.perf_counter()
        subprocess.run(validate, capture_output=True, check=False)
        broken = time.perf_counter() - started
    first, usual, bare = ours[0], statistics.median(ours), statistics.median(alone)
    ratio = f"{usual / bare:.2f} x reading the YAML alone ({bare:.2f} s)"
    print(f"validate {FILES} files: first {first:.2f} s, median {usual:.2f} s = {ratio} (bar {BAR_SECONDS:.0f} s)")
    print(f"the same with one file wrong: {broken:.2f} s")
    return 0 if max(first, usual, broken) < BAR_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
