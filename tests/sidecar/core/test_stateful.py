"""Where requests go that are about what a provider keeps: the pool, the target, or the sentence (B15a, B20a)."""

from typing import Any

import orjson
import pytest

from builders import a_config, a_pool, a_snapshot, a_target, the_pool
from modelpool_config.models import ClosedPool, Unresolved
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core import stateful
from modelpool_sidecar.core.access import Visitor
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Snapshot

HOST = ("host", "localhost")
TWO = [a_target("primary"), a_target("backup")]
KEEPS = {"target": "backup"}


def asked(method: str = "GET", path: str = "/v1/files", body: Any = None, **headers: str) -> Request:
    named = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = b"" if body is None else orjson.dumps(body)
    found = parsing.parse(method, path, (HOST, *named.items()), raw)
    assert isinstance(found, Request), found
    return found


def snapshot(**pools: dict[str, Any]) -> Snapshot:
    return a_snapshot([a_pool(name, targets=TWO, **changes) for name, changes in sorted(pools.items())])


NOBODY = Visitor(Register(), None, 0.0)
CLOSED = ClosedPool(name="shut", models=("shut",), code="no_target", message="nobody")
ONE = snapshot(chat={"stateful": KEEPS}, other={})
STAR = snapshot(chat={}, rest={"models": ("*",)})
SEVERAL = snapshot(a={"stateful": KEEPS}, b={"stateful": KEEPS})
WITH_CLOSED = compile_config(a_config([a_pool(targets=TWO, stateful=KEEPS)], closed=[CLOSED]))

# snapshot, headers, the pool or the code
PLACES: list[tuple[Snapshot, dict[str, str], str]] = [
    (ONE, {}, "chat"),
    (ONE, {"x_modelpool_pool": "other"}, "other"),
    (ONE, {"x_modelpool_pool": "nope"}, "unknown_pool"),
    (ONE, {"x_modelpool_model": "other"}, "other"),
    (ONE, {"x_modelpool_model": "nope"}, "model_not_found"),
    (ONE, {"x_modelpool_pool": "chat", "x_modelpool_model": "other"}, "chat"),
    (STAR, {}, "rest"),
    (SEVERAL, {}, "missing_pool"),
    (snapshot(chat={}), {}, "missing_pool"),
    (WITH_CLOSED, {"x_modelpool_pool": "shut"}, "shut"),
    (WITH_CLOSED, {}, "chat"),
]


@pytest.mark.parametrize(("held", "headers", "found"), PLACES, ids=range(len(PLACES)))
def test_the_pool_of_a_request_without_a_model(held: Snapshot, headers: dict[str, str], found: str) -> None:
    place = stateful.place(held, asked(**headers), NOBODY)
    assert (place.code if isinstance(place, Refusal) else place.name) == found


def test_the_refusal_names_the_header_and_what_there_is() -> None:
    refused = stateful.place(SEVERAL, asked(), NOBODY)
    assert isinstance(refused, Refusal)
    assert refused.message == (
        "/v1/files names no model, and 2 pools have stateful; name a pool in the header x-modelpool-pool"
    )
    assert refused.status == 400
    refused = stateful.place(ONE, asked(x_modelpool_pool="nope"), NOBODY)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.message) == (404, "x-modelpool-pool: no pool 'nope' here; there is chat, other")


CHAT = ("POST", "/v1/chat/completions")
RESPONSES = ("POST", "/v1/responses")
ASK = {"model": "chat", "input": "hi", "messages": []}
FILE = {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-a"}}]}
# method, path, more of the body, whether it must go to the stateful target
HOMES: list[tuple[str, str, dict[str, Any], bool]] = [
    (*CHAT, {}, False),
    (*CHAT, {"messages": [FILE]}, True),
    (*CHAT, {"messages": [{"role": "user", "content": 'say "file_id"'}]}, False),
    (*CHAT, {"messages": [{"role": "user", "file_id": None}]}, False),
    (*RESPONSES, {}, False),
    (*RESPONSES, {"store": True}, False),
    (*RESPONSES, {"previous_response_id": "resp_1"}, True),
    (*RESPONSES, {"previous_response_id": None}, False),
    (*RESPONSES, {"conversation": "conv_1"}, True),
    (*RESPONSES, {"conversation": {"id": "conv_1"}}, True),
    (*RESPONSES, {"background": True}, True),
    (*RESPONSES, {"background": False}, False),
    (*RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, True),
    (*RESPONSES, {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, False),
    (*RESPONSES, {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}]}, True),
    ("POST", "/v1/embeddings", {"file_id": "file-a"}, False),
    ("POST", "/v1/batches", {}, True),
]


@pytest.mark.parametrize(("method", "path", "more", "pinned"), HOMES, ids=range(len(HOMES)))
def test_what_names_an_id_goes_where_it_lives(method: str, path: str, more: dict[str, Any], pinned: bool) -> None:
    request = asked(method, path, {**ASK, **more})
    home = stateful.home(the_pool(ONE), request)
    assert home is (the_pool(ONE).targets["backup"] if pinned else None)
    if path != "/v1/batches":
        assert stateful.home(the_pool(ONE, "other"), request) is None, "where nobody says, ids are nobody's"


