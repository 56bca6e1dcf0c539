"""What `kubectl apply` refuses by the CRDs: every mistake that they can see, in the words that are said on disk.

The server is a model of it (`crd_server`): structure, lists and CEL; the real one judges the same table elsewhere.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crd_server import Refusal, refusals
from manifest_cases import keyed, pool, provider, secret, table
from modelpool_operator.checks import headers, urls
from modelpool_operator.crds import definition
from modelpool_operator.desired import desired
from modelpool_operator.problems import Problem
from modelpool_operator.resources import observe
from resource_strategies import pools, providers
from url_strategies import URLS

ROOT = Path(__file__).parents[2]
CASES = table(Path(__file__).with_name("bad_manifests.yaml"))
NAMES = [case["says"][0][:70] for case in CASES]
calm = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

DIFFERENTLY = {
    "streaming.recovery must not name a way twice": "streaming.recovery[1]",
    "strategy.consistentHash must be set where strategy.type is ConsistentHash": "strategy.consistentHash is required",
    "strategy.consistentHash must not be set where strategy.type is not ConsistentHash": (
        "strategy.consistentHash does nothing where strategy.type is not ConsistentHash"
    ),
    "strategy.consistentHash.header must be set where by is Header": "strategy.consistentHash.header is required",
    "strategy.consistentHash.header must not be set where by is not Header": (
        "strategy.consistentHash.header does nothing where by is not Header"
    ),
    "limits.requests[0].header must be set where by is Header": "limits.requests[0].header is required",
    "limits.requests[1].header must not be set where by is not Header": "limits.requests[1].header does nothing",
    "limits.requests[0].header must not be set where by is not Header": "limits.requests[0].header does nothing",
    "targets[0].limits.tokens[0].header must not be set where by is not Header": (
        "targets[0].limits.tokens[0].header does nothing"
    ),
    "targets[0].limits.requests[0].header must be set where by is Header": (
        "targets[0].limits.requests[0].header is required"
    ),
    "targets[0].match.headers must not name a header twice; names are compared without case": (
        "targets[0].match.headers[1].name"
    ),
    "auth.apiKey must be set where auth.type is APIKey": "auth.apiKey is required where auth.type is APIKey",
    "auth.apiKey must not be set where auth.type is None; set type: APIKey": "auth.apiKey does nothing where auth.type",
    "baseURL must not be set with dialect Fake, which the sidecar plays itself": "baseURL does nothing with dialect",
    "baseURL must be https: a key would go in the clear to the public host": "baseURL must be https",
    "fake must not be set where dialect is not Fake": "fake does nothing with dialect",
    "fake.script must have requests or for in every step but the last: without an end, the steps after it never come": (
        "fake.script[0] must have requests or for"
    ),
    "fallback.sameTarget.retries must be below maxAttempts, which counts the first attempt too": (
        "fallback.sameTarget.retries must be below maxAttempts"
    ),
    "headers must not name a header twice; names are compared without case": "headers[1].name",
    "headers must not hold the header which carries the key of auth": "headers[0].name must not be",
    "forwardHeaders must not name a header twice; names are compared without case": "forwardHeaders[3]",
    "forwardHeaders must not hold the header which carries the key of auth": "forwardHeaders[0] must not be",
    "forwardHeaders must hold whole names of headers; there are no patterns": "forwardHeaders[1] must be the whole",
    'fallback.statuses must not name a status twice; 429 and "429" are the same': "fallback.statuses[2]",
}
"""Rules that cannot say what is said on disk: they know no index, no number and no part of a value, and begin with
`must`. Beside each, how the sentence on disk begins."""


def _ours(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of a case that have a CRD."""
    if "provider" in case:
        return [provider(**case["provider"])]
    if "pool" in case:
        return [pool(**case["pool"])]
    manifests = [manifest for manifest in case["manifests"] if isinstance(manifest, dict)]
    version, kinds = "modelpool.dev/v1alpha1", ("Provider", "ModelPool")
    return [m for m in manifests if m.get("apiVersion") == version and m.get("kind") in kinds]


