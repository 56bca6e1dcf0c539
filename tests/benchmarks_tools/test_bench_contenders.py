"""What is started, and with which configuration."""

import platform
from pathlib import Path

import pytest

from bench import machine, modelpool, nginx, rivals
from bench.command import main
from bench.contenders import Place
from modelpool_config import codec
from modelpool_sidecar.settings import Settings


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(folder=tmp_path, upstream=1111, port=2222)


def test_the_config_under_test_is_one_that_the_sidecar_reads(place: Place) -> None:
    modelpool.Modelpool().prepare(place)
    config = codec.decode((place.folder / "config.json").read_bytes())
    (pool,) = config.pools
    assert [provider.base_url for provider in config.providers] == ["http://127.0.0.1:1111/v1"]
    assert (pool.models, len(pool.targets), len(pool.limits.requests)) == (("chat",), 2, 1)


def test_nothing_of_our_own_environment_reaches_a_contender(place: Place) -> None:
    plain = modelpool.Modelpool().prepare(place).env
    assert all(name.startswith("MODELPOOL_") for name in plain)
    assert Settings.from_env(plain) == Settings(config_dir=place.folder, port=2222, drain_seconds=1.0)


def test_traces_go_to_the_fake_upstream_and_a_tenth_of_them(tmp_path: Path, place: Place) -> None:
    env = modelpool.Modelpool(name="traced", traced=True).prepare(place).env
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:1111"
    assert env["OTEL_TRACES_SAMPLER_ARG"] == "0.1"


def test_nginx_is_one_worker_that_keeps_connections_and_buffers_nothing(place: Place) -> None:
    text = nginx.config(place, root=False)
    for word in ("worker_processes 1;", "server 127.0.0.1:1111;", "listen 127.0.0.1:2222", "proxy_buffering off;"):
        assert word in text
    assert "user root" not in text
    assert "user root;" in nginx.config(place, root=True)


def test_contenders_are_chosen_by_name_in_a_fixed_order() -> None:
    assert [one.name for one in rivals.chosen("modelpool, nginx")] == ["nginx", "modelpool"]
    assert rivals.chosen(None) == list(rivals.CONTENDERS)


@pytest.mark.parametrize("only", ["apache", "nginx,apache", ","])
def test_an_unknown_contender_is_refused_by_name(only: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", only]) == 2
    assert "there is modelpool, modelpool-limits, modelpool-traced, nginx" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--seconds", "none"], ["--seconds", "0"], ["-o", "yaml"], ["--json", "no/such/x"]]
)
def test_a_bad_option_ends_the_command_before_anything_starts(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_the_facts_do_not_name_the_machine() -> None:
    facts = machine.facts()
    assert facts["cores"]
    assert platform.node() not in map(str, facts.values())
