"""Snapshots for a walk of two targets."""

from typing import Any

from builders import a_config, a_pool, a_provider, a_snapshot, a_target, an_api_key
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.snapshot import Snapshot


def two(**changes: Any) -> Snapshot:
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **changes)])


def keyed(*providers: str, **changes: Any) -> Snapshot:
    """Each provider has a key of its own, `key-NAME`."""
    config = a_config(
        [a_pool(targets=[a_target(name, priority=index) for index, name in enumerate(providers)], **changes)],
        [a_provider(name, auth=an_api_key(f"key-{name}")) for name in providers],
    )
    return compile_config(config, credential_digest=lambda name: name)
