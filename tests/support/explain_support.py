"""A folder of manifests, and what `modelpool explain` says of it."""

from pathlib import Path

from modelpool_cli.__main__ import command

MANIFESTS = """\
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: big}
spec: {dialect: OpenAI, auth: {type: APIKey, apiKey: {secretRef: {name: openai, key: api-key}}}}
---
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: small}
spec:
  dialect: Fake
  models: [{name: tiny, capabilities: [Prefill]}]
  limits: {requests: [{name: account, max: 30, per: 1m}]}
---
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: resting}
spec: {dialect: Fake, traffic: Drained}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: chat}
spec:
  models: [{name: chat}, {name: "gpt-*"}]
  limits:
    requests: [{name: minute, max: 60, per: 1m, burst: 10}]
    concurrency: {max: 8, queue: {max: 4, timeout: 5s}}
  timeouts: {total: 90s}
  streaming: {headHold: 10s, recovery: [Continue, Replay]}
  hedging: {percentile: 95}
  cache: {mode: Exact}
  targets:
  - {name: big, providerRef: {name: big}, model: gpt-4o, weight: 70, limits: {requests: [{name: few, max: 5, per: 1m}]}}
  - {name: small, providerRef: {name: small}, model: tiny, weight: 30}
  - {name: spare, providerRef: {name: small}, priority: 1}
  - {name: resting, providerRef: {name: resting}, model: m, priority: 1}
  - {name: gone, providerRef: {name: nobody}}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: asleep}
spec:
  pinning: Denied
  targets: [{name: resting, providerRef: {name: resting}, model: m}]
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: shut}
spec:
  targets: [{name: gone, providerRef: {name: nobody}, model: m}]
"""
KEY = "sk-canary-0123456789"


def run(folder: Path, *words: str) -> int:
    secret = ["--secret", "openai/api-key=env:KEY"]
    return command(["explain", "-f", str(folder), *secret, *words], {"KEY": KEY}, "modelpool")
