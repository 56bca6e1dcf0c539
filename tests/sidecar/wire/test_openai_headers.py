"""Which headers cross, in both directions (B42): an allow-list there, a deny-list back."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_sidecar.core import request
from modelpool_sidecar.core.request import Headers, Request
from modelpool_sidecar.core.snapshot import Provider, Secret
from modelpool_sidecar.dialects import openai, openai_headers
from modelpool_sidecar.version import VERSION
from wire_cases import HOST, post, provider

OURS = f"modelpool/{VERSION}"
ALWAYS = {"content-type": "application/json", "user-agent": OURS, "accept-encoding": "identity"}
TRACE = (("traceparent", "00-1-2-01"), ("tracestate", "a=b"), ("baggage", "user=1"))


def key(name: str, header: str = "authorization", prefix: str = "Bearer ") -> Secret:
    given = {"header": header, "prefix": prefix, "credential": name}
    return Secret(**given, **({"source": ""} if len(fields(Secret)) > len(given) else {}))


def sent(
    to: Provider, *headers: tuple[str, str], keys: dict[str, str] | None = None, trace: Headers = ()
) -> dict[str, str]:
    """The headers of an attempt; none of them twice."""
    pairs = openai.attempt_headers(post({"model": "chat"}, *headers), to, (keys or {}).get, trace)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_an_empty_header_is_none() -> None:
    assert sent(provider(), ("content-type", ""), ("accept", ""), ("user-agent", "")) == ALWAYS


def test_what_has_no_body_has_no_content_type() -> None:
    asked = request.parse("GET", "/v1/models", (HOST,), b"")
    assert isinstance(asked, Request)
    pairs = openai.attempt_headers(asked, provider(), lambda _: None, ())
    assert pairs == (("user-agent", OURS), ("accept-encoding", "identity"))


PASSES = [
    ("accept", "application/json"),
    ("idempotency-key", "k-1"),
    ("x-request-id", "r-1"),
    ("openai-beta", "assistants=v2"),
]
NEVER = [
    "authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie", "cookie2",
    "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer", "transfer-encoding",
    "upgrade", "content-length", "content-encoding", "expect", "host", "forwarded", "via", "x-forwarded-for",
    "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "openai-organization", "openai-project",
    "traceparent", "tracestate", "baggage", "x-modelpool-target", "x-modelpool-pool", "x-stainless-retry-count",
    "x-stainless-lang", "x-stainless-read-timeout",
]  # fmt: skip
UNKNOWN = ["x-tenant", "x-anything", "anthropic-version", "origin", "referer", "accept-language", "range"]


def test_without_any_header_of_the_client_the_attempt_has_what_it_needs() -> None:
    assert sent(provider()) == ALWAYS


@pytest.mark.parametrize(("name", "value"), PASSES)
def test_what_the_allow_list_names_passes(name: str, value: str) -> None:
    assert sent(provider(), (name, value)) == {**ALWAYS, name: value}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_it_does_not_name_passes_only_by_forward_headers(name: str) -> None:
    assert name not in sent(provider(), (name, "v"))
    assert sent(provider(forward=frozenset({name})), (name, "v"))[name] == "v"


@pytest.mark.parametrize("name", NEVER)
def test_what_must_never_pass_does_not_even_by_forward_headers(name: str) -> None:
    value = "1" if name != "content-encoding" else "identity"
    assert name not in sent(provider(forward=frozenset({name})), (name, value))


def test_what_connection_names_speaks_of_one_hop() -> None:
    to = provider(forward=frozenset({"x-hop", "x-tenant"}))
    passed = sent(to, ("connection", "close, X-Hop"), ("x-hop", "1"), ("x-tenant", "t"))
    assert passed == {**ALWAYS, "x-tenant": "t"}


def test_the_clients_user_agent_passes_with_our_token_after_it() -> None:
    assert sent(provider(), ("user-agent", "OpenAI/Python 3.52"))["user-agent"] == f"OpenAI/Python 3.52 {OURS}"


def test_accept_encoding_is_identity_whatever_anybody_asks_for() -> None:
    to = provider(headers=(("accept-encoding", "br"),), forward=frozenset({"accept-encoding"}))
    assert sent(to, ("accept-encoding", "gzip"))["accept-encoding"] == "identity"


def test_the_providers_headers_win_over_the_clients() -> None:
    to = provider(headers=(("openai-beta", "ours"), ("openai-organization", "org-1"), ("user-agent", "us")))
    passed = sent(to, ("openai-beta", "theirs"), ("openai-organization", "org-2"))
    assert passed == {**ALWAYS, "openai-beta": "ours", "openai-organization": "org-1", "user-agent": "us"}


def test_the_providers_headers_do_not_touch_the_transport() -> None:
    to = provider(headers=(("host", "x"), ("connection", "close"), ("content-length", "1"), ("x-ok", "1")))
    assert sent(to) == {**ALWAYS, "x-ok": "1"}


def test_the_credential_is_set_last_and_wins() -> None:
    to = provider(
        auth=key("openai.api-key"),
        headers=(("authorization", "from headers"),),
        secret_headers=(key("other", "authorization", ""), key("team", "x-team", "")),
    )
    pairs = openai.attempt_headers(
        post({"model": "chat"}, ("authorization", "Bearer client")),
        to,
        {"openai.api-key": "sk-1", "other": "o", "team": "t"}.get,
        (),
    )
    assert pairs[-1] == ("authorization", "Bearer sk-1")
    assert [value for name, value in pairs if name == "authorization"] == ["Bearer sk-1"]
    assert ("x-team", "t") in pairs


def test_a_missing_credential_lets_nothing_of_the_clients_take_its_place() -> None:
    to = provider(auth=key("gone", "x-key", ""), forward=frozenset({"x-key"}))
    assert "x-key" not in sent(to, ("x-key", "the client's"))


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\0", "\x7f", "\x85", "日本", "\udcff", "a\x1b[0m"])
def test_no_header_value_can_hold_what_is_not_latin_1_text(value: str) -> None:
    to = provider(
        auth=key("k"),
        headers=(("x-own", value),),
        forward=frozenset({"x-tenant"}),
        trace_context=True,
        response_headers=(("x-region", value),),
    )
    assert sent(to, ("x-tenant", value), ("accept", value), keys={"k": value}) == ALWAYS
    assert openai.answer_headers((("x-request-id", value),), to) == ()


@given(st.text(max_size=20))
def test_every_value_that_is_sent_fits_a_header(value: str) -> None:
    to = provider(auth=key("k"), forward=frozenset({"x-tenant"}), headers=(("x-own", value),))
    for found in sent(to, ("x-tenant", value), ("user-agent", value), keys={"k": value}).values():
        found.encode("latin-1")
        assert not set(found) & set("\r\n\0")


def test_the_trace_context_goes_only_where_the_provider_takes_it_and_baggage_never() -> None:
    assert sent(provider(), trace=TRACE) == ALWAYS
    assert sent(provider(trace_context=True), trace=TRACE) == {**ALWAYS, **dict(TRACE[:2])}


def test_a_forwarded_header_keeps_its_duplicates_and_an_allowed_one_its_first() -> None:
    asked = post({"model": "chat"}, ("x-t", "1"), ("x-t", "2"), ("accept", "a"), ("accept", "b"))
    pairs = openai.attempt_headers(asked, provider(forward=frozenset({"x-t"})), lambda _: None, ())
    assert [pair for pair in pairs if pair[0] in ("x-t", "accept")] == [("x-t", "1"), ("x-t", "2"), ("accept", "a")]


STRIPPED = [
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "set-cookie", "set-cookie2", "server", "alt-svc", "openai-organization",
    "openai-project", "anthropic-organization-id", "x-should-retry", "content-length", "x-modelpool-pool",
    "x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests", "ratelimit",
    "ratelimit-limit", "ratelimit-policy", "anthropic-ratelimit-requests-remaining", "strict-transport-security",
    "access-control-allow-origin",
]  # fmt: skip
KEPT = ["content-type", "x-request-id", "openai-processing-ms", "openai-version", "date", "content-encoding", "cf-ray"]


@pytest.mark.parametrize("name", STRIPPED)
def test_what_is_the_providers_own_business_stays_there(name: str) -> None:
    assert openai.answer_headers(((name, "v"),), provider()) == ()


@pytest.mark.parametrize("name", KEPT)
def test_everything_else_of_an_answer_passes(name: str) -> None:
    assert openai.answer_headers(((name, "v"), (name, "w")), provider()) == ((name, "v"), (name, "w"))


def test_what_the_answers_connection_names_is_dropped() -> None:
    headers = (("connection", "X-Hop"), ("x-hop", "1"), ("x-request-id", "r"))
    assert openai.answer_headers(headers, provider()) == (("x-request-id", "r"),)


def test_response_headers_replace_the_providers_own() -> None:
    to = provider(response_headers=(("x-region", "eu"), ("x-price", "1")))
    headers = (("x-region", "us"), ("date", "d"))
    assert openai.answer_headers(headers, to) == (("date", "d"), ("x-region", "eu"), ("x-price", "1"))


@pytest.mark.parametrize(
    ("name", "value", "passed"),
    [
        ("retry-after", "7", "7"),
        ("retry-after", "4233600", "60"),
        ("retry-after", "0.5", "0.5"),
        ("retry-after-ms", "120", "120"),
        ("retry-after-ms", "61000", "60000"),
        ("retry-after", "Sat, 21 Nov 2026 04:00:00 GMT", None),
        ("retry-after", "-1", None),
        ("retry-after", "nan", None),
        ("retry-after", "inf", "60"),
    ],
)
def test_a_retry_after_is_capped_because_sdks_obey_it(name: str, value: str, passed: str | None) -> None:
    assert openai.answer_headers(((name, value),), provider()) == (((name, passed),) if passed else ())


def test_nothing_is_allowed_and_forbidden_at_once() -> None:
    assert not openai_headers.PASSED & openai_headers.NEVER_SENT
    assert set(NEVER) >= openai_headers.NEVER_SENT - {"accept-encoding"}
    assert set(STRIPPED) >= openai_headers.NEVER_ANSWERED


def test_our_version_is_the_distributions(pytestconfig: pytest.Config) -> None:
    assert f'version = "{VERSION}"' in (pytestconfig.rootpath / "pyproject.toml").read_text()
