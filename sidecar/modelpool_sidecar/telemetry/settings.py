"""Whether and where traces are sent: the OTEL_* variables, read once.

Variables that mean nothing here are not read. A value that cannot be used is told in a sentence and then what it says
is left aside: wrong telemetry settings never stop a sidecar.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from modelpool_sidecar.telemetry import names

DELAY_MILLISECONDS = 1500
"""Half a minute of queue is what a pod that is evicted may lose; the SDK's own default is 5 s."""
TIMEOUT_MILLISECONDS = 3000
"""A collector that does not answer must not hold the end of the process; the specification's default is 10 s."""
QUEUE = 2048
BATCH = 512

SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)
COMPRESSIONS = ("none", "gzip", "deflate")
_RATIO = "traceidratio"


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Everything that the exporter needs. Times in milliseconds, as the variables are. Headers may hold a key."""

    endpoint: str
    headers: str = field(default="", repr=False)
    timeout_ms: int = TIMEOUT_MILLISECONDS
    compression: str = "none"
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    sampler: str = "parentbased_always_on"
    ratio: float = 1.0
    resource: Mapping[str, str] = field(default_factory=dict)
    delay_ms: int = DELAY_MILLISECONDS
    queue: int = QUEUE
    batch: int = BATCH


@dataclass(frozen=True, slots=True)
class Read:
    """What the variables say. `traces` None: no spans are made. `problems`: sentences for the log."""

    traces: TraceSettings | None
    problems: tuple[str, ...]


def read(env: Mapping[str, str]) -> Read:
    """The settings of traces in these variables."""
    problems: list[str] = []
    if not _wanted(env, problems):
        return Read(None, tuple(problems))
    endpoint = _endpoint(env)
    if not _is_http(endpoint):
        problems.append(f"the OTLP endpoint {endpoint!r} is not an http or https URL: no traces are exported")
        return Read(None, tuple(problems))
    protocol = _otlp(env, "PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf":
        problems.append(
            f"OTEL_EXPORTER_OTLP_PROTOCOL {protocol!r} is not supported, only 'http/protobuf' (port 4318 of a"
            " collector) is: no traces are exported"
        )
        return Read(None, tuple(problems))
    compression = (_otlp(env, "COMPRESSION") or "none").lower()
    if compression not in COMPRESSIONS:
        problems.append(f"OTEL_EXPORTER_OTLP_COMPRESSION {compression!r} is none of {', '.join(COMPRESSIONS)}")
        compression = "none"
    sampler, ratio = _sampler(env, problems)
    queue = _count(env, "OTEL_BSP_MAX_QUEUE_SIZE", QUEUE, problems)
    batch = _count(env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(BATCH, queue), problems)
    if batch > queue:
        problems.append(f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE {batch} is more than the queue holds ({queue})")
        batch = queue
    timeout_name = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"
    if not env.get(timeout_name):
        timeout_name = "OTEL_EXPORTER_OTLP_TIMEOUT"
    traces = TraceSettings(
        endpoint=endpoint,
        headers=_otlp(env, "HEADERS"),
        timeout_ms=_count(env, timeout_name, TIMEOUT_MILLISECONDS, problems),
        compression=compression,
        certificate=_otlp(env, "CERTIFICATE") or None,
        client_certificate=_otlp(env, "CLIENT_CERTIFICATE") or None,
        client_key=_otlp(env, "CLIENT_KEY") or None,
        sampler=sampler,
        ratio=ratio,
        resource=_resource(env, problems),
        delay_ms=_count(env, "OTEL_BSP_SCHEDULE_DELAY", DELAY_MILLISECONDS, problems),
        queue=queue,
        batch=batch,
    )
    return Read(traces, tuple(problems))


def _wanted(env: Mapping[str, str], problems: list[str]) -> bool:
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or not _endpoint(env):
        return False
    exporters = [name.strip() for name in env.get("OTEL_TRACES_EXPORTER", "").split(",") if name.strip()] or ["otlp"]
    problems.extend(
        f"OTEL_TRACES_EXPORTER {name!r} is not supported, only 'otlp' and 'none' are"
        for name in exporters
        if name not in ("otlp", "none")
    )
    return "otlp" in exporters and "none" not in exporters


def _otlp(env: Mapping[str, str], name: str) -> str:
    """The variable of traces, else that of all signals."""
    return (env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}") or "").strip()


def _endpoint(env: Mapping[str, str]) -> str:
    own = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    base = env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    return own or (f"{base.rstrip('/')}/v1/traces" if base else "")


def _is_http(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _sampler(env: Mapping[str, str], problems: list[str]) -> tuple[str, float]:
    name = env.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    if name not in SAMPLERS:
        problems.append(f"OTEL_TRACES_SAMPLER {name!r} is none of {', '.join(SAMPLERS)}: parentbased_always_on is used")
        name = "parentbased_always_on"
    raw = env.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if not raw or not name.endswith(_RATIO):
        return name, 1.0
    try:
        ratio = float(raw)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        problems.append(f"OTEL_TRACES_SAMPLER_ARG {raw!r} is not a number from 0 to 1: 1 is used")
        ratio = 1.0
    return name, ratio


def _count(env: Mapping[str, str], name: str, default: int, problems: list[str]) -> int:
    raw = env.get(name, "").strip()
    if not raw:
        return default
    if raw.isascii() and raw.isdigit() and 0 < int(raw[:10]) <= 2**31:
        return int(raw[:10])
    problems.append(f"{name} {raw!r} is not a positive whole number: {default} is used")
    return default


def _resource(env: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The resource's attributes: the service's name by its own variable, else by the list, else ours."""
    resource = {"service.name": names.SERVICE_NAME}
    for item in env.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, equals, value = item.partition("=")
        if key.strip() and equals:
            resource[key.strip()] = unquote(value.strip())
        elif item.strip():
            problems.append(f"OTEL_RESOURCE_ATTRIBUTES holds {item.strip()!r}, which is not KEY=VALUE")
    name = env.get("OTEL_SERVICE_NAME", "").strip()
    return {**resource, "service.name": name} if name else resource
