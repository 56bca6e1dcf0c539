"""Which step of a script applies when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_config.models import FakeStep
from modelpool_sidecar.fake.script import FAULTS, HEALTHY, Script, Turn, broken_step

BAD, SLOW = FakeStep(status=500), FakeStep(first_token=100)


def takes(script: Script, *times: float) -> list[int | None]:
    return [script.take(now).step.status for now in times]


@pytest.mark.parametrize(
    ("steps", "times", "statuses"),
    [
        ((), (0, 1, 2), (None, None, None)),
        ((BAD,), (0, 1, 2), (500, 500, 500)),
        ((FakeStep(requests=2, status=500), HEALTHY), (0, 0, 0, 0), (500, 500, None, None)),
        ((FakeStep(requests=1, status=500), FakeStep(requests=1, status=429)), (0, 0, 0), (500, 429, 429)),
        ((FakeStep(duration=1000, status=500), HEALTHY), (0, 0.999, 1, 2), (500, 500, None, None)),
        (
            (
                FakeStep(duration=1000, status=500),
                FakeStep(duration=1000),
                FakeStep(duration=1000, status=503),
                HEALTHY,
            ),
            (0.5, 1.5, 2.5, 3.5),
            (500, None, 503, None),
        ),
        ((FakeStep(duration=1000, status=500), FakeStep(duration=1000, status=503)), (0, 1.5, 99), (500, 503, 503)),
        ((FakeStep(duration=0, status=500), HEALTHY), (0,), (None,)),
        ((FakeStep(requests=2, duration=1000, status=500), HEALTHY), (0, 1.1), (500, None)),
        ((FakeStep(requests=1, duration=1000, status=500), HEALTHY), (0, 0.1), (500, None)),
        ((FakeStep(requests=1), FakeStep(duration=1000, status=500), HEALTHY), (5, 5.5, 6.1), (None, 500, None)),
    ],
)
def test_steps_follow_each_other_by_requests_and_by_time(
    steps: tuple[FakeStep, ...], times: tuple[float, ...], statuses: tuple[int | None, ...]
) -> None:
    assert takes(Script(steps, 0.0), *times) == list(statuses)


def test_looking_uses_nothing_up() -> None:
    script = Script((FakeStep(requests=1, status=500), HEALTHY), 0.0)
    assert script.look(0.0) == script.look(0.0) == script.take(0.0)
    assert script.look(0.0) == Turn(HEALTHY)


def test_a_timed_step_tells_how_long_it_lasts_and_the_last_one_does_not() -> None:
    script = Script((FakeStep(duration=3000, status=429), FakeStep(duration=1000)), 10.0)
    assert script.look(11.0).remaining == 2.0
    assert script.look(13.0).remaining is None


def test_broken_goes_before_the_script_and_uses_no_requests_of_it() -> None:
    script = Script((FakeStep(requests=1, status=429), HEALTHY), 0.0)
    script.break_as("503")
    assert script.broken_as == "503"
    assert takes(script, 0, 0) == [503, 503]
    script.mend()
    assert script.broken_as is None
    assert takes(script, 0, 0) == [429, None]


def test_time_goes_on_while_broken() -> None:
    script = Script((FakeStep(duration=1000, status=429), HEALTHY), 0.0)
    script.break_as("Hang")
    assert script.take(0.5).step.fault == "Hang"
    script.mend()
    assert takes(script, 1.5) == [None]


def test_a_new_script_begins_at_its_first_step_and_stays_broken() -> None:
    script = Script((BAD,), 0.0)
    script.break_as("Reset")
    script.replace((FakeStep(duration=1000, first_token=100), HEALTHY), 7.0)
    assert script.broken_as == "Reset"
    script.mend()
    assert script.look(7.9).step.first_token == 100
    assert script.look(8.0).step == HEALTHY


@pytest.mark.parametrize("fault", [*FAULTS, "500", "429", "302"])
def test_a_fault_is_named_by_its_word_or_status(fault: str) -> None:
    word, step = broken_step(fault)
    assert word == fault
    assert (step.fault or str(step.status)) == fault


def test_the_case_of_a_word_does_not_matter() -> None:
    assert broken_step("hANG")[0] == "Hang"


@pytest.mark.parametrize("fault", ["", "broken", "200", "99", "600", "5xx", "\u0665\u0660\u0660", "-500", "0500"])
def test_an_unknown_fault_is_answered_with_what_there_is(fault: str) -> None:
    with pytest.raises(ValueError, match="one of Refuse, Reset, Hang, Cut, Stall or a status between 300 and 599"):
        broken_step(fault)


def test_a_script_introduces_itself() -> None:
    script = Script((BAD, SLOW), 0.0)
    assert repr(script) == "<Script step 1 of 2>"
    script.break_as("Cut")
    assert repr(script) == "<Script step 1 of 2, broken as Cut>"


@given(
    st.lists(st.tuples(st.sampled_from(["requests", "duration"]), st.integers(1, 5)), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), max_size=30),
)
def test_steps_only_go_forward_and_looking_between_changes_nothing(
    kinds: list[tuple[str, int]], waits: list[int]
) -> None:
    steps = tuple(
        FakeStep(requests=size, tokens=index) if kind == "requests" else FakeStep(duration=size * 1000, tokens=index)
        for index, (kind, size) in enumerate(kinds)
    )
    looked, blind = Script(steps, 0.0), Script(steps, 0.0)
    now, last = 0.0, 0
    for wait in waits:
        for tick in range(wait):
            looked.look(now + tick)
        now += wait
        turn = looked.take(now)
        assert turn == blind.take(now)
        assert turn.step.tokens is not None
        assert turn.step.tokens >= last
        last = turn.step.tokens
