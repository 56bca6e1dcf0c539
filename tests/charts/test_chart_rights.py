"""Who may do what: the operator, the pod of `helm test`, and people. What no table names is denied."""

import time
from collections.abc import Iterable, Iterator
from itertools import product

import pytest
import yaml

import chart_support
from chart_support import CHART, Reviews, Right
from controlplane import ControlPlane
from controlplane_running import running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("charts")]

NAME = "modelpool-operator"
OWN, WATCHED, OTHER = "modelpool-system", "team-a", "team-b"
NARROW_OWN = "narrow-system"
OURS = "modelpool.dev"


def _operator(own: str, watched: tuple[str, ...] | None) -> list[Right]:
    """docs/install.md has this table in words."""
    return [
        Right(OURS, "providers", "get list watch", namespaces=watched),
        Right(OURS, "modelpools", "get list watch", namespaces=watched),
        Right(OURS, "providers/status", "patch", namespaces=watched),
        Right(OURS, "modelpools/status", "patch", namespaces=watched),
        Right("", "secrets", "get list watch", namespaces=watched),
        Right("", "secrets", "create patch", ("modelpool-credentials",), watched),
        Right("", "configmaps", "get list watch create patch", ("modelpool-config",), watched),
        Right("", "pods", "list watch", namespaces=watched),
        Right("events.k8s.io", "events", "create", namespaces=watched),
        Right("coordination.k8s.io", "leases", "get update", (NAME,), (own,)),
        Right("coordination.k8s.io", "leases", "create", namespaces=(own,)),
    ]


CLUSTER = [
    *_operator(OWN, None),
    Right("", "namespaces", "list watch"),
    Right("apiextensions.k8s.io", "customresourcedefinitions", "list watch"),
]
NARROW = _operator(NARROW_OWN, (WATCHED,))


def _selftest(own: str) -> list[Right]:
    return [
        Right(OURS, "providers", "create patch", ("modelpool-selftest",), (own,)),
        Right(OURS, "modelpools", "create patch", ("modelpool-selftest",), (own,)),
        Right("coordination.k8s.io", "leases", "get", (NAME,), (own,)),
    ]


ACCOUNTS = {
    f"{OWN}/{NAME}": CLUSTER,
    f"{OWN}/modelpool-selftest": _selftest(OWN),
    f"{NARROW_OWN}/{NAME}": NARROW,
    f"{NARROW_OWN}/modelpool-selftest": _selftest(NARROW_OWN),
}

READ, CHANGE = "get list watch", "create update patch delete deletecollection"
PEOPLE = {
    "view": [Right(OURS, kind, READ, namespaces=(WATCHED,)) for kind in ("providers", "modelpools")],
    "edit": [Right(OURS, kind, f"{READ} {CHANGE}", namespaces=(WATCHED,)) for kind in ("providers", "modelpools")],
    "admin": [Right(OURS, kind, f"{READ} {CHANGE}", namespaces=(WATCHED,)) for kind in ("providers", "modelpools")],
}

VERBS = f"{READ} {CHANGE}".split()
RESOURCES = {
    OURS: "providers modelpools providers/status modelpools/status modelpools/finalizers",
    "": "secrets configmaps pods pods/exec pods/log events namespaces nodes serviceaccounts serviceaccounts/token",
    "apps": "deployments",
    "events.k8s.io": "events",
    "coordination.k8s.io": "leases",
    "apiextensions.k8s.io": "customresourcedefinitions",
    "rbac.authorization.k8s.io": "rolebindings clusterroles clusterrolebindings",
    "admissionregistration.k8s.io": "mutatingwebhookconfigurations",
}


def _attempts(namespaces: Iterable[str]) -> Iterator[tuple[str, str, str, str, str]]:
    """Group, resource, verb, namespace, name: with and without the names that some table has for the resource."""
    tables = [right for table in ACCOUNTS.values() for right in table]
    for group, resources in RESOURCES.items():
        for resource in resources.split():
            named = {
                name for right in tables if (right.group, right.resource) == (group, resource) for name in right.names
            }
            for verb, namespace, name in product(VERBS, namespaces, ["", "somebody-elses", *sorted(named)]):
                yield group, resource, verb, namespace, name


@pytest.fixture(scope="module")
def own_controlplane() -> Iterator[ControlPlane]:
    """Two releases: `modelpool` watches everything, `modelpool` in narrow-system one namespace alone."""
    for plane in running():
        for name in (OWN, NARROW_OWN, WATCHED, OTHER):
            plane.kubectl("create", "namespace", name).ok()
        narrow = ["--set=crds.enabled=false", f"--set=watchNamespaces={{{WATCHED}}}"]
        for own, options in ((OWN, []), (NARROW_OWN, narrow)):
            plane.helm("install", "modelpool", str(CHART), "--namespace", own, *options).ok()
            rendered = chart_support.rendered(plane, *options, "--show-only=templates/tests/selftest.yaml")
            account = [each for each in rendered if each["kind"] != "Pod"]
            text = yaml.safe_dump_all(account).replace(f"namespace: {OWN}", f"namespace: {own}")
            plane.kubectl("apply", "-f", "-", input=text).ok()
        plane.kubectl("create", "serviceaccount", "nobody", "-n", OWN).ok()
        yield plane


@pytest.fixture(scope="module")
def reviews(own_controlplane: ControlPlane) -> Iterator[Reviews]:
    """Who may do what there."""
    asking = Reviews(own_controlplane)
    yield asking
    asking.close()


def _of(account: str) -> str:
    return f"system:serviceaccount:{account.replace('/', ':')}"


