"""The status page's headers: nothing but the page itself may run, load or be told."""

import re

from modelpool_sidecar.page import status_page


def test_only_the_pages_own_style_and_script_may_run() -> None:
    _, headers = status_page()
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    for source in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy[source])


def test_it_is_light_and_needs_nothing_from_elsewhere() -> None:
    html, headers = status_page()
    text = html.decode()
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert len(html) < 30_000
    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]
    assert re.findall(r"\son[a-z]+=|\sstyle=|javascript:|innerHTML|insertAdjacent|eval\(", text) == []
    assert (text.count("<script"), text.count("<style")) == (1, 1)
