"""A chart as a PNG: a browser draws the SVG, and the file says of which one, so that a test sees when it is old."""

import hashlib
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WORD = b"svg-sha256\0"
_SCALE = 2
"""Dots for each unit of the drawing, so that it is sharp on today's screens."""


def drawn(svg: str, width: int, height: int) -> bytes:
    """The picture; its background is in the drawing."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("chromium draws the picture, and there is none here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "chart.html"), Path(folder, "chart.png")
        source.write_text(f'<body style="margin:0">{svg}', encoding="utf-8")
        size = [f"--window-size={width},{height}", f"--force-device-scale-factor={_SCALE}"]
        words = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
        ]
        told = [browser, *words, *size, f"--screenshot={target}", source.as_uri()]
        subprocess.run(told, check=True, timeout=60, capture_output=True)
        return _stamped(target.read_bytes(), svg)


def source(png: bytes) -> str | None:
    """The SHA-256 of the SVG that it was drawn from; None where the file is no such picture."""
    if not png.startswith(_SIGNATURE):
        return None
    stamps = (body.removeprefix(_WORD) for kind, body in _chunks(png) if kind == b"tEXt" and body.startswith(_WORD))
    return next((stamp.decode("ascii") for stamp in stamps), None)


def digest(svg: str) -> str:
    """What `source` says of its picture."""
    return hashlib.sha256(svg.encode()).hexdigest()


def _stamped(png: bytes, svg: str) -> bytes:
    """With its source before the last chunk; what else the browser wrote beside the picture is left out."""
    kept = [(kind, body) for kind, body in _chunks(png) if kind[:1].isupper()]
    kept.insert(len(kept) - 1, (b"tEXt", _WORD + digest(svg).encode()))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in kept
    )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at + 8 <= len(png):
        [size] = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += size + 12
