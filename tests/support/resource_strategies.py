"""Generated resources as users could write them: mostly good ones, with missing references, drained and shut ones."""

from typing import Any

from hypothesis import strategies as st

from manifest_cases import keyed, resource
from modelpool_operator import durations

PROVIDERS = ("openai", "azure", "local", "fake", "gone")
SECRETS = ("openai", "other")

_names = st.sampled_from(["a", "b", "c", "gpt-4o", "x.y_z"])
_headers = st.sampled_from(["x-a", "X-B", "x-team", "openai-organization"])


def _time(least: int, most: int = 86_400_000) -> st.SearchStrategy[str]:
    return st.integers(least, most).map(durations.render)


def _part(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


_ref = st.fixed_dictionaries({"name": st.sampled_from(SECRETS), "key": st.sampled_from(["api-key", "second"])})
_auth = st.one_of(
    st.just({"type": "None"}),
    st.builds(
        lambda name, more: keyed(name, **more),
        st.sampled_from(SECRETS),
        _part(header=st.sampled_from(["api-key", "Authorization"]), prefix=st.sampled_from(["", "Token "])),
    ),
)
_header = st.one_of(
    st.fixed_dictionaries({"name": _headers, "value": st.sampled_from(["a", "b c"])}),
    st.fixed_dictionaries({"name": _headers, "secretRef": _ref}),
)
_step = _part(
    status=st.integers(200, 599),
    error=st.just("insufficient_quota"),
    firstToken=_time(0),
    tokensPerSecond=st.integers(1, 1000),
    tokens=st.integers(0, 100),
    fault=st.sampled_from(["Cut", "Stall"]),
)
_ending_step = st.one_of(
    st.builds(lambda step, n: {**step, "requests": n}, _step, st.integers(1, 9)),
    st.builds(lambda step, t: {**step, "for": t}, _step, _time(1)),
)
_common = {
    "auth": _auth,
    "headers": st.lists(_header, max_size=3, unique_by=lambda header: header["name"].lower()),
    "forwardHeaders": st.lists(_headers, max_size=3, unique_by=str.lower),
    "responseHeaders": st.lists(
        st.fixed_dictionaries({"name": _headers, "value": st.just("1")}), max_size=2, unique_by=lambda h: h["name"]
    ),
    "traffic": st.sampled_from(["Normal", "Drained"]),
    "timeouts": _part(connect=_time(1), head=_time(1), firstToken=_time(1), idle=_time(1), attempt=_time(1)),
    "health": _part(
        failures=st.integers(1, 100),
        minRequests=st.integers(1, 100),
        window=_time(1000),
        cooldown=_time(1),
        maxCooldown=_time(1),
        successes=st.integers(1, 10),
        rampUp=_time(0),
        active=st.fixed_dictionaries(
            {"path": st.sampled_from(["/health", "/v1/models"])},
            optional={
                "period": _time(1000),
                "timeout": _time(1, 3_600_000),
                "statuses": st.lists(st.sampled_from(["200", "2xx", "404"]), min_size=1, max_size=3, unique=True),
            },
        ),
    ),
    "connections": _part(maxOpen=st.integers(1, 1000), idleTimeout=_time(1)),
    "operations": st.lists(
        st.sampled_from(["Chat", "Completions", "Embeddings", "Responses", "Images", "Files"]), min_size=1, unique=True
    ),
    "models": st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from(["gpt-4o", "llama", "chat"])},
            optional={
                "contextTokens": st.integers(1, 10**9),
                "maxOutputTokens": st.integers(1, 10**9),
                "capabilities": st.lists(st.sampled_from(["Tools", "Vision", "Prefill", "Embeddings"]), unique=True),
                "prefill": st.sampled_from(["Message", "Prefix", "Partial", "ContinueFinal"]),
                "prices": st.fixed_dictionaries(
                    {"inputPerMillion": st.sampled_from(["0", "0.15", "999999999.123456789"])},
                    optional={
                        "cachedInputPerMillion": st.just("0.075"),
                        "outputPerMillion": st.sampled_from(["0.6", "10"]),
                    },
                ),
            },
        ),
        max_size=3,
        unique_by=lambda model: model["name"],
    ),
    "quotaDomain": st.sampled_from(["openai-team", "a"]),
    "tracePropagation": st.sampled_from(["None", "TraceContext"]),
}
_fake = st.builds(
    lambda steps, last: {"script": [*steps, *last]},
    st.lists(_ending_step, max_size=3),
    st.lists(_step, max_size=1),
)
_urls = st.sampled_from(["https://api.example.com/v1", "http://vllm:8000/v1/", "http://10.0.0.1/v1", "http://a.com/v1"])


