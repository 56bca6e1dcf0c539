"""The status page: one file, and the headers that let it use nothing but itself and this sidecar.

Its style and its script are allowed by their hashes, so whatever else might come into it neither runs nor loads.
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent / "status.html"


@cache
def status_page() -> tuple[bytes, dict[str, str]]:
    """The page and its headers. Read once: it does not change while a process lives."""
    html = _FILE.read_bytes()
    policy = (
        f"default-src 'none'; script-src {_hashes(html, b'script')}; style-src {_hashes(html, b'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _hashes(html: bytes, tag: bytes) -> str:
    """The source expressions of everything inline with this tag."""
    parts = re.findall(b"<" + tag + b">(.*?)</" + tag + b">", html, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part).digest()).decode()}'" for part in parts)
