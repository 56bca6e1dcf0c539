"""What a folder of manifests comes to: the config of one namespace, its credentials, and every problem with its line.

All judgement is the operator's, by the same checks and the same compiler that run in the cluster. `Compiler` holds
what outlives an edit: the last accepted form of each object, which stays in force while an edit is refused (B47).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelpool_cli import advice, environment, manifests
from modelpool_cli.advice import Advice
from modelpool_cli.manifests import Loaded, Manifest, Place, Source
from modelpool_operator import resources
from modelpool_operator.api.meta import API_VERSION, DEFAULT_NAMESPACE
from modelpool_operator.desired import Desired, desired
from modelpool_operator.forms import Accepted, Form
from modelpool_operator.namespaces import Namespace
from modelpool_operator.problems import Problem
from modelpool_operator.resources import Observed

_LEADS_NOWHERE = ("ProviderNotFound", "SecretNotFound")
"""What is missing may stand in a file that could not be read."""

SecretValues = Mapping[tuple[str, str], bytes]
"""Values from outside the manifests, by the Secret's name and key."""


_READ = {**dict.fromkeys(resources.KINDS, API_VERSION), "Secret": "v1", "ConfigMap": "v1"}


class NamespaceError(Exception):
    """The manifests do not say which namespace is meant; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Told:
    """One thing wrong, where it stands, and the object where there is one. `about`: `Kind namespace/name`.

    `namespace` is empty where there is no object: that concerns everybody.
    """

    place: Place
    field: str
    message: str
    about: str = ""
    namespace: str = ""
    blocks: bool = True
    """Whether the object was refused; otherwise a reference of it is missing."""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`skipped`: manifests of kinds that are none of ours. `kept`: objects that run in their last accepted form."""

    observed: Observed
    desired: Desired
    loaded: Loaded
    problems: tuple[Told, ...]
    skipped: tuple[Told, ...]
    kept: tuple[str, ...]

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Where there is a Provider or a pool."""
        return tuple(sorted({key[1] for key in self.desired.verdicts}))

    @property
    def pool_file(self) -> str | None:
        """The file that holds the first pool."""
        numbers = [number for key, number in self.observed.documents.items() if key[0] == "ModelPool"]
        return self.loaded.manifests[min(numbers)].file if numbers else None

    def choose(self, wanted: str | None) -> str:
        """The namespace that is meant: the one that was asked for, or the only one there is."""
        there = self.namespaces
        if wanted is not None:
            if there and wanted not in there:
                raise NamespaceError(f"nothing is in namespace {wanted}; there is {', '.join(there)}")
            return wanted
        if len(there) > 1:
            raise NamespaceError(f"there are several namespaces: choose one with --namespace {' or '.join(there)}")
        return there[0] if there else DEFAULT_NAMESPACE

    def of(self, namespace: str) -> Namespace | None:
        """The config and the credentials of a namespace, None where no pool is left in it."""
        return self.desired.namespaces.get(namespace)


@dataclass(slots=True)
class Compiler:
    """Compiles again and again. `namespace`: where values from outside belong; None = everywhere."""

    namespace: str | None = None
    _accepted: Accepted = field(default_factory=dict)  # changed by keep
    _copied: dict[str, Mapping[str, str]] = field(default_factory=dict, repr=False)  # changed by keep

    def compile(self, sources: Sequence[Source], secrets: SecretValues | None = None) -> Outcome:
        """The outcome of these files. Objects that cannot be accepted keep their last accepted form."""
        loaded = manifests.load(sources)
        values = [manifest.value for manifest in loaded.manifests]
        observed = resources.observe(values, secrets=self._placed(secrets or {}, values))
        result = desired(observed, last_good=self._accepted, copied=self._copied)
        result = replace(result, namespaces=advice.of_disk(result.namespaces))
        kept = tuple(
            f"{kind} {name}" for (kind, _, name), verdict in result.verdicts.items() if verdict.form is Form.LAST_GOOD
        )
        problems = _problems(result, Advice(observed, loaded, (secrets or {}).keys()))
        return Outcome(observed, result, loaded, problems, _skipped(loaded, observed.skipped), kept)

    def keep(self, outcome: Outcome) -> None:
        """This is in force now: what later edits fall back to."""
        self._accepted = outcome.desired.accepted
        self._copied = {name: namespace.credentials for name, namespace in outcome.desired.namespaces.items()}

    def _placed(self, secrets: SecretValues, values: Sequence[object]) -> dict[tuple[str, str], dict[str, bytes]]:
        """Values from outside as Secrets of the namespaces that they may be meant for."""
        if not secrets:
            return {}
        there = {key[1] for key in resources.observe(values).documents} or {DEFAULT_NAMESPACE}
        placed: dict[tuple[str, str], dict[str, bytes]] = {}
        for (name, key), value in secrets.items():
            for space in [self.namespace] if self.namespace else sorted(there):
                placed.setdefault((space, name), {})[key] = value
        return placed


def _problems(result: Desired, helps: Advice) -> tuple[Told, ...]:
    faults = helps.loaded.faults
    told = [Told(fault.place, "", fault.message) for fault in faults]
    told += [_told(each, helps) for each in result.problems if not (faults and each.reason in _LEADS_NOWHERE)]
    return tuple(sorted(dict.fromkeys(told), key=lambda each: each.place))


def _told(problem: Problem, helps: Advice) -> Told:
    about = f"{problem.kind} {problem.namespace}/{problem.name}" if problem.name else ""
    manifest = None if problem.document is None else helps.loaded.manifests[problem.document]
    place = Place("", 0) if manifest is None else manifest.place(problem.path)
    message = helps.sentence(problem)
    if place.file == environment.SOURCE:
        place, message = environment.told(problem.field, message)
    namespace = problem.namespace if about else ""
    return Told(place, problem.field, message, about, namespace, problem.condition == "Accepted")


def _skipped(loaded: Loaded, indexes: Sequence[int]) -> tuple[Told, ...]:
    return tuple(_skip(loaded.manifests[index]) for index in indexes)


def _skip(manifest: Manifest) -> Told:
    kind, given = (manifest.value.get(name) for name in ("kind", "apiVersion"))
    ours = _READ.get(kind) if isinstance(kind, str) else None
    if ours is None:
        return Told(manifest.place(("kind",)), "kind", f"{manifest.title} is skipped: no kind that is read here")
    why = f"its apiVersion is {given}, and {ours} is read here"
    return Told(manifest.place(("apiVersion",)), "apiVersion", f"{manifest.title} is skipped: {why}")
