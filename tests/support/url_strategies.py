"""Generated base URLs: good ones, and every way that they may go wrong."""

from hypothesis import strategies as st

_hosts = st.one_of(
    st.sampled_from(
        ["api.example.com", "vllm", "a.b.svc", "x.local", "localhost", "metadata", "metadata.goog.", "a..b"]
    ),
    st.sampled_from(["1.2.3", "0x1", "-a", "a-", "a_b", "1a", "a.1", "0x1g", "256.1.1.1", "01.2.3.4", "10.0.0.1."]),
    st.ip_addresses(v=4).map(str),
    st.sampled_from(["169.254.1.1", "100.100.100.200", "0.0.0.0", "224.0.0.1", "239.1.1.1", "240.0.0.1", "172.32.0.1"]),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[{address.exploded}]"),
    st.sampled_from(
        ["[::]", "[::1]", "[fe80::1]", "[febf::1]", "[fec0::1]", "[ff02::1]", "[fd00:ec2::254]", "[::1.2.3.4]"]
    ),
    st.sampled_from(
        ["[::ffff:a9fe:1]", "[::FFFF:169.254.0.9]", "[::ffff:a9fe:1:2]", "[::ffff:10.0.0.1]", "[2002:a00:1::]"]
    ),
    st.sampled_from(["[", "[]", "[v1.a]", "[::1", "::1", "", ".", "[1.2.3.4]"]),
)
_ports = st.sampled_from(["", "", "", ":", ":0", ":80", ":065535", ":65536", ":a", ":1:2"])
_paths = st.lists(
    st.sampled_from(["/", "/v1", "//", ".", "..", "/models", "/chat/completions", "x", "?a", "#", "@", "%2f"])
)
URLS = st.builds(
    lambda scheme, user, host, port, path: f"{scheme}{user}{host}{port}{''.join(path)}",
    st.sampled_from(["https://", "http://", "HTTPS://", "ftp://", "", "https:/", "1http://"]),
    st.sampled_from(["", "", "", "u:p@", "@"]),
    _hosts,
    _ports,
    _paths,
).filter(bool)