def _spec(dialect: str, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"dialect": st.just(dialect)}, optional={**_common, **more})


_limit = st.fixed_dictionaries(
    {"name": _names, "max": st.integers(1, 1000), "per": _time(1000)},
    optional={
        "burst": st.integers(1, 1000),
        "scope": st.sampled_from(["Sidecar", "Divided"]),
        "mode": st.sampled_from(["Enforce", "Observe"]),
        "by": st.sampled_from(["Pool", "Namespace"]),
    },
)
_by_header = st.builds(lambda limit: {**limit, "by": "Header", "header": "X-Tenant"}, _limit)
_request_limits = st.lists(_limit | _by_header, max_size=3, unique_by=lambda limit: limit["name"])
_token_limits = st.lists(
    st.builds(
        lambda limit, count: {**limit, **count}, _limit, _part(count=st.sampled_from(["Total", "Input", "Output"]))
    ),
    max_size=2,
    unique_by=lambda limit: limit["name"],
)
_at_once = st.fixed_dictionaries({"max": st.integers(1, 100)})
_adaptive = st.builds(lambda cap, mode: {**cap, **mode}, _at_once, _part(mode=st.sampled_from(["Fixed", "Adaptive"])))
_attempt_limits = _part(requests=_request_limits, tokens=_token_limits, concurrency=_adaptive)
providers = st.builds(
    lambda name, spec: resource("Provider", name, spec),
    st.sampled_from(PROVIDERS),
    st.one_of(
        _spec("OpenAI", baseURL=_urls, limits=_attempt_limits), _spec("Fake", fake=_fake, limits=_attempt_limits)
    ),
)