def _sentence(refusal: Refusal) -> str:
    return f"{refusal.place.removeprefix('spec.')} {refusal.message}"


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_table_says_who_refuses_a_mistake(case: dict[str, Any]) -> None:
    said = [refusal for manifest in _ours(case) for refusal in refusals(manifest)]
    by = {refusal.by for refusal in said}
    assert by == ({case["where"]} if case["where"] in ("schema", "rule") else set())


def test_nearly_every_mistake_in_a_spec_is_refused_at_apply() -> None:
    late = [case for case in CASES if "manifests" not in case and case["where"] == "operator"]
    said = [sentence for case in late for sentence in case["says"]]
    assert said[0] == "baseURL must not point to a link-local address: 64:ff9b::a9fe:a9fe"
    known = r"parameters\[0\]\.value must be (JSON|a number)|by must not be Caller in a pool without callers"
    assert all(re.search(known, sentence) for sentence in said[1:])


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_refusal_names_the_field_that_is_named_on_disk(case: dict[str, Any]) -> None:
    on_disk = [sentence.split(" ")[0] for sentence in case["says"]]
    for refusal in (refusal for manifest in _ours(case) for refusal in refusals(manifest)):
        places = (refusal.place, refusal.place.removeprefix("spec."))
        assert any(place.startswith(field.partition("[")[0]) for field in on_disk for place in places), refusal


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_rule_speaks_as_the_check_on_disk_does(case: dict[str, Any]) -> None:
    if case["where"] != "rule":
        return
    for refusal in (refusal for manifest in _ours(case) for refusal in refusals(manifest)):
        said = DIFFERENTLY.get(_sentence(refusal), _sentence(refusal)).replace(
            "must not be set with fault", "does nothing with fault"
        )
        assert any(sentence.startswith(said) for sentence in case["says"]), refusal


def test_every_rule_that_speaks_differently_is_met_in_the_table() -> None:
    said = {_sentence(refusal) for case in CASES for manifest in _ours(case) for refusal in refusals(manifest)}
    assert said >= DIFFERENTLY.keys()


def test_one_mistake_is_said_once() -> None:
    for case in CASES:
        for manifest in _ours(case):
            said = [(refusal.place, refusal.message) for refusal in refusals(manifest)]
            assert len(said) == len(set(said))
            if case["where"] == "rule":
                assert len(said) <= len(case["says"])


def test_no_refusal_repeats_what_may_be_a_secret() -> None:
    key = "sk-Live_0123 456"
    quiet = [
        provider(baseURL=f"https://{key}@api.example.com/v1"),
        provider(auth=keyed(name=key)),
        provider(auth=keyed(key=key)),
        provider(auth=keyed(header=key)),
        provider(auth=keyed(prefix=f"{key}\n")),
        provider(headers=[{"name": key, "value": "a"}]),
        provider(headers=[{"name": "x-a", "value": f"{key}\n"}]),
        provider(responseHeaders=[{"name": key, "value": "a"}]),
        provider(forwardHeaders=[key]),
    ]
    for manifest in quiet:
        said = refusals(manifest)
        assert [refusal.by for refusal in said] == ["rule"]
        assert key not in str(said)
        value: Any = manifest
        for part in re.findall(r"[^.\[\]]+", _stands_on(manifest, said[0])):
            value = value[int(part)] if part.isdigit() else value[part]
        assert isinstance(value, (dict, list)), "the server prints a string that a rule stands on"


def _stands_on(manifest: dict[str, Any], refusal: Refusal) -> str:
    """The place of the rule that said it: without its fieldPath."""
    schema: Any = definition.render(definition.PROVIDER)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    place = ""
    for part in [*re.findall(r"[^.\[\]]+", refusal.place), ""]:
        for rule in schema.get("x-kubernetes-validations", []):
            if rule["message"] == refusal.message and f"{place}{rule.get('fieldPath', '')}" == refusal.place:
                return place
        if part:
            schema = schema["items"] if part.isdigit() else schema["properties"][part]
            place = f"{place}[{part}]" if part.isdigit() else f"{place}.{part}".lstrip(".")
    raise AssertionError(refusal)


