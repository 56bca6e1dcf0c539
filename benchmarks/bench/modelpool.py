"""modelpool's sidecar as a contender: one pool, two targets, a limit, metrics; with all limits, and with traces."""

import sys
from dataclasses import dataclass
from importlib.metadata import version

from bench.contenders import Launch, Place
from modelpool_config import codec
from modelpool_config.models import (
    SCHEMA_VERSION,
    Config,
    Connections,
    Fallback,
    Health,
    Limits,
    Pool,
    Provider,
    ProviderTimeouts,
    RequestLimit,
    RetryBudget,
    SameTarget,
    Target,
    TokenLimit,
)

TRACED_SHARE = "0.1"
"""Of the requests, as the targets say; the exporter sends to the fake upstream, which throws the spans away."""


_MOST = 1_000_000_000


def _requests(name: str, header: str | None = None) -> RequestLimit:
    by = "Pool" if header is None else "Header"
    return RequestLimit(name=name, max=_MOST, per=1_000, burst=_MOST, scope="Sidecar", by=by, header=header)


def _tokens(name: str) -> TokenLimit:
    return TokenLimit(name=name, max=_MOST, per=1_000, burst=_MOST, scope="Sidecar", count="Total")


def config(upstream: int, *, limited: bool = False) -> Config:
    """What the compiler makes of one provider and one pool with nothing set but the limit; no limit is ever reached.

    `limited`: with limits on requests and tokens at pool, targets and provider, two of them by header, and LowestUsage.
    """
    each = Limits(requests=(_requests("requests"),), tokens=(_tokens("tokens"),)) if limited else Limits()
    by_header = (_requests("host", "host"), _requests("kind", "content-type"))
    provider = Provider(
        name="provider",
        dialect="OpenAI",
        base_url=f"http://127.0.0.1:{upstream}/v1",
        auth=None,
        headers=(),
        forward_headers=(),
        response_headers=(),
        traffic="Normal",
        timeouts=ProviderTimeouts(connect=5_000, head=None, first_token=120_000, idle=120_000, attempt=None),
        health=Health(
            failures=5,
            min_requests=10,
            window=30_000,
            cooldown=5_000,
            max_cooldown=30_000,
            successes=2,
            ramp_up=10_000,
        ),
        connections=Connections(max_open=512, idle_timeout=60_000),
        trace_propagation="TraceContext",
        fake=None,
        limits=each,
    )
    pool = Pool(
        name="chat",
        models=("chat",),
        strategy="LowestUsage" if limited else "Weighted",
        targets=(
            Target(name="first", provider="provider", model="fake-model", weight=3, priority=0, limits=each),
            Target(name="second", provider="provider", model="fake-model-mini", weight=1, priority=0, limits=each),
        ),
        unresolved=(),
        fallback=Fallback(
            outcomes=(
                "Unreachable",
                "Failed",
                "RateLimited",
                "QuotaExhausted",
                "Denied",
                "Unsupported",
                "TimedOut",
                "Stalled",
                "Broken",
                "Empty",
                "LocalLimit",
            ),
            statuses=(),
            max_attempts=2,
            same_target=SameTarget(retries=None, initial=250, max=2_000, max_retry_after=0),
            retry_budget=RetryBudget(percent=20, min_per_second=3),
        ),
        limits=Limits(requests=(_requests("requests"), *by_header), tokens=each.tokens)
        if limited
        else Limits(requests=(_requests("requests"),)),
        total=600_000,
        last_resort="SoonestToRecover",
        pinning="Allowed",
        response_model="Served",
    )
    return Config(schema_version=SCHEMA_VERSION, namespace="benchmark", providers=(provider,), pools=(pool,), closed=())


@dataclass(frozen=True, slots=True)
class Modelpool:
    name: str = "modelpool"
    traced: bool = False
    limited: bool = False

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return version("modelpool")

    def prepare(self, place: Place) -> Launch:
        (place.folder / "config.json").write_bytes(codec.encode(config(place.upstream, limited=self.limited)))
        (place.folder / "credentials").mkdir()
        env = {
            "MODELPOOL_CONFIG_DIR": str(place.folder),
            "MODELPOOL_PORT": str(place.port),
            "MODELPOOL_DRAIN": "1s",
            **(self._exporter(place.upstream) if self.traced else {}),
        }
        return Launch((sys.executable, "-m", "modelpool_sidecar"), env)

    @staticmethod
    def _exporter(upstream: int) -> dict[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{upstream}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": TRACED_SHARE,
        }
