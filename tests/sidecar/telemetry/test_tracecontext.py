"""The W3C trace context: what is read, what is passed on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from modelpool_sidecar.telemetry import tracecontext
from modelpool_sidecar.telemetry.tracecontext import TraceContext

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def test_a_clients_context_is_read():
    found = tracecontext.extract((("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=1")))
    assert found == TraceContext(int(TRACE, 16), int(SPAN, 16), 1, "a=1")
    assert found.sampled
    assert found.trace_hex == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_malformed_context_begins_a_new_trace(value):
    assert tracecontext.extract((("traceparent", value),)) is None


def test_two_contexts_are_none():
    header = ("traceparent", f"00-{TRACE}-{SPAN}-01")
    assert tracecontext.extract((header, header)) is None


def test_a_higher_version_is_read_as_far_as_it_is_known():
    found = tracecontext.extract((("traceparent", f"cc-{TRACE}-{SPAN}-ff-what-comes-later"),))
    assert found is not None
    assert tracecontext.inject(found) == (("traceparent", f"00-{TRACE}-{SPAN}-03"),)


def test_several_tracestates_are_one_list():
    found = tracecontext.extract(
        (("traceparent", f"00-{TRACE}-{SPAN}-00"), ("tracestate", "a=1"), ("tracestate", ""), ("tracestate", "b=2"))
    )
    assert found is not None
    assert found.state == "a=1,b=2"
    assert not found.sampled


@pytest.mark.parametrize("state", ["a=" + "x" * 511, "a=1\x00", "a=\u00e9"])
def test_a_tracestate_that_cannot_be_passed_on_is_dropped_and_the_trace_goes_on(state):
    found = tracecontext.extract((("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", state)))
    assert found is not None
    assert tracecontext.inject(found) == (("traceparent", f"00-{TRACE}-{SPAN}-01"),)


def test_nothing_is_passed_on_where_nothing_came():
    assert tracecontext.inject(None) == ()


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3), st.sampled_from(["", "a=1,b@c=2"]))
def test_what_is_injected_is_what_is_extracted(trace_id, span_id, flags, state):
    context = TraceContext(trace_id, span_id, flags, state)
    assert tracecontext.extract(tracecontext.inject(context)) == context


@given(
    st.one_of(
        st.text("0123456789abcdef-", max_size=60),
        st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
    )
)
def test_it_agrees_with_the_propagator_of_the_library(value):
    theirs = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": value})).get_span_context()
    ours = tracecontext.extract((("traceparent", value),))
    assert (ours is not None) == theirs.is_valid
    if ours is not None:
        assert (ours.trace_id, ours.span_id, ours.sampled) == (
            theirs.trace_id,
            theirs.span_id,
            theirs.trace_flags.sampled,
        )