def _at_fault(manifest: dict[str, Any]) -> list[Problem]:
    """What is said on disk about one object alone."""
    found = desired(observe([provider(), manifest, secret(api_key="k")])).problems
    return [problem for problem in found if problem.condition == "Accepted" and problem.reason == "InvalidSpec"]


@calm
@given(st.one_of(providers, pools))
def test_what_is_refused_at_apply_is_what_is_refused_on_disk(manifest: dict[str, Any]) -> None:
    manifest["metadata"]["name"] = "another"
    assert bool(refusals(manifest)) == bool(_at_fault(manifest))


def _says(url: str, **spec: Any) -> list[str]:
    return [refusal.message for refusal in refusals(provider(baseURL=url, **spec))]


@settings(calm, max_examples=600)
@given(URLS)
def test_a_base_url_that_is_refused_at_apply_is_refused_on_disk_for_the_same_reason(url: str) -> None:
    said = _says(url)
    judged = urls.judge(url)
    if said:
        assert len(said) == 1
        assert (judged or "").startswith(said[0])


@settings(calm, max_examples=600)
@given(URLS)
def test_a_base_url_with_a_key_is_refused_at_apply_only_where_it_is_on_disk(url: str) -> None:
    if _says(url, auth=keyed()):
        assert _at_fault(provider("another", baseURL=url, auth=keyed()))


@pytest.mark.parametrize(
    "url", ["https://api.openai.com/v1", "http://[::1]:8000/v1", "HTTP://Vllm.Team.SVC./v1/", "http://a"]
)
def test_a_good_base_url_is_taken(url: str) -> None:
    assert _says(url, auth=keyed()) == []


@pytest.mark.parametrize("name", sorted(headers.KNOWN | {f"{beginning}y" for beginning in headers.BEGINNINGS}))
@pytest.mark.parametrize(
    ("why", "spec"),
    [
        (headers.why_not_sent, lambda name: {"headers": [{"name": name, "secretRef": {"name": "a", "key": "b"}}]}),
        (headers.why_not_sent, lambda name: {"auth": keyed(header=name)}),
        (headers.why_not_forwarded, lambda name: {"forwardHeaders": [name]}),
        (headers.why_not_added, lambda name: {"responseHeaders": [{"name": name, "value": "a"}]}),
    ],
)
def test_a_header_that_is_taken_is_refused_with_the_reason(why: Any, spec: Any, name: str) -> None:
    for spelled in (name, name.title()):
        reason = why(spelled)
        said = [refusal.message for refusal in refusals(provider(**spec(spelled)))]
        assert said == ([f"must not be {spelled}, which {reason}"] if reason else [])
        assert refusals(provider(**spec(f"a{spelled}"))) == []
        assert refusals(provider(**spec(f"{spelled}a"))) == [] or spelled.lower().startswith(headers.BEGINNINGS)


@pytest.mark.parametrize(
    "status", [*range(298, 302), *range(598, 602), "300", "599", "600", "3xx", "60x", "5XX", "5xx5", ""]
)
def test_a_status_is_taken_at_apply_where_it_is_on_disk(status: int | str) -> None:
    case = pool("another", fallback={"statuses": [status]})
    assert bool(refusals(case)) == bool(_at_fault(case))


@pytest.mark.parametrize(
    "character", ["a", "é", "☃", "\x01", "\x1c", " ", "\x7f", "\x85", "\xa0", "\u2003", "\u3000", "\u200b"]
)
def test_a_space_in_a_model_name_is_the_same_at_apply_as_on_disk(character: str) -> None:
    case = pool("another", models=[{"name": f"a{character}b"}])
    assert bool(refusals(case)) == bool(_at_fault(case))


EXAMPLES = [
    path
    for folder in ("examples", "docs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and path.suffix not in {".svg", ".png"}  # a picture is no example
]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_taken(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if path.suffix == ".md" else [text]
    for manifest in [manifest for block in blocks for manifest in yaml.safe_load_all(block)]:
        if isinstance(manifest, dict) and str(manifest.get("apiVersion", "")).startswith("modelpool.dev/"):
            assert refusals(manifest) == []
