"""Answers with a status: what each means for the request and for the provider (B17, B19, B21)."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from conformance.faults import HTML, answers, said
from conformance.rows import Blame, Row
from conformance.seen import ON, WELL
from conformance.turns import JSON, Fault, Turn


def _endless(status: int, declared: bool) -> Fault:
    """A body that never ends."""

    async def play(turn: Turn) -> None:
        more = (("content-length", "100000"),) if declared else ()
        turn.head(status, (JSON, *more), "length" if declared else "chunked")
        await turn.part(b'{"error": {"message": "w')
        await turn.stall()

    return Fault(play)


def _large(status: int) -> Fault:
    return answers(status, json.dumps({"error": {**said("e"), "message": "w" * 300_000}}).encode())


def _in_front(head: bytes) -> Fault:
    """An informational answer, then the true one."""

    async def play(turn: Turn) -> None:
        turn.wire.send(head)
        await turn.well()

    return Fault(play)


async def _switches(turn: Turn) -> None:
    turn.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nconnection: upgrade\r\n\r\n")
    await turn.stall()


def _row(name: str, seen: str, fault: Fault, blame: Blame = "counts", **more: Any) -> Row:
    more.setdefault("group", "Statuses")
    return Row(name, whole=seen, stream=seen, primary=fault, blame=blame, **more)


async def _hints_forever(turn: Turn) -> None:
    while not turn.wire.gone.is_set():
        turn.wire.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await asyncio.sleep(0.1)


RETRY_INFO = {
    "code": 429,
    "message": "words",
    "status": "RESOURCE_EXHAUSTED",
    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.9s"}],
}
DATE = ("date", "Thu, 26 Nov 2026 16:00:00 GMT")

ROWS: Sequence[Row] = (
    _row("400, the client's fault", "400 bad, 1 ask", answers(400, said("bad")), "none"),
    _row(
        "400, the context is too long",
        "400 context_length_exceeded, 1 ask",
        answers(400, said("context_length_exceeded")),
        "none",
    ),
    _row(
        "400, against the content policy",
        "400 content_policy_violation, 1 ask",
        answers(400, said("content_policy_violation")),
        "none",
    ),
    _row(
        "400 whose body never ends",
        "400 upstream_error, 1 ask",
        _endless(400, True),
        "none",
        pool={"total": 8_000},
        more=1,
    ),
    _row("401", ON, answers(401, said("invalid_api_key")), "long"),
    _row("402", ON, answers(402, said(None)), "long"),
    _row("403", ON, answers(403, said("forbidden")), "long"),
    _row("404, the model is unknown", ON, answers(404, said("model_not_found")), "long"),
    _row(
        "404, the path is unknown",
        ON,
        answers(404, b"not found", ("content-type", "text/plain")),
        "none",
        remembered=True,
    ),
    _row("405", ON, answers(405), "none", remembered=True),
    _row("408", ON, answers(408, said(None))),
    _row("409", ON, answers(409, said(None)), "none"),
    _row("413, too large", "413 too_big, 1 ask", answers(413, said("too_big")), "none"),
    _row("413 that means a rate", ON, answers(413, said("rate_limit_exceeded")), "cools"),
    _row("415", ON, answers(415, said(None)), "none", remembered=True),
    _row("422", "422 invalid, 1 ask", answers(422, said("invalid")), "none"),
    _row("425", ON, answers(425, said(None)), "none"),
    _row("500", ON, answers(500, said("server_error"))),
    _row("500 without a body", ON, answers(500)),
    _row("500 with 300 KB of body", ON, _large(500)),
    _row("500 whose body never ends, with a length", ON, _endless(500, True)),
    _row("500 whose body never ends, chunked", ON, _endless(500, False)),
    _row(
        "500 that means the context is too long",
        "500 exceed_context_size_error, 1 ask",
        answers(500, {**said(None), "type": "exceed_context_size_error"}),
        "none",
    ),
    _row("418", "418 teapot, 1 ask", answers(418, said("teapot")), "none"),
    _row("498", ON, answers(498, said(None))),
    _row("499", ON, answers(499, said(None))),
    _row("501", ON, answers(501, said(None)), "none", remembered=True),
    _row("502 with a page of HTML", ON, answers(502, b"<html>bad gateway</html>", HTML)),
    _row("503", ON, answers(503, said("overloaded"))),
    _row("503 with Retry-After: 1", ON, answers(503, said(None), ("retry-after", "1"))),
    _row("504", ON, answers(504, b"", HTML)),
    _row("524", ON, answers(524, b"", HTML)),
    _row("529", ON, answers(529, said("overloaded_error"))),
    _row("301 to another place", ON, answers(301, b"", ("location", "/v1/chat/completions")), "none", remembered=True),
    _row("307 to another place", ON, answers(307, b"", ("location", "/v1/chat/completions")), "none", remembered=True),
    _row("100 first", WELL, _in_front(b"HTTP/1.1 100 Continue\r\n\r\n"), "none"),
    _row("103 first", WELL, _in_front(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"), "none"),
    _row("103 again and again, and nothing else", ON, Fault(_hints_forever)),
    _row("101", ON, Fault(_switches)),
    _row("204", ON, Fault(lambda turn: turn.whole(204, b""))),
    *(
        _row(f"429{name}", ON, answers(429, said(code), *headers), blame, group="Rate limits")
        for name, code, headers, blame in (
            ("", None, (), "cools"),
            (" with Retry-After: 1", "rate_limit_exceeded", (("retry-after", "1"),), "cools"),
            (" with Retry-After: 0", None, (("retry-after", "0"),), "none"),
            (" with a fraction", None, (("retry-after", "0.9"),), "cools"),
            (" with retry-after-ms", None, (("retry-after-ms", "900"), ("retry-after", "60")), "cools"),
            (" with a date", None, (DATE, ("retry-after", "Thu, 26 Nov 2026 16:00:01 GMT")), "cools"),
            (" with a date in the past", None, (DATE, ("retry-after", "Thu, 26 Nov 2026 15:00:00 GMT")), "none"),
            (" with a Retry-After that is no time", None, (("retry-after", "soon"),), "cools"),
            (" with a negative Retry-After", None, (("retry-after", "-5"),), "none"),
            (" without JSON", None, (HTML,), "cools"),
        )
    ),
    _row("429 with a RetryInfo", ON, answers(429, RETRY_INFO), "cools", group="Rate limits"),
    _row(
        "429 with Retry-After: 3600", ON, answers(429, said(None), ("retry-after", "3600")), "long", group="Rate limits"
    ),
    _row("429, the quota is used up", ON, answers(429, said("insufficient_quota")), "long", group="Rate limits"),
    _row("429 whose body never ends", ON, _endless(429, False), "cools", group="Rate limits"),
)
