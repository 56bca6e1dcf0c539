"""The table is worth what its judge sees: half an answer, twice, another one's, an end after an error (B25)."""

import pytest

from conformance.client import End, Got
from conformance.seen import judge
from conformance.speech import DONE, OPERATIONS, WAYS, Operation, Speech, Way

ID = "id-1-1"


def got(body: bytes, end: End = "complete", **headers: str) -> Got:
    return Got(200, {"x-modelpool-attempts": "1", **headers}, bytearray(body), end)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_whole_answer_is_its_providers(way: Way) -> None:
    said = Speech(way.operation, "backup", ID)
    seen = judge(way, ID, got(b"".join(said.events) if way.stream else said.whole))
    assert (seen.words, seen.wrong, seen.who) == ("backup, 1 ask", "", "backup")


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_answer_to_another_request_is_no_answer(way: Way) -> None:
    said = Speech(way.operation, "backup", "id-1-2")
    assert judge(way, ID, got(b"".join(said.events) if way.stream else said.whole)).wrong


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("gone", [0, 3, 5])
def test_a_stream_that_lacks_a_delta_is_no_success(operation: Operation, gone: int) -> None:
    said = Speech(operation, "primary", ID)
    del said.deltas[gone]
    seen = judge(Way(operation, True), ID, got(b"".join(said.events)))
    assert seen.words == "TRUNCATED, 1 ask"
    assert seen.wrong


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_stream_that_repeats_itself_is_no_success(operation: Operation) -> None:
    said = Speech(operation, "primary", ID)
    said.deltas.insert(3, said.deltas[2])
    assert judge(Way(operation, True), ID, got(b"".join(said.events))).wrong


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_stream_that_ends_quietly_in_the_middle_is_no_success(operation: Operation) -> None:
    said = Speech(operation, "primary", ID)
    assert judge(Way(operation, True), ID, got(b"".join(said.until("middle")))).wrong
    assert judge(Way(operation, True), ID, got(b"".join(said.until("middle")), "fin")).wrong


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_error_event_is_told_and_nothing_follows_it(operation: Operation) -> None:
    said = Speech(operation, "primary", ID)
    told = b"".join([*said.until("middle"), said.error_event("x")])
    assert judge(Way(operation, True), ID, got(told, "fin")).words == "error event x, 1 ask"
    assert not judge(Way(operation, True), ID, got(told, "fin")).wrong
    assert judge(Way(operation, True), ID, got(told)).wrong
    assert judge(Way(operation, True), ID, got(told + b"".join(said.ending) + DONE, "fin")).wrong


def test_who_answers_must_be_who_is_named() -> None:
    said = Speech("chat", "backup", ID)
    assert judge(Way("chat", False), ID, got(said.whole, **{"x-modelpool-target": "primary"})).wrong


def test_silence_is_seen() -> None:
    assert judge(Way("chat", True), ID, Got()).wrong
    assert judge(Way("chat", True), ID, Got(end="fin")).wrong


@pytest.mark.parametrize("operation", OPERATIONS)
def test_half_an_answer_is_cut_only_where_its_framing_says_so(operation: Operation) -> None:
    half = Speech(operation, "primary", ID).whole[:40]
    assert judge(Way(operation, False), ID, got(half, "rst")).words == "cut (rst), 1 ask"
    assert not judge(Way(operation, False), ID, got(half, "fin")).wrong
    assert judge(Way(operation, False), ID, got(half)).wrong
