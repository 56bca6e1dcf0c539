"""A web page must not spend the keys of a laptop (B43)."""

import pytest

from modelpool_sidecar.core.request import judge_origin


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:4891", "localhost.:80", "127.0.0.1", "127.0.0.1:4891", "127.8.8.8", "[::1]", "[::1]:4891",
     "[::ffff:127.0.0.1]:1"],
)  # fmt: skip
def test_a_loopback_host_is_served(host: str) -> None:
    assert judge_origin((("host", host),)) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0", "10.0.0.1:4891", "[::2]", "::1",
     "localhost:4891:1", "user@localhost", "localhost/", "[::ffff:10.0.0.1]", "127.0.0.1:123456", "2130706433"],
)  # fmt: skip
def test_a_foreign_host_is_refused(host: str) -> None:
    refusal = judge_origin((("host", host),))
    assert refusal is not None
    assert (refusal.status, refusal.code) == (403, "foreign_host")
    assert refusal.message == "the Host header must be localhost or a loopback address, given once"


@pytest.mark.parametrize("hosts", [(), (("host", "localhost"), ("host", "localhost"))])
def test_host_stands_exactly_once(hosts: tuple[tuple[str, str], ...]) -> None:
    refusal = judge_origin((*hosts, ("accept", "*/*")))
    assert refusal is not None
    assert refusal.code == "foreign_host"


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080"])
def test_a_page_of_this_machine_is_served(origin: str) -> None:
    assert judge_origin((("host", "localhost"), ("origin", origin))) is None


@pytest.mark.parametrize(
    "origin",
    ["null", "", "https://evil.example", "http://localhost.evil.example", "file://", "chrome-extension://abc",
     "http://localhost/", "http://localhost@evil.example"],
)  # fmt: skip
def test_a_foreign_page_is_refused(origin: str) -> None:
    refusal = judge_origin((("origin", origin), ("host", "localhost")))
    assert refusal is not None
    assert (refusal.status, refusal.code) == (403, "foreign_origin")
