"""nginx as the measuring rod: the cheapest proxy that everybody knows, one worker, kept-alive connections."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from bench.contenders import Launch, Place

# Answers are never buffered, so that streams pass as they come; nothing is logged; connections are never used up.
CONFIG = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log stderr crit;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream provider {{
        server 127.0.0.1:{upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /v1/ {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


def config(place: Place, *, root: bool) -> str:
    """The whole configuration. Started by root, nginx would give up its rights and lose its temporary folders."""
    user = "user root;" if root else ""
    return CONFIG.format(folder=place.folder, upstream=place.upstream, port=place.port, user=user)


@dataclass(frozen=True, slots=True)
class Nginx:
    name: str = "nginx"

    def missing(self) -> str | None:
        return None if _program() else "nginx is not installed; with it: apt-get install nginx-light"

    def version(self) -> str:
        program = _program()
        assert program is not None
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
        return said.strip().rpartition("/")[2]

    def prepare(self, place: Place) -> Launch:
        program = _program()
        assert program is not None
        path = place.folder / "nginx.conf"
        path.write_text(config(place, root=os.geteuid() == 0))
        return Launch((program, "-p", str(place.folder), "-e", "stderr", "-c", str(path)), {})


def _program() -> str | None:
    """Debian keeps it where only root's PATH looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
