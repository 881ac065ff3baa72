"""Whatever comes in whatever order, a circuit breaker lets out no more than its budget, and closes again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from automator67.engine.circuit import Circuit, Policy, admit, dropped, failed, most_calls, succeeded

policies = st.builds(
    Policy, failures=st.integers(1, 6), window=st.floats(1, 120), first=st.floats(1, 60), longest=st.floats(60, 600),
    probes=st.integers(1, 3), patience=st.floats(1, 120),
)  # fmt: skip
steps = st.lists(
    st.tuples(
        st.floats(0, 90), st.sampled_from(["call", "succeed", "fail", "drop"]), st.integers(0, 9), st.floats(0, 1)
    ),
    max_size=80,
)


@given(policies, steps)
def test_no_call_goes_out_while_it_is_open_and_probes_keep_their_budget(
    policy: Policy, taken: list[tuple[float, str, int, float]]
) -> None:
    circuit, now, out = Circuit(), 0.0, list[tuple[int, float]]()
    for gap, what, which, jitter in taken:
        now += gap
        turn_before = circuit.turn
        if what == "call":
            before = circuit
            circuit, free = admit(circuit, policy, now)
            assert not (free and before.phase == "open" and now < before.until)
            if free:
                out.append((circuit.turn, now))
        elif out:
            turn, _ = out.pop(which % len(out))
            before = circuit
            if what == "succeed":
                circuit = succeeded(circuit, turn)
            elif what == "fail":
                circuit = failed(circuit, policy, turn, now, jitter)
            else:
                circuit = dropped(circuit, turn)
            assert turn == before.turn or circuit == before, "an outcome of another turn counts"
        assert len(circuit.failed) <= policy.failures
        assert len([at for at in circuit.probed if now - at < policy.patience]) <= policy.probes
        if circuit.phase == "open" and circuit.turn != turn_before:
            assert 0.8 * min(policy.first, policy.longest) - 1e-6 <= circuit.until - now <= policy.longest + 1e-6
        if circuit.phase == "closed":
            assert circuit.openings == 0


@given(policies, st.lists(st.floats(0.01, 30), min_size=1, max_size=400), st.floats(0, 1))
@settings(max_examples=50)
def test_who_fails_all_gets_the_budget_and_who_answers_once_is_trusted_again(
    policy: Policy, gaps: list[float], jitter: float
) -> None:
    circuit, now, calls, opened = Circuit(), 0.0, 0, 0.0
    for gap in gaps:
        now += gap
        circuit, free = admit(circuit, policy, now)
        if free:
            calls += opened > 0
            circuit = failed(circuit, policy, circuit.turn, now, jitter)
            opened = opened or (now if circuit.phase == "open" else 0.0)
    if opened:
        assert calls + policy.failures <= most_calls(policy, now - opened) + policy.probes
        circuit, free = admit(circuit, policy, circuit.until)
        assert free
        circuit = succeeded(circuit, circuit.turn)
        assert circuit.phase == "closed"
        assert admit(circuit, policy, now)[1]


def test_failures_that_are_far_apart_or_have_answers_between_open_nothing() -> None:
    policy, circuit = Policy(failures=3, window=60), Circuit()
    for now in (0.0, 50.0, 100.0, 150.0, 200.0):
        circuit = failed(circuit, policy, circuit.turn, now, 0)
    assert circuit.phase == "closed"
    for now in (300.0, 301.0):
        circuit = failed(circuit, policy, circuit.turn, now, 0)
    circuit = succeeded(circuit, circuit.turn)
    for now in (302.0, 303.0):
        circuit = failed(circuit, policy, circuit.turn, now, 0)
    assert circuit.phase == "closed"
    assert failed(circuit, policy, circuit.turn, 304.0, 0).phase == "open"


def test_each_opening_lasts_twice_as_long_up_to_the_longest() -> None:
    policy, circuit, lasted = Policy(failures=1, first=30, longest=100), Circuit(), []
    now = 0.0
    for _ in range(4):
        circuit, free = admit(circuit, policy, now)
        assert free
        circuit = failed(circuit, policy, circuit.turn, now, 0)
        lasted.append(circuit.until - now)
        now = circuit.until
    assert lasted == [30, 60, 100, 100]


def test_a_probe_that_says_nothing_does_not_hold_the_circuit_for_ever() -> None:
    policy = Policy(failures=1, first=10, patience=20)
    circuit = failed(Circuit(), policy, 0, 0.0, 0)
    circuit, first = admit(circuit, policy, 10.0)
    circuit, second = admit(circuit, policy, 11.0)
    circuit, third = admit(circuit, policy, 30.0)
    assert (first, second, third) == (True, False, True)
