"""How the failure of an attempt is put for the walk, and what of it is kept to be told (B21, B30)."""

from dataclasses import replace

from modelpool_sidecar.core import retryafter, verdict
from modelpool_sidecar.core.dispatch import Try
from modelpool_sidecar.core.verdict import Failure
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.keyring import Keyring
from modelpool_sidecar.orders import Fault


def failure(step: Try, fault: Fault, keyring: Keyring, wall: float) -> Failure:
    """Of the attempt at that step. `wall`: the time of day, for a Retry-After that is a date."""
    provider = step.target.provider
    failed = Failure(
        target=step.name,
        provider=provider.name,
        outcome=fault.outcome,
        detail=fault.detail,
        status=fault.status,
        headers=fault.headers,
        body=fault.body,
        whole=fault.whole,
        retry_after=retryafter.parse(fault.headers, wall, openai.retry_delay(fault.body)),
        other_credential=keyring.has_other(provider.auth, fault.status),
        credential=provider.auth.source if provider.auth else "",
        blameless=fault.blameless,
        unsent=fault.unsent,
    )
    return failed if verdict.may_be_told(failed) else replace(failed, body=b"")