_parameters = st.lists(
    st.one_of(
        st.fixed_dictionaries({"name": st.sampled_from(["user", "n", "top_p"]), "action": st.just("Remove")}),
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["max_tokens", "temperature", "n", "user"]),
                "action": st.sampled_from(["Default", "Set", "Max"]),
                "value": st.sampled_from(["0.2", " -1e3\n", "9" * 400, "1e999"]),
            }
        ),
        st.fixed_dictionaries(
            {
                "name": st.just("reasoning_effort"),
                "action": st.sampled_from(["Default", "Set"]),
                "value": st.sampled_from(['"low"', '{"a": ["\\ud83d"]}', "null"]),
            }
        ),
    ),
    max_size=3,
    unique_by=lambda parameter: parameter["name"],
)
_of_a_target = {
    "weight": st.integers(0, 100),
    "priority": st.integers(0, 3),
    "parameters": _parameters,
    "limits": _attempt_limits,
    "match": st.fixed_dictionaries(
        {
            "headers": st.lists(
                st.fixed_dictionaries({"name": _headers, "value": st.sampled_from(["a", "b c"])}),
                min_size=1,
                max_size=2,
                unique_by=lambda header: header["name"].lower(),
            )
        }
    ),
}
_target = st.one_of(
    st.fixed_dictionaries(
        {"name": _names, "providerRef": st.sampled_from(PROVIDERS).map(lambda name: {"name": name})},
        optional={"model": st.sampled_from(["gpt-4o", "llama"]), **_of_a_target},
    ),
    st.fixed_dictionaries(
        {"name": _names, "poolRef": st.sampled_from(["chat", "code", "gone"]).map(lambda name: {"name": name})},
        optional={**_of_a_target, "limits": _part(requests=_request_limits, tokens=_token_limits)},
    ),
)
_plain = st.sampled_from(["Weighted", "RoundRobin", "LeastRequests", "LowestLatency", "LowestCost", "LowestUsage"])
_hash = st.sampled_from([{"by": "Prompt"}, {"by": "Header", "header": "X-Session"}])
_strategy = st.one_of(
    st.builds(lambda kind: {"type": kind}, _plain),
    st.builds(lambda hashed: {"type": "ConsistentHash", "consistentHash": hashed}, _hash),
)
_outcomes = st.sampled_from(["Unreachable", "Failed", "RateLimited", "ContentPolicy", "LocalLimit", "Empty"])
_callers = st.fixed_dictionaries(
    {"keys": st.sampled_from(SECRETS).map(lambda name: {"secretRef": {"name": name}})},
    optional={
        "entries": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["alice", "bob"])},
                optional={
                    "limits": _part(requests=st.just([{"name": "m", "max": 3, "per": "1m"}]), concurrency=_at_once)
                },
            ),
            max_size=2,
            unique_by=lambda entry: entry["name"],
        )
    },
)
_onward = st.fixed_dictionaries(
    {
        "when": st.sampled_from(["RateLimited", "ContextLength", "ContentPolicy", "General"]),
        "poolRefs": st.lists(
            st.sampled_from(["chat", "code", "gone"]).map(lambda name: {"name": name}),
            min_size=1,
            max_size=2,
            unique_by=lambda ref: ref["name"],
        ),
    }
)
pools = st.builds(
    lambda name, spec: resource("ModelPool", name, spec),
    st.sampled_from(["chat", "code", "a"]),
    st.fixed_dictionaries(
        {"targets": st.lists(_target, min_size=1, max_size=5, unique_by=lambda target: target["name"])},
        optional={
            "models": st.lists(
                st.sampled_from(["chat", "a", "a*", "gpt-*", "*", "ünï-☃"]).map(lambda name: {"name": name}),
                min_size=1,
                max_size=4,
                unique_by=lambda model: model["name"],
            ),
            "strategy": _strategy,
            "fallback": _part(
                outcomes=st.lists(_outcomes, max_size=4, unique=True),
                statuses=st.lists(st.sampled_from([429, "50x", "5xx", "404"]), max_size=3, unique=True),
                maxAttempts=st.integers(1, 10),
                sameTarget=_part(
                    retries=st.integers(0, 3),
                    backoff=_part(initial=_time(0, 3_600_000), max=_time(0, 3_600_000)),
                    maxRetryAfter=_time(0, 3_600_000),
                ),
                retryBudget=_part(percent=st.integers(0, 100), minPerSecond=st.integers(0, 10)),
                pools=st.lists(_onward, max_size=2, unique_by=lambda rule: rule["when"]),
            ),
            "limits": _part(
                requests=_request_limits,
                tokens=_token_limits,
                concurrency=st.fixed_dictionaries(
                    {"max": st.integers(1, 100)},
                    optional={
                        "mode": st.just("Fixed"),
                        "queue": st.fixed_dictionaries(
                            {"max": st.integers(0, 100)}, optional={"timeout": _time(1, 3_600_000)}
                        ),
                    },
                ),
            ),
            "parameters": _parameters,
            "timeouts": _part(total=_time(1)),
            "lastResort": st.sampled_from(["SoonestToRecover", "Refuse"]),
            "pinning": st.sampled_from(["Allowed", "Denied"]),
            "streaming": _part(
                commit=st.sampled_from(["FirstToken", "Complete"]),
                headHold=st.sampled_from(["0s", "15s", "10m"]),
                keepAlive=st.sampled_from(["100ms", "15s", "10m"]),
                recovery=st.lists(st.sampled_from(["Continue", "Replay"]), unique=True),
            ),
            "hedging": st.one_of(
                st.fixed_dictionaries(
                    {"percentile": st.integers(50, 99)}, optional={"maxPercent": st.integers(1, 100)}
                ),
                st.fixed_dictionaries({"delay": _time(1, 3_600_000)}, optional={"maxPercent": st.integers(1, 100)}),
            ),
            "cache": st.fixed_dictionaries(
                {"mode": st.sampled_from(["None", "Exact"])},
                optional={
                    "ttl": _time(1_000, 604_800_000),
                    "maxEntries": st.integers(1, 1_000_000),
                    "maxBytes": st.integers(65_536, 134_217_728),
                    "temperature": st.sampled_from(["Zero", "Any"]),
                },
            ),
            "callers": _callers,
            "response": _part(model=st.sampled_from(["Served", "Requested"])),
        },
    ),
)

secrets = st.builds(
    lambda name, data: {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": data,
    },
    st.sampled_from(SECRETS),
    _part(
        **{
            "api-key": st.sampled_from(["sk-1", "sk-2\n", "bad\x00key"]),
            "second": st.just("s"),
            "alice": st.just("k" * 32),
        }
    ),
)

worlds = st.lists(st.one_of(providers, providers, pools, pools, secrets), max_size=12)
"""What may lie in a folder or in a namespace, in any order, with duplicates."""
