"""Requests and providers as the tests of the wire side need them."""

import json
from typing import Any

from modelpool_sidecar.core import request
from modelpool_sidecar.core.request import Headers, Request
from modelpool_sidecar.core.snapshot import HealthSettings, Provider, Secret, Timeouts

HOST = ("host", "127.0.0.1:4891")
JSON = ("content-type", "application/json")


def post(body: bytes | dict[str, Any], *headers: tuple[str, str], path: str = "/v1/chat/completions") -> Request:
    """A request that must be fine."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    parsed = request.parse("POST", path, (HOST, JSON, *headers), raw)
    assert isinstance(parsed, Request), parsed
    return parsed


def provider(
    *,
    auth: Secret | None = None,
    headers: Headers = (),
    secret_headers: tuple[Secret, ...] = (),
    forward: frozenset[str] = frozenset(),
    response_headers: Headers = (),
    trace_context: bool = False,
) -> Provider:
    return Provider(
        name="openai",
        dialect="OpenAI",
        base_url="https://api.openai.com/v1",
        host="api.openai.com",
        port=443,
        auth=auth,
        headers=headers,
        secret_headers=secret_headers,
        forward_headers=forward,
        response_headers=response_headers,
        drained=False,
        timeouts=Timeouts(5, None, 120, 120, None),
        health=HealthSettings(5, 10, 30, 5, 30, 2, 10),
        max_open=512,
        idle_timeout=60,
        trace_context=trace_context,
    )
