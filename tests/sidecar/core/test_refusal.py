"""Our own answers: their codes, and what an SDK is told about repeating them (B42)."""

import pytest

from modelpool_sidecar.core.refusal import CODES, Refusal


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_status_of_an_error_and_a_type(code: str) -> None:
    refusal = Refusal(code, "because")
    assert 400 <= refusal.status < 600
    assert refusal.type.endswith("error")


@pytest.mark.parametrize(
    ("refusal", "headers"),
    [
        (Refusal("drained", "x"), ()),
        (Refusal("all_limited", "x", retry_after=0.2), (("retry-after", "1"),)),
        (Refusal("all_limited", "x", retry_after=59.5), (("retry-after", "60"),)),
        (Refusal("all_limited", "x", retry_after=61.0), (("retry-after", "60"), ("x-should-retry", "false"))),
        (Refusal("upstream_error", "x", spent=True), (("x-should-retry", "false"),)),
        (Refusal("method_not_allowed", "x", headers=(("allow", "GET"),)), (("allow", "GET"),)),
    ],
)
def test_a_client_may_repeat_on_its_own_only_after_a_short_wait(
    refusal: Refusal, headers: tuple[tuple[str, str], ...]
) -> None:
    assert refusal.all_headers == headers
