"""How server-side apply merges each list: by a name, as a set, or as a whole; a list that is not here has no schema."""

from typing import Any

BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
BY_TYPE: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
BY_WHEN: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["when"]}
SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
WHOLE: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}

PROVIDER: dict[str, dict[str, Any]] = {
    "spec.headers": BY_NAME,
    "spec.forwardHeaders": SET,
    "spec.responseHeaders": BY_NAME,
    "spec.operations": SET,
    "spec.models": BY_NAME,
    "spec.models[].capabilities": SET,
    "spec.fake.script": WHOLE,
    "spec.health.active.statuses": SET,
    "spec.limits.requests": BY_NAME,
    "spec.limits.tokens": BY_NAME,
    "status.conditions": BY_TYPE,
}
MODEL_POOL: dict[str, dict[str, Any]] = {
    "spec.models": BY_NAME,
    "spec.targets": BY_NAME,
    "spec.targets[].parameters": BY_NAME,
    "spec.parameters": BY_NAME,
    "spec.targets[].match.headers": BY_NAME,
    "spec.fallback.outcomes": SET,
    "spec.fallback.statuses": SET,
    "spec.fallback.pools": BY_WHEN,
    "spec.fallback.pools[].poolRefs": BY_NAME,
    "spec.streaming.recovery": WHOLE,
    "spec.limits.requests": BY_NAME,
    "spec.limits.tokens": BY_NAME,
    "spec.targets[].limits.requests": BY_NAME,
    "spec.targets[].limits.tokens": BY_NAME,
    "spec.callers.entries": BY_NAME,
    "spec.callers.entries[].limits.requests": BY_NAME,
    "spec.callers.entries[].limits.tokens": BY_NAME,
    "status.conditions": BY_TYPE,
    "status.targets": BY_NAME,
}
"""By the place of the list. In `statuses` 429 and "429" are one status and two entries: a rule compares them."""
