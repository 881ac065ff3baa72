"""How punctual a node's heartbeats are, so that its silence is judged by its own history. Pure.

A heartbeat that comes late has a lateness; one that does not come is lost. Both are remembered with fading weight, in
constant space. The margin for lateness is that of TCP's retransmission timer (RFC 6298): four mean deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MEMORY = 500.0
"""How many heartbeats back the history goes, about; older ones fade."""
PRIOR = 50.0
"""How many punctual heartbeats a node without a history is believed to have had, with one lost among them."""
LATENESS = 4.0
SPREAD = 1.1
"""Heartbeats are spread by a tenth, so that those of many nodes do not come together."""


@dataclass(frozen=True, slots=True)
class Punctuality:
    """What a node's history of heartbeats comes to: how many came and were lost (fading), mean lateness in seconds."""

    came: float = 0.0
    lost: float = 0.0
    lateness: float = 0.0

    def after(self, gap: float, every: float) -> Punctuality:
        """Return the history with a heartbeat that came ``gap`` seconds after the last, ``every`` being usual."""
        missed = max(0, round(gap / every) - 1)
        late = max(0.0, gap - (missed + 1) * every)
        keep = 1 - 1 / MEMORY
        weight = 1 / min(self.came + 1, 8.0)
        return Punctuality(
            self.came * keep + 1, self.lost * keep + missed, self.lateness + (late - self.lateness) * weight
        )

    def patience(self, every: float, chance: float) -> float:
        """Return the seconds of silence that a node that lives exceeds with less than this chance per heartbeat."""
        share = min(0.9, (self.lost + 1) / (self.came + self.lost + PRIOR))
        in_a_row = math.ceil(math.log(chance) / math.log(share) - 1e-9)
        return max(1, in_a_row) * every * SPREAD + LATENESS * self.lateness
