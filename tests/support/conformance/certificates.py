"""Certificates of a provider: one that is trusted, and one that is not."""

import ssl
import subprocess
from pathlib import Path

_MAKE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]:
    """Of a server that is trusted, of one that is not, and of a client."""
    made = [_certificate(folder, name) for name in ("trusted", "stranger")]
    servers = []
    for certificate, key in made:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        servers.append(context)
    return servers[0], servers[1], ssl.create_default_context(cafile=made[0][0])


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    more = ["-addext", "subjectAltName=DNS:primary.test", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*_MAKE.split(), *more], check=True, capture_output=True)
    return certificate, key