@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_account_may_do_what_its_table_says_and_is_denied_everything_else(account: str, reviews: Reviews) -> None:
    table = ACCOUNTS[account]
    wrong = []
    for attempt in _attempts(["", OWN, NARROW_OWN, WATCHED, OTHER]):
        wanted = any(right.permits(*attempt) for right in table)
        if reviews.allows(_of(account), *attempt) != wanted:
            wrong.append((*attempt, "should be" if wanted else "is allowed"))
    assert wrong == []


@pytest.mark.parametrize("namespace", [OWN, NARROW_OWN, WATCHED, OTHER, "kube-system"])
@pytest.mark.parametrize("account", ACCOUNTS)
def test_the_server_knows_of_no_other_right(
    account: str, namespace: str, reviews: Reviews, own_controlplane: ControlPlane
) -> None:
    everybody = reviews.rules(own_controlplane.token(OWN, "nobody"), namespace)
    found = reviews.rules(own_controlplane.token(*account.split("/")), namespace) - everybody
    assert found == {
        (right.group, right.resource, verb, name)
        for right in ACCOUNTS[account]
        if right.namespaces is None or namespace in right.namespaces
        for verb in right.verbs.split()
        for name in right.names or ("",)
    }


def test_a_release_for_some_namespaces_has_no_right_that_is_cluster_wide(own_controlplane: ControlPlane) -> None:
    options = ["--set=crds.enabled=false", f"--set=watchNamespaces={{{WATCHED},{OTHER}}}"]
    rendered = chart_support.rendered(own_controlplane, *options)
    assert {each["kind"] for each in rendered if each["kind"].startswith("Cluster")} == set()
    assert all(each["metadata"]["namespace"] for each in rendered)
    roles = [each["metadata"]["namespace"] for each in rendered if each["kind"] == "Role"]
    assert sorted(roles) == [OWN, OWN, WATCHED, OTHER]


@pytest.mark.parametrize("role", PEOPLE)
def test_who_may_edit_a_namespace_may_edit_its_pools_but_no_status(
    role: str, reviews: Reviews, own_controlplane: ControlPlane
) -> None:
    user = f"{role}er"
    bind = ["create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}", "-n", WATCHED]
    own_controlplane.kubectl(*bind).ok()
    deadline = time.monotonic() + 60
    while not reviews.allows(user, OURS, "providers", "get", WATCHED, ""):
        assert time.monotonic() < deadline, "the cluster's roles have not taken ours in"
        time.sleep(0.05)
    wrong = []
    for resource, verb, namespace in product(RESOURCES[OURS].split(), VERBS, ["", WATCHED, OTHER]):
        wanted = any(right.permits(OURS, resource, verb, namespace, "") for right in PEOPLE[role])
        if reviews.allows(user, OURS, resource, verb, namespace, "") != wanted:
            wrong.append((resource, verb, namespace, "should be" if wanted else "is allowed"))
    assert wrong == []


def _apply(plane: ControlPlane, token: str, namespace: str, plural: str, kind: str, name: str) -> int:
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{namespace}/{plural}/{name}?fieldManager=modelpool&force=true"
    return plane.request("PATCH", path, body, token=token, content_type="application/apply-patch+yaml").status


def test_the_operator_makes_its_two_objects_by_applying_them_and_no_others(own_controlplane: ControlPlane) -> None:
    plane, token = own_controlplane, own_controlplane.token(OWN, NAME)
    assert _apply(plane, token, OTHER, "configmaps", "ConfigMap", "modelpool-config") == 201
    assert _apply(plane, token, OTHER, "configmaps", "ConfigMap", "modelpool-config") == 200
    assert _apply(plane, token, OTHER, "secrets", "Secret", "modelpool-credentials") == 201
    assert _apply(plane, token, OTHER, "configmaps", "ConfigMap", "theirs") == 403
    assert _apply(plane, token, OTHER, "secrets", "Secret", "theirs") == 403
    for plural, name in (("configmaps", "modelpool-config"), ("secrets", "modelpool-credentials")):
        path = f"/api/v1/namespaces/{OTHER}/{plural}"
        assert plane.request("POST", path, {"metadata": {"name": name}}, token=token).status == 403
        assert plane.request("DELETE", f"{path}/{name}", token=token).status == 403


@pytest.mark.parametrize(
    ("account", "where", "status"),
    [
        (f"{OWN}/{NAME}", "", 200),
        (f"{OWN}/{NAME}", f"namespaces/{OTHER}/", 200),
        (f"{NARROW_OWN}/{NAME}", f"namespaces/{WATCHED}/", 200),
        (f"{NARROW_OWN}/{NAME}", f"namespaces/{OTHER}/", 403),
        (f"{NARROW_OWN}/{NAME}", "", 403),
    ],
)
def test_the_operator_lists_and_watches_its_own_configmaps_and_sees_no_others(
    account: str, where: str, status: int, own_controlplane: ControlPlane
) -> None:
    plane, token = own_controlplane, own_controlplane.token(*account.split("/"))
    path, chosen = f"/api/v1/{where}configmaps", "fieldSelector=metadata.name%3Dmodelpool-config"
    assert plane.request("GET", f"{path}?{chosen}", token=token).status == status
    assert plane.request("GET", f"{path}?{chosen}&watch=true&timeoutSeconds=1", token=token).status == status
    assert plane.request("GET", path, token=token).status == 403
    other = chosen.replace("modelpool-config", "kube-root-ca.crt")
    assert plane.request("GET", f"{path}?{other}", token=token).status == 403
