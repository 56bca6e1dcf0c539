"""What is asked of a target in one attempt: its body, its headers, its deadline, and what counts as what."""

from functools import partial

from modelpool_sidecar.admitted import Admitted
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core import stateful
from modelpool_sidecar.core.dispatch import Try
from modelpool_sidecar.dialects import openai, openai_usage
from modelpool_sidecar.orders import Order, UsageAsked
from modelpool_sidecar.ports import Headers, UpstreamRequest
from modelpool_sidecar.recovering import Recovering

Asked = tuple[bytes, UsageAsked | None]
"""A body, and whether we added to it that the usage is to be told."""


class Ordering:
    """Of one admitted request."""

    def __init__(self, admitted: Admitted) -> None:
        self._of, self._request = admitted, admitted.request

    def body(self, step: Try, recovering: Recovering | None) -> Asked:
        """What is sent; `recovering`: what this attempt is to go on with, if anything."""
        if recovering is not None:
            return self._asking_usage(step, recovering.body)
        body = openai.attempt_body(self._request, self._of.account.model(step.target), step.target.parameters)
        return self._asking_usage(step, body)

    def order(self, step: Try, url: str, asked: Asked, propagated: Headers, recovering: Recovering | None) -> Order:
        """`asked`: the body; `propagated`: headers that carry the trace."""
        request, provider = self._request, step.target.provider
        body, usage = asked
        return Order(
            request=UpstreamRequest(
                method=request.operation.method,
                url=url,
                headers=openai.attempt_headers(request, provider, self._of.keyring.key, propagated),
                body=body,
                connect_timeout=provider.timeouts.connect,
            ),
            operation=request.operation,
            stream=request.stream,
            timeouts=provider.timeouts,
            deadline=self._of.walk.deadline if recovering is None else recovering.until,
            model_is_ours=step.target.model is not None,
            policy_is_fault=self._of.walk.policy_is_fault,
            requested_model=request.model if self._of.pool.rewrite_model else None,
            deadline_is_clients=self._of.hurried,
            outcome=partial(stateful.outcome, request),
            whole=request.stream and self._of.pool.streaming.complete,
            opens=self._of.opens,
            usage=usage,
            lease=self._of.lease,
            choices=parsing.choices(body) if self._counts_anew(step) else request.choices,
        )

    def _asking_usage(self, step: Try, body: bytes) -> Asked:
        """The body that asks for the stream's usage too, where the client did not and the target takes it (B32)."""
        key, state = step.target.key, self._of.services.state
        if state.unsupported(key, openai_usage.OPTION):
            return body, None
        if not openai_usage.may_ask(self._request, step.target.parameters):
            return body, None
        asking = openai_usage.asking(body)
        if asking is None:
            return body, None
        return asking, UsageAsked(body, partial(state.mark_unsupported, key, openai_usage.OPTION))

    def _counts_anew(self, step: Try) -> bool:
        """Whether the target's parameters may have changed how many answers are asked for."""
        return step.target.changes_choices and self._request.form is None and not self._request.operation.state
