"""What the lease of a node lets run and start, and until when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.drift import docker_restart
from automator67.agent.lease import Lease, due, ends, guarded, present, withheld
from automator67.agent.model import Desired, Seen, Wanted

FENCED, FREE = Wanted("only-0-a", "only", 0, "a", 1, fence=True), Wanted("web-0-a", "web", 0, "a", 1)
DESIRED = Desired("r1", "n", "home", (FENCED, FREE))


@given(st.floats(0, 1e6), st.floats(0.1, 1000), st.floats(-100, 2000), st.floats(0, 600))
def test_what_needs_no_lease_always_runs_and_the_rest_ends_in_time(
    sent: float, length: float, after: float, stop: float
) -> None:
    lease, now = Lease(sent, sent + length, "r1"), sent + after
    desired = DESIRED._replace(instances=(FENCED._replace(stop_timeout=stop), FREE))
    here = present(desired, lease, now)
    assert FREE in here.instances
    if now >= lease.until:
        assert [w.id for w in here.instances] == [FREE.id]
    end = ends(desired.instances[0], lease)
    assert sent + 0.7 * length <= end < lease.until, "it is asked in time, and not long before"
    if after < 0.7 * length:
        assert here == desired
        assert 0 < due(desired, lease, now) <= end - now + 1e-6


def test_only_what_the_engine_knew_when_it_gave_the_lease_may_start() -> None:
    assert withheld(DESIRED, Lease(0, 100, "r1")) == frozenset()
    assert withheld(DESIRED, Lease(0, 100, "r0")) == {FENCED.id}
    assert withheld(DESIRED, Lease()) == {FENCED.id}
    assert present(DESIRED, Lease(0, 100, "r0"), 10.0) == DESIRED, "what runs goes on meanwhile"


def test_what_leaves_is_guarded_until_it_is_gone() -> None:
    running = Seen("process", "old-0-a", "old-0-a", "running", "old-0-a", "old")
    known = frozenset({"old-0-a", "gone-0-a"})
    assert guarded(DESIRED, (running,), known) == {FENCED.id, "old-0-a"}
    assert guarded(None, (), known) == frozenset()


def test_the_docker_engine_never_starts_it_by_itself() -> None:
    assert docker_restart(FENCED) == "no"
    assert docker_restart(FREE) == "unless-stopped"