def test_a_pool_with_one_target_needs_no_stateful_and_one_with_several_says_so() -> None:
    alone = the_pool(a_snapshot())
    assert stateful.home(alone, asked()) is alone.targets["primary"]
    refused = stateful.home(the_pool(ONE, "other"), asked())
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (400, "no_stateful_target")
    assert "set stateful.target to one of primary, backup" in refused.message
    lost = (Unresolved(target="backup", reason="SecretNotFound", message="there is no Secret x"),)
    half = the_pool(a_snapshot([a_pool(unresolved=lost)]))
    assert isinstance(stateful.home(half, asked()), Refusal), "it may have been the other one"
    gone = the_pool(a_snapshot([a_pool(unresolved=lost, stateful=KEEPS)]))
    refused = stateful.home(gone, asked())
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (503, "no_target")
    assert refused.message.endswith("is left out: there is no Secret x")
    refused = stateful.home(the_pool(a_snapshot([a_pool(stateful=KEEPS)])), asked())
    assert isinstance(refused, Refusal)


def test_a_kept_response_goes_there_first_and_elsewhere_after_it() -> None:
    pool = the_pool(ONE)
    primary, backup = pool.targets["primary"], pool.targets["backup"]
    kept = asked(*RESPONSES, ASK)
    assert stateful.preferred(pool, kept, pool.tiers) == ((backup,), (primary,))
    assert stateful.preferred(pool, kept, ((primary,), (backup,))) == ((backup,), (primary,))
    assert stateful.preferred(pool, kept, ((primary,),)) == ((primary,),), "it cannot serve this one"
    assert stateful.preferred(pool, asked(*RESPONSES, {**ASK, "store": False}), pool.tiers) is pool.tiers
    other = the_pool(ONE, "other")
    assert stateful.preferred(other, kept, other.tiers) is other.tiers


# request, status, what it was, what it comes to
OUTCOMES: list[tuple[Request, int, Outcome, Outcome]] = [
    (asked("GET", "/v1/files/f"), 404, Outcome.UNSUPPORTED, Outcome.REJECTED),
    (asked("DELETE", "/v1/responses/r"), 410, Outcome.REJECTED, Outcome.REJECTED),
    (asked("POST", "/v1/batches/b/cancel"), 409, Outcome.FAILED, Outcome.REJECTED),
    (asked("GET", "/v1/files"), 404, Outcome.UNSUPPORTED, Outcome.UNSUPPORTED),
    (asked("GET", "/v1/files/f"), 503, Outcome.FAILED, Outcome.FAILED),
    (asked(*RESPONSES, {**ASK, "previous_response_id": "r"}), 404, Outcome.UNSUPPORTED, Outcome.REJECTED),
    (asked(*RESPONSES, ASK), 404, Outcome.UNSUPPORTED, Outcome.UNSUPPORTED),
    (asked(*CHAT, ASK), 409, Outcome.FAILED, Outcome.FAILED),
]


@pytest.mark.parametrize(("request_", "status", "was", "found"), OUTCOMES, ids=range(len(OUTCOMES)))
def test_an_id_that_is_not_there_is_the_clients(request_: Request, status: int, was: Outcome, found: Outcome) -> None:
    assert stateful.outcome(request_, status, was) is found


@pytest.mark.parametrize(
    ("more", "creates"),
    [({}, False), ({"background": True}, True), ({"conversation": "c"}, True), ({"previous_response_id": "r"}, False)],
)
def test_what_makes_something_is_told_from_what_only_answers(more: dict[str, Any], creates: bool) -> None:
    assert asked(*RESPONSES, {**ASK, **more}).ties.creates is creates
    assert asked(*CHAT, {**ASK, **more}).ties.creates is False


def test_paths_keep_their_ids_and_their_query() -> None:
    found = asked("GET", "/v1/conversations/conv_1/items/msg_2?after=x&stream=true")
    assert found.operation.route == "/v1/conversations/{id}/items/{item}"
    assert found.path == "/conversations/conv_1/items/msg_2"
    assert (found.query, found.stream, found.model_id) == ("after=x&stream=true", False, None)
    assert asked("GET", "/v1/responses/r?stream=true").stream
    assert asked("GET", "/v1/files", body={"a": 1}).body == b"", "nobody reads a body there"


@pytest.mark.parametrize(
    ("path", "body", "content_type", "code"),
    [
        ("/v1/batches", b"{", "application/json", "invalid_json"),
        ("/v1/batches", b"[]", "application/json", "invalid_body"),
        ("/v1/batches", b"{}", "text/plain", "unsupported_media_type"),
        ("/v1/files", b"{}", "application/json", "unsupported_media_type"),
        ("/v1/files", b"", "multipart/form-data; boundary=b", "invalid_body"),
    ],
)
def test_a_body_that_is_none_is_refused(path: str, body: bytes, content_type: str, code: str) -> None:
    refused = parsing.parse("POST", path, (HOST, ("content-type", content_type)), body)
    assert isinstance(refused, Refusal)
    assert refused.code == code


def test_an_upload_is_a_form_and_a_cancel_needs_no_body() -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--'
    found = parsing.parse("POST", "/v1/files", (HOST, ("content-type", "multipart/form-data; boundary=b")), form)
    assert isinstance(found, Request)
    assert (found.body, found.ties.creates) == (form, True)
    assert asked("POST", "/v1/batches/b/cancel").ties.creates is False
    refused = parsing.parse("GET", "/v1/files", (HOST, ("x-modelpool-model", "a\tb")), b"")
    assert isinstance(refused, Refusal)
    assert refused.code == "invalid_model"
