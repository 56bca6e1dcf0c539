"""The keys of a pool's callers: what the Secret may hold, what is said of the rest, what sidecars get (B43, B47a)."""

from typing import Any

import pytest

from manifest_cases import keyed, pool, provider, secret
from modelpool_config import callerkeys, codec
from modelpool_config import models as contract
from modelpool_operator.checks import callers
from modelpool_operator.desired import Desired, desired
from modelpool_operator.problems import Key
from modelpool_operator.resources import observe

ALICE, BOB = "a" * 32, "sk-canary-0123456789"
FILE = callers.file_name("default", "team-keys")
CHAT: Key = ("ModelPool", "default", "chat")
NAMES = {"keys": {"secretRef": {"name": "team-keys"}}}


def _run(*manifests: Any, copied: dict[str, str] | None = None, **more: Any) -> Desired:
    return desired(observe([provider(), pool(callers=NAMES), *manifests]), copied={"default": copied or {}}, **more)


def _said(result: Desired, key: Key = CHAT) -> list[tuple[str, str]]:
    return [(problem.reason, problem.message) for problem in result.verdicts[key].problems]


def _keys(result: Desired) -> dict[str, bytes]:
    return callerkeys.decode(result.namespaces["default"].credentials.get(FILE, ""))


def test_each_entry_is_a_key_and_its_name_the_caller() -> None:
    result = _run(secret("team-keys", alice=ALICE, bob=f"{BOB}\n"))
    assert _keys(result) == {"alice": callerkeys.digest(ALICE), "bob": callerkeys.digest(BOB)}
    assert result.problems == ()
    assert not result.verdicts[CHAT].keyless
    [rendered] = result.namespaces["default"].config.pools
    assert rendered.callers == contract.Callers(keys=FILE, source="Secret team-keys")


def test_the_keys_themselves_are_nowhere_in_what_is_published() -> None:
    result = _run(secret("team-keys", alice=ALICE, bob=BOB))
    made = result.namespaces["default"]
    published = codec.encode(made.config).decode() + repr(dict(made.credentials)) + repr(result)
    assert ALICE not in published
    assert BOB not in published


def test_a_sidecar_that_does_not_know_callers_closes_the_pool_instead_of_opening_it() -> None:
    config = _run(secret("team-keys", alice=ALICE)).namespaces["default"].config
    older = codec.decode(codec.encode(config), features=contract.FEATURES - {"callers"})
    assert older.pools == ()
    [closed] = older.closed
    assert (closed.code, closed.callers) == ("sidecar_too_old", contract.Callers(keys=FILE, source="Secret team-keys"))


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("k" * 15, "is too short: a key has at least 16 characters, as openssl rand -hex 24 makes them"),
        ("k" * 1025, "is too long: a key has at most 1024 characters"),
        (
            "k" * 20 + " x",
            "has characters that no key can have: visible ASCII without spaces is what clients can send",
        ),
        (
            "k" * 20 + "\n\n",
            "has characters that no key can have: visible ASCII without spaces is what clients can send",
        ),
        ("ü" * 20, "has characters that no key can have: visible ASCII without spaces is what clients can send"),
        (BOB, 'is the same key as that of "bob", which keeps it'),
    ],
)
def test_a_bad_entry_is_named_without_its_value_and_stops_no_other(stored: str, why: str) -> None:
    result = _run(secret("team-keys", bob=BOB, carol=stored))
    assert set(_keys(result)) == {"bob"}
    message = f'callers.keys.secretRef names the Secret "team-keys", whose entry "carol" {why}; '
    assert _said(result) == [("InvalidCredential", f"{message}kubectl edit secret team-keys -n default")]
    assert not result.verdicts[CHAT].keyless
    assert not result.verdicts[CHAT].resolved


def test_a_name_that_no_secret_can_have_is_nobodys() -> None:
    result = _run(secret("team-keys", **{"al\nice": ALICE}))
    assert _keys(result) == {}
    assert result.verdicts[CHAT].keyless
    assert 'whose entry "al\\nice" has a name that no Secret\'s entry can have' in _said(result)[0][1]


def test_a_secret_that_was_never_there_opens_the_pool_to_nobody() -> None:
    """Fail closed: the pool stays one for callers, and no file of keys is there."""
    result = _run()
    assert FILE not in result.namespaces["default"].credentials
    assert result.namespaces["default"].config.pools[0].callers is not None
    assert result.verdicts[CHAT].keyless
    message = (
        'callers.keys.secretRef names the Secret "team-keys", which is not in namespace default; '
        "nobody may use the pool; kubectl create secret generic team-keys -n default --from-literal=CALLER=YOUR_KEY"
    )
    assert _said(result) == [("SecretNotFound", message)]


