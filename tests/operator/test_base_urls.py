"""Where a base URL may point, and which hosts are ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_cases import keyed, provider
from modelpool_operator.api.provider import Provider
from modelpool_operator.checks import provider as provider_checks
from modelpool_operator.checks import urls

PUBLIC = ["api.openai.com", "8.8.8.8", "2606:4700::1111", "a.b", "svc.example.com", "internal.com", "100.64.0.1"]
PRIVATE = [
    "localhost",
    "vllm",
    "127.0.0.1",
    "127.9.9.9",
    "10.1.2.3",
    "172.31.0.1",
    "192.168.1.1",
    "::1",
    "fd12::1",
    "::ffff:10.0.0.1",
    "vllm.team.svc",
    "vllm.team.svc.cluster.local",
    "mac.local",
    "host.docker.internal",
    "api.localhost",
]
REFUSED = {
    "169.254.169.254": "link-local address",
    "169.254.0.1": "link-local address",
    "fe80::1": "link-local address",
    "::ffff:169.254.169.254": "link-local address",
    "64:ff9b::a9fe:a9fe": "link-local address",
    "2002:a9fe:a9fe::1": "link-local address",
    "metadata": "metadata service",
    "metadata.google.internal": "metadata service",
    "METADATA.google.internal.": "metadata service",
    "metadata.azure.internal": "metadata service",
    "instance-data.ec2.internal": "metadata service",
    "100.100.100.200": "metadata service",
    "168.63.129.16": "metadata service",
    "fd00:ec2::254": "metadata service",
    "0.0.0.0": "must point to one host",
    "::": "must point to one host",
    "224.0.0.1": "must point to one host",
    "2852039166": "neither a name nor an address",
    "0xa9fea9fe": "neither a name nor an address",
    "127.1": "neither a name nor an address",
    "010.0.0.1": "neither a name nor an address",
    "a..b": "neither a name nor an address",
    "-a": "neither a name nor an address",
    ("a" * 63 + ".") * 4 + "com": "neither a name nor an address",
}


def _url(host: str, scheme: str = "https") -> str:
    return f"{scheme}://[{host}]/v1" if ":" in host else f"{scheme}://{host}/v1"


@pytest.mark.parametrize("host", PUBLIC + PRIVATE)
def test_ordinary_hosts_are_taken(host: str) -> None:
    assert urls.judge(_url(host)) is None


@pytest.mark.parametrize(("host", "why"), REFUSED.items())
def test_where_nobody_should_go_is_refused_in_every_spelling(host: str, why: str) -> None:
    assert why in (urls.judge(_url(host)) or "")


@pytest.mark.parametrize(("hosts", "public"), [(PUBLIC, True), (PRIVATE, False)])
def test_what_is_private_stays_in_the_house(hosts: list[str], public: bool) -> None:
    assert {host: urls.is_public(host) for host in hosts} == dict.fromkeys(hosts, public)


@pytest.mark.parametrize("host", PRIVATE)
def test_a_key_may_go_in_the_clear_to_a_private_host(host: str) -> None:
    parsed = Provider.model_validate(provider(baseURL=_url(host, "http"), auth=keyed()))
    assert provider_checks.judge(parsed) == ()


@pytest.mark.parametrize("host", PUBLIC)
@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_a_key_never_goes_in_the_clear_to_a_public_host(host: str, scheme: str) -> None:
    parsed = Provider.model_validate(provider(baseURL=_url(host, scheme), auth=keyed()))
    [problem] = provider_checks.judge(parsed)
    assert problem.message == f"baseURL must be https: a key would go in the clear to the public host {host}"


@pytest.mark.parametrize("host", PUBLIC)
def test_without_a_key_plain_http_is_nobodys_business(host: str) -> None:
    assert provider_checks.judge(Provider.model_validate(provider(baseURL=_url(host, "http")))) == ()


@pytest.mark.parametrize(
    "url",
    [
        "https://a.com",
        "https://a.com/",
        "https://a.com:8443/openai/v1/",
        "http://localhost:8000/v1",
        "https://a.com/x%20y/v1",
        "https://a.com/models-of-mine/v1",
        "https://gateway.example.com/account/openai",
    ],
)
def test_a_path_is_whatever_the_provider_needs(url: str) -> None:
    assert urls.judge(url) is None


@pytest.mark.parametrize("operation", ["/chat/completions", "/completions", "/embeddings", "/responses", "/models"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_url_with_the_operation_says_what_to_leave_out(operation: str, slash: str) -> None:
    assert urls.judge(f"https://a.com/v1{operation}{slash}") == f"must end before the operation: leave out {operation}"


@pytest.mark.parametrize("path", ["/v1/%2Fadmin", "/a//b", "/./v1", "/v1/.."])
def test_a_path_that_would_be_read_in_two_ways_is_refused(path: str) -> None:
    assert urls.judge(f"https://a.com{path}") == "must not have //, %2f, . or .. in its path"


@pytest.mark.parametrize("url", ["https://u:p@a.com", "https://@a.com", "https://a.com@169.254.169.254/v1"])
def test_credentials_in_a_url_are_refused(url: str) -> None:
    assert (urls.judge(url) or "").startswith("must not hold credentials")


@pytest.mark.parametrize(
    "url",
    ["a.com", "//a.com/v1", "https:/a.com", "https://a.com:0/", "https://a.com:x/", "http://a\\@b", "https://ä.com"],
)
def test_what_is_no_url_is_told_how_one_looks(url: str) -> None:
    assert urls.judge(url) == "must be a URL like https://api.openai.com/v1"


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_makes_the_judgement_fall_over(host: str, path: str) -> None:
    for url in (host, f"https://{host}", f"https://{host}/{path}", f"http://[{host}]/"):
        if urls.judge(url) is None:
            assert urls.is_public(urls.host_of(url)) in (True, False)
