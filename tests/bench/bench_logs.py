"""How fast the logs of four replicas are merged, against the standard library's merge of lists that are all there.

python -m tests.bench.bench_logs
"""

from __future__ import annotations

import heapq
import random
import sys
import time
import tracemalloc

from automator67.engine.log_merge import LogMerge

REPLICAS, LINES, BATCH = 4, 250_000, 400
BAR = 3.0
"""Times the time of heapq.merge, which knows everything beforehand."""
MEMORY_BAR = 8 * 2**20


def main() -> int:
    chance = random.Random(7)
    logs = []
    for n in range(REPLICAS):
        at = 0.0
        log = []
        for i in range(LINES):
            at += chance.expovariate(100)
            log.append((at, (n, i)))
        logs.append(log)
    best_peer = best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        count = sum(1 for _ in heapq.merge(*logs))
        best_peer = min(best_peer, time.perf_counter() - began)
        began = time.perf_counter()
        merged = merge(logs)
        best = min(best, time.perf_counter() - began)
        assert merged == count == REPLICAS * LINES
    tracemalloc.start()
    merge([log[:50_000] for log in logs])
    grown = tracemalloc.get_traced_memory()[1]
    ratio = best / best_peer
    print(f"merging {REPLICAS} x {LINES} lines: {best:.2f} s ({REPLICAS * LINES / best / 1e6:.2f} M lines/s)")
    print(f"heapq.merge of the same: {best_peer:.2f} s; ratio {ratio:.2f} (bar {BAR})")
    print(f"at most held in between: {grown / 2**20:.1f} MiB (bar {MEMORY_BAR / 2**20:.0f} MiB)")
    return 0 if ratio <= BAR and grown <= MEMORY_BAR else 1


def merge(logs: list[list[tuple[float, tuple[int, int]]]]) -> int:
    """Merge as the engine does, in batches as they arrive; return how many lines came out."""
    merging: LogMerge[tuple[int, int]] = LogMerge(follow=False)
    position = [0] * len(logs)
    for n in range(len(logs)):
        merging.open(str(n))
    count, open_logs = 0, set(range(len(logs)))
    while open_logs:
        for n in list(open_logs):
            if merging.full(str(n)):
                continue
            batch = logs[n][position[n] : position[n] + BATCH]
            position[n] += BATCH
            if batch:
                merging.put(str(n), batch, 0.0)
            else:
                merging.end(str(n))
                open_logs.discard(n)
        count += len(merging.take(0.0))
    return count


if __name__ == "__main__":
    sys.exit(main())