def test_a_secret_that_went_missing_keeps_the_last_copied_keys() -> None:
    before = callerkeys.encode({"alice": callerkeys.digest(ALICE)})
    result = _run(copied={FILE: before})
    assert result.namespaces["default"].credentials[FILE] == before
    assert not result.verdicts[CHAT].keyless
    [(reason, message)] = _said(result)
    assert reason == "SecretNotFound"
    assert "the last copied keys stay in force" in message


def test_an_entry_that_was_taken_out_is_gone_although_it_was_copied() -> None:
    before = callerkeys.encode({"alice": callerkeys.digest(ALICE)})
    result = _run(secret("team-keys"), copied={FILE: before})
    assert _keys(result) == {}
    assert result.verdicts[CHAT].keyless
    assert "which has no entry: nobody may use the pool" in _said(result)[0][1]


def test_a_secret_that_cannot_be_read_yet_is_pending() -> None:
    gathered = callers.gather("default", "team-keys", {}, {}, {("default", "team-keys"): "forbidden"})
    assert gathered.keyless
    [finding] = gathered.findings
    assert (finding.reason, finding.condition) == ("CredentialPending", "ResolvedRefs")
    assert finding.text.endswith("could not be read yet: forbidden; nobody may use the pool")


def test_a_pool_without_a_target_and_one_that_was_refused_stay_for_their_callers() -> None:
    """B43: not even their reasons are for everybody."""
    keys = secret("team-keys", alice=ALICE)
    lost = [{"name": "a", "providerRef": {"name": "nobody"}}]
    wrong = [{"name": "a", "providerRef": {"name": "openai"}, "weight": 0}]
    observed = observe([provider(), pool(callers=NAMES, targets=lost), pool("bad", callers=NAMES, targets=wrong), keys])
    made = desired(observed).namespaces["default"]
    assert [(each.code, each.callers is not None) for each in made.config.closed] == [
        ("invalid_pool", True),
        ("no_target", True),
    ]
    assert FILE in made.credentials


def test_two_pools_may_share_a_secret_and_its_file_meets_no_credential() -> None:
    shared = [pool("other", callers=NAMES), provider("keyed", auth=keyed("team-keys", "callers"))]
    result = _run(secret("team-keys", alice=ALICE, callers=BOB), *shared)
    assert set(result.namespaces["default"].credentials) == {FILE}
    assert _said(result) == _said(result, ("ModelPool", "default", "other")) == []


def test_a_caller_with_limits_and_without_a_key_is_named() -> None:
    entries = [{"name": "alice"}, {"name": "carol", "limits": {"requests": []}}, {"name": "bobb"}, {"name": "short"}]
    spec = {**NAMES, "entries": entries}
    observed = observe([provider(), pool(callers=spec), secret("team-keys", alice=ALICE, bob=BOB, short="bad")])
    result = desired(observed)
    said = [message for _, message in _said(result) if message.startswith("callers.entries")]
    assert said == [
        'callers.entries[1].name is "carol", which has no key in the Secret "team-keys"',
        'callers.entries[2].name is "bobb", which has no key in the Secret "team-keys"; did you mean bob?',
    ]
    assert not result.verdicts[CHAT].keyless
    without = desired(observe([provider(), pool(callers=spec)]))
    assert [reason for reason, _ in _said(without)] == ["SecretNotFound"], "one word about the Secret is enough"


def test_limits_of_a_caller_stand_in_the_config_with_every_default() -> None:
    own = {"requests": [{"name": "minute", "max": 60, "per": "1m"}], "concurrency": {"max": 4}}
    spec = {**NAMES, "entries": [{"name": "alice", "limits": own}, {"name": "bob"}]}
    made = desired(observe([provider(), pool(callers=spec), secret("team-keys", alice=ALICE, bob=BOB)]))
    found = made.namespaces["default"].config.pools[0].callers
    assert found is not None
    assert [(entry.name, [limit.name for limit in entry.limits.requests]) for entry in found.entries] == [
        ("alice", ["minute"]),
        ("bob", []),
    ]
    assert found.entries[0].limits.requests[0].model_dump() == {
        "name": "minute",
        "max": 60,
        "per": 60_000,
        "burst": 60,
        "scope": "Divided",
        "by": "Pool",
        "header": None,
        "mode": "Enforce",
    }
    assert found.entries[0].limits.concurrency == contract.Concurrency(max=4, queue=None)
    assert made.namespaces["default"].config.pools[0].requires == ("callers", "concurrency")
