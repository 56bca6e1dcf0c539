"""One namespace: what its sidecars get, and what became of each of its objects.

A Provider that cannot be used leaves its targets out, with the reason (B47a). Nothing that is wrong with one object
stops another.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelpool_config import models as contract
from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.api.provider import Provider
from modelpool_operator.api.target import Target
from modelpool_operator.checks import callers as caller_keys
from modelpool_operator.checks import chains, credentials, names
from modelpool_operator.checks.behind import Behind, innermost_first
from modelpool_operator.checks.callers import CallerKeys
from modelpool_operator.checks.chains import Links
from modelpool_operator.checks.credentials import Keys
from modelpool_operator.checks.finding import Finding
from modelpool_operator.forms import Form, Judged
from modelpool_operator.problems import Key, Path, Problem, hint_at
from modelpool_operator.render import pool as pool_render
from modelpool_operator.render import provider as provider_render
from modelpool_operator.resources import Observed, with_document

_NOT_FOUND = ("ProviderNotFound", "ResolvedRefs")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one object. `unresolved`: the targets that a pool has to do without; `used`: some pool of the
    namespace sends requests to this Provider; `keyless`: the pool is for callers with a key, and there is none."""

    form: Form
    problems: tuple[Problem, ...] = ()
    unresolved: tuple[contract.Unresolved, ...] = ()
    used: bool = True
    keyless: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the object as it stands now was taken."""
        return not any(problem.condition == "Accepted" for problem in self.problems)

    @property
    def resolved(self) -> bool:
        """Whether everything that it names is there."""
        return not self.unresolved and not any(problem.condition == "ResolvedRefs" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Namespace:
    """What the sidecars of one namespace get. `credentials`: the content of each file, never shown."""

    config: contract.Config
    credentials: Mapping[str, str] = field(repr=False)


class Compiler:
    """One namespace."""

    def __init__(self, namespace: str, judged: Mapping[Key, Judged], observed: Observed, copied: Mapping[str, str]):
        self._namespace = namespace
        self._judged = judged
        self._documents = observed.documents
        self._elsewhere = {name: other for other, name in observed.providers if other != namespace}
        self._pools_elsewhere = {name: other for other, name in observed.pools if other != namespace}
        self._gather = functools.partial(
            caller_keys.gather, namespace, secrets=observed.secrets, copied=copied, unreadable=observed.unreadable
        )
        self._caller_keys: dict[str, CallerKeys] = {}
        self._providers = {
            entry.resource.metadata.name: entry.resource
            for entry in judged.values()
            if isinstance(entry.resource, Provider)
        }
        self._keys: dict[str, Keys] = {
            name: credentials.gather(provider, observed.secrets, copied, observed.unreadable)
            for name, provider in self._providers.items()
        }

    def compile(self) -> tuple[Namespace, dict[Key, Verdict]]:
        """The config with its credentials, and a verdict for each object."""
        running = {
            entry.resource.metadata.name: entry.resource
            for entry in self._judged.values()
            if isinstance(entry.resource, ModelPool)
        }
        closed = {
            key[2]: entry for key, entry in self._judged.items() if key[0] == "ModelPool" and entry.form is Form.NONE
        }
        claims = names.settle(running.values(), {name: entry.models for name, entry in closed.items()})
        pools: list[contract.Pool] = []
        shut = [_invalid_pool(name, claims.models[name], entry) for name, entry in closed.items()]
        verdicts: dict[Key, Verdict] = {}
        known = [key[2] for key in self._judged if key[0] == "ModelPool"]
        followed = chains.follow(self._namespace, running, known, self._pools_elsewhere)
        before = Behind({name: entry.problems[0].message for name, entry in closed.items()})
        for name in innermost_first(running, {name: links.left_out for name, links in followed.items()}):
            pool, links = running[name], followed[name]
            rendered, lost, unresolved = self._pool(pool, claims.models[name], links, before)
            before.add(rendered, unresolved)
            lost += links.problems
            keys = self._keys_of_callers(pool)
            if isinstance(rendered, contract.Pool):
                pools.append(rendered)
            else:
                shut.append(rendered)
            key = ("ModelPool", self._namespace, name)
            if keys is not None:
                lost = [*lost, *(each.problem(key) for each in (*keys.findings, *caller_keys.nameless(pool, keys)))]
            told = (*claims.problems[name], *lost)
            verdicts[key] = self._verdict(key, told, unresolved, keyless=keys is not None and keys.keyless)
        for name, entry in closed.items():
            if entry.written is not None:
                self._keys_of_callers(entry.written)  # its reason is for its callers alone
            key = ("ModelPool", self._namespace, name)
            verdicts[key] = self._verdict(key)
        used = {target.provider for pool in pools for target in pool.targets}
        verdicts.update(self._provider_verdicts(used))
        config = contract.Config(
            schema_version=contract.SCHEMA_VERSION,
            namespace=self._namespace,
            providers=tuple(provider_render.provider(self._providers[name]) for name in sorted(used)),
            pools=tuple(sorted(pools, key=lambda pool: pool.name)),
            closed=tuple(sorted(shut, key=lambda pool: pool.name)),
        )
        values = {file: value for name in sorted(used) for file, value in self._keys[name].values.items()}
        values |= {each.file: each.content for each in self._caller_keys.values() if each.content is not None}
        return Namespace(config, values), verdicts

    def _pool(
        self, pool: ModelPool, models: tuple[str, ...], links: Links, behind: Behind
    ) -> tuple[contract.Pool | contract.ClosedPool, list[Problem], tuple[contract.Unresolved, ...]]:
        """The pool as it can run, the problems of its references, and the targets that are left out."""
        targets: list[Target] = []
        problems: list[Problem] = []
        unresolved: list[contract.Unresolved] = []
        key = ("ModelPool", self._namespace, pool.metadata.name)
        own = sum(target.provider_ref is not None for target in pool.spec.targets)
        inner: list[str] = []
        for index, target in enumerate(pool.spec.targets):
            path: Path = ("spec", "targets", index)
            if target.pool_ref is not None:
                lost, problem = links.left_out.get(target.name), None
                if lost is None:
                    shut, problem = behind.why_not(target.pool_ref.name, behind.size(own, inner))
                    lost = None if shut is None else _left_out(target.name, shut.reason, shut.message)
                if problem is not None:
                    problems.append(Finding((*path, "poolRef", "name"), problem).problem(key))
                inner += [target.pool_ref.name] * (lost is None)
            else:
                assert target.provider_ref is not None, "it was judged"
                why = self._why_unresolved(target.provider_ref.name)
                lost = None if why is None else _left_out(target.name, *why)
                if lost is not None and lost.reason == "ProviderNotFound":
                    text = f"leads nowhere: {lost.message}"
                    problems.append(Finding((*path, "providerRef", "name"), text, *_NOT_FOUND).problem(key))
            if lost is None:
                targets.append(target)
            else:
                unresolved.append(lost)
        left_out = tuple(unresolved)
        if targets:
            reached = behind.size(len(targets) - len(inner), inner).targets
            return pool_render.pool(pool, models, tuple(targets), left_out, links.pools, reached), problems, left_out
        return _no_target(pool, models, left_out), problems, left_out

    def _keys_of_callers(self, pool: ModelPool) -> CallerKeys | None:
        """Of the Secret that the pool names, looked at once for all pools; None where it names none."""
        if pool.spec.callers is None:
            return None
        secret = pool.spec.callers.keys.secret_ref.name
        if secret not in self._caller_keys:
            self._caller_keys[secret] = self._gather(secret)
        return self._caller_keys[secret]

    def _why_unresolved(self, provider: str) -> tuple[str, str] | None:
        """Why targets at this Provider are left out, as reason and message; None where it can be asked."""
        if provider in self._providers:
            missing = self._keys[provider].missing
            return (missing[0].reason, f"Provider {provider}: {missing[0].message}") if missing else None
        entry = self._judged.get(("Provider", self._namespace, provider))
        if entry is not None:
            return "InvalidSpec", f"Provider {provider} was not accepted: {entry.problems[0].message}"
        known = [key[2] for key in self._judged if key[0] == "Provider"]
        hint = hint_at(provider, known, self._elsewhere, f"kubectl get mprov -n {self._namespace}")
        return "ProviderNotFound", f"there is no Provider {provider} in namespace {self._namespace}; {hint}"

    def _provider_verdicts(self, used: set[str]) -> dict[Key, Verdict]:
        verdicts: dict[Key, Verdict] = {}
        for key in self._judged:
            if key[0] == "Provider":
                found = self._keys[key[2]].problems if key[2] in self._keys else ()
                verdicts[key] = self._verdict(key, found, used=key[2] in used)
        return verdicts

    def _verdict(
        self,
        key: Key,
        more: Iterable[Problem] = (),
        unresolved: tuple[contract.Unresolved, ...] = (),
        *,
        used: bool = True,
        keyless: bool = False,
    ) -> Verdict:
        entry = self._judged[key]
        found = tuple(with_document(problem, self._documents) for problem in more)
        return Verdict(entry.form, (*entry.problems, *found), unresolved, used, keyless)


def _left_out(target: str, reason: str, message: str) -> contract.Unresolved:
    return contract.Unresolved(target=target, reason=reason, message=message)


def _invalid_pool(name: str, models: tuple[str, ...], entry: Judged) -> contract.ClosedPool:
    first, rest = entry.problems[0].message, len(entry.problems) - 1
    more = f" (and {rest} more)" if rest else ""
    message = f"it was not accepted: {first}{more}"
    callers = None if entry.written is None else pool_render.callers(entry.written)
    return contract.ClosedPool(name=name, models=models, code="invalid_pool", message=message, callers=callers)


def _no_target(
    pool: ModelPool, models: tuple[str, ...], unresolved: tuple[contract.Unresolved, ...]
) -> contract.ClosedPool:
    targets: dict[str, list[str]] = {}
    for entry in unresolved:
        targets.setdefault(entry.message, []).append(entry.target)
    reasons = "; ".join(f"{', '.join(each)}: {why}" for why, each in targets.items())
    message = f"no target can be used: {reasons}"
    return contract.ClosedPool(
        name=pool.metadata.name, models=models, code="no_target", message=message, callers=pool_render.callers(pool)
    )
