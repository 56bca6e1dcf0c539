"""What the operator gets from its environment at the start."""

import pytest

from modelpool_operator import paths
from modelpool_operator.settings import Instance, Settings, SettingsError


def test_an_empty_environment_is_enough() -> None:
    settings = Settings.from_env({})
    assert str(settings.instance) == "modelpool-system/modelpool"
    assert settings.instance.lease == "modelpool-operator"
    assert (settings.host, settings.port) == ("0.0.0.0", 8080)
    assert (settings.watch_namespaces, settings.kubeconfig) == ((), None)
    assert (settings.log_level, settings.resync_seconds) == ("info", 300.0)


def test_an_empty_variable_counts_as_absent() -> None:
    names = (
        "MODELPOOL_INSTANCE",
        "MODELPOOL_WATCH_NAMESPACES",
        "MODELPOOL_LISTEN",
        "MODELPOOL_IDENTITY",
        "MODELPOOL_LOG_LEVEL",
        "MODELPOOL_RESYNC_SECONDS",
        "KUBECONFIG",
    )
    settings, plain = Settings.from_env(dict.fromkeys(names, "")), Settings.from_env({})
    assert settings.identity != plain.identity, "two processes on one host are two"
    assert (settings.instance, settings.port, settings.kubeconfig) == (plain.instance, plain.port, None)


def test_every_variable_counts() -> None:
    settings = Settings.from_env(
        {
            "MODELPOOL_INSTANCE": "ai/team-1",
            "MODELPOOL_WATCH_NAMESPACES": " shop, blog,,shop ",
            "MODELPOOL_LISTEN": "[::1]:9090",
            "MODELPOOL_IDENTITY": "me",
            "MODELPOOL_LOG_LEVEL": "DEBUG",
            "MODELPOOL_RESYNC_SECONDS": "60",
            "KUBECONFIG": "kube/config.yaml",
        }
    )
    assert settings == Settings(
        instance=Instance("ai", "team-1"),
        watch_namespaces=("shop", "blog"),
        host="::1",
        port=9090,
        identity="me",
        log_level="debug",
        kubeconfig="kube/config.yaml",
        resync_seconds=60.0,
    )
    assert settings.instance.lease == "team-1-operator"


@pytest.mark.parametrize(
    ("value", "address"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), (":8080", ("", 8080)), ("[::]:65535", ("::", 65535)), ("::1:80", ("::1", 80))],
)
def test_an_address_is_a_host_and_a_port(value: str, address: tuple[str, int]) -> None:
    settings = Settings.from_env({"MODELPOOL_LISTEN": value})
    assert (settings.host, settings.port) == address


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MODELPOOL_INSTANCE", "modelpool", "must be NAMESPACE/RELEASE, like modelpool-system/modelpool"),
        ("MODELPOOL_INSTANCE", "/x", "must be NAMESPACE/RELEASE"),
        ("MODELPOOL_INSTANCE", "a/b/c", "must be NAMESPACE/RELEASE"),
        ("MODELPOOL_INSTANCE", "A/b", "must be NAMESPACE/RELEASE"),
        ("MODELPOOL_INSTANCE", f"a/{'b' * 64}", "must be NAMESPACE/RELEASE"),
        ("MODELPOOL_INSTANCE", "a/b\n", "must be NAMESPACE/RELEASE"),
        ("MODELPOOL_WATCH_NAMESPACES", "shop,Blog", "with commas between, not 'Blog'"),
        ("MODELPOOL_WATCH_NAMESPACES", "shop blog", "with commas between, not 'shop blog'"),
        ("MODELPOOL_WATCH_NAMESPACES", "*", "with commas between, not '*'"),
        ("MODELPOOL_LISTEN", "8080", "must be HOST:PORT"),
        ("MODELPOOL_LISTEN", "0.0.0.0:", "must be HOST:PORT"),
        ("MODELPOOL_LISTEN", "0.0.0.0:65536", "must be HOST:PORT"),
        ("MODELPOOL_LISTEN", "0.0.0.0:-1", "must be HOST:PORT"),
        ("MODELPOOL_LISTEN", "0.0.0.0:٣", "must be HOST:PORT"),
        ("MODELPOOL_LISTEN", f"0.0.0.0:{'9' * 5000}", "must be HOST:PORT"),
        ("MODELPOOL_LOG_LEVEL", "loud", "must be one of debug, info, warning, error"),
        ("MODELPOOL_RESYNC_SECONDS", "0", "must be whole seconds from 1 to 86400"),
        ("MODELPOOL_RESYNC_SECONDS", "1.5", "must be whole seconds"),
        ("MODELPOOL_RESYNC_SECONDS", "86401", "must be whole seconds"),
        ("MODELPOOL_RESYNC_SECONDS", "9" * 5000, "must be whole seconds"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_name_and_what_would_be_right(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: value})
    assert str(caught.value).startswith(f"{name}={value!r}: must ")
    assert says in str(caught.value)


def test_every_path_is_where_the_api_server_has_it() -> None:
    assert paths.resources("Provider") == "/apis/modelpool.dev/v1alpha1/providers"
    assert paths.resources("ModelPool", "shop") == "/apis/modelpool.dev/v1alpha1/namespaces/shop/modelpools"
    assert paths.resource("ModelPool", "shop", "chat") == "/apis/modelpool.dev/v1alpha1/namespaces/shop/modelpools/chat"
    assert paths.status("Provider", "shop", "openai").endswith("/namespaces/shop/providers/openai/status")
    assert (paths.core("pods"), paths.core("pods", "shop")) == ("/api/v1/pods", "/api/v1/namespaces/shop/pods")
    assert paths.secret("shop", "openai") == "/api/v1/namespaces/shop/secrets/openai"
    assert paths.config_map("shop") == "/api/v1/namespaces/shop/configmaps/modelpool-config"
    assert paths.credentials("shop") == "/api/v1/namespaces/shop/secrets/modelpool-credentials"
    assert paths.events("shop") == "/apis/events.k8s.io/v1/namespaces/shop/events"
    assert paths.leases("shop") == "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
