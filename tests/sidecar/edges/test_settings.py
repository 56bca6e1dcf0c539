"""What the process gets from its environment."""

from pathlib import Path

import pytest

from modelpool_sidecar.settings import Settings, SettingsError


def test_an_empty_environment_gives_the_ports_of_the_design() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert settings.config_dir == Path("/etc/modelpool")
    assert (settings.port, settings.admin_port, settings.local_port) == (4891, 4892, 4893)
    assert settings.data_hosts == settings.local_hosts == ("127.0.0.1", "::1")
    assert (settings.admin_host, settings.drain_seconds, settings.log_level) == ("127.0.0.1", 25.0, "info")


def test_every_variable_is_used() -> None:
    settings = Settings.from_env(
        {
            "MODELPOOL_CONFIG_DIR": "/somewhere",
            "MODELPOOL_PORT": "5000",
            "MODELPOOL_ADMIN_HOST": "10.1.2.3",
            "MODELPOOL_DRAIN": "1m30s",
            "MODELPOOL_LOG_LEVEL": "WARNING",
        }
    )
    assert settings.config_dir == Path("/somewhere")
    assert (settings.port, settings.admin_port, settings.local_port) == (5000, 5001, 5002)
    assert (settings.admin_host, settings.drain_seconds, settings.log_level) == ("10.1.2.3", 90.0, "warning")


def test_empty_variables_count_as_absent() -> None:
    names = ["CONFIG_DIR", "PORT", "ADMIN_HOST", "DRAIN", "LOG_LEVEL"]
    assert Settings.from_env({f"MODELPOOL_{name}": "" for name in names}) == Settings()


def test_port_zero_is_any_port_three_times() -> None:
    settings = Settings.from_env({"MODELPOOL_PORT": "0"})
    assert (settings.port, settings.admin_port, settings.local_port) == (0, 0, 0)


def test_the_address_of_a_service_named_modelpool_is_not_a_port_of_ours() -> None:
    assert Settings.from_env({"MODELPOOL_PORT": "tcp://10.96.0.1:80"}) == Settings()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0.0), ("25s", 25.0), ("1h", 3600.0), ("2m", 120.0), ("250ms", 0.25), ("1h2m3s4ms", 3723.004)],
)
def test_durations_are_those_of_the_gateway_api(text: str, seconds: float) -> None:
    assert Settings.from_env({"MODELPOOL_DRAIN": text}).drain_seconds == seconds


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "PORT",
            "http",
            "MODELPOOL_PORT='http': must be a port from 1 to 65533 (the next two are used too), or 0 for any",
        ),
        ("PORT", "65534", "MODELPOOL_PORT='65534': must be a port"),
        ("PORT", "-1", "MODELPOOL_PORT='-1': must be a port"),
        ("ADMIN_HOST", "pod", "MODELPOOL_ADMIN_HOST='pod': must be an IP address to listen on, like 127.0.0.1 or ::"),
        ("DRAIN", "25", "MODELPOOL_DRAIN='25': must be a duration, like 25s or 1m30s"),
        ("DRAIN", "1.5s", "MODELPOOL_DRAIN='1.5s': must be a duration"),
        ("DRAIN", "5s1m", "MODELPOOL_DRAIN='5s1m': must be a duration"),
        ("LOG_LEVEL", "loud", "MODELPOOL_LOG_LEVEL='loud': must be one of debug, info, warning, error"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_with_what_would_be_right(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({f"MODELPOOL_{name}": value})
    assert str(caught.value).startswith(sentence)
