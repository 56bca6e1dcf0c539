"""How the API server is reached: from a kubeconfig, or from inside a pod; for our client and for kopf's."""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta

import kopf
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

Login = Awaitable[kopf.ConnectionInfo]

TOKEN_MINUTES = 10
"""A token in a file is read again after that long, before the kubelet's old one ends."""


class AccessError(Exception):
    """There is no way to an API server; the message says what is missing."""


async def configuration(kubeconfig: str | None) -> Configuration:
    """The client's configuration, proved usable: of that file, or of the pod that we run in. Raises AccessError."""
    found = Configuration()
    # No bound: each watch holds a connection, and the Lease must never wait for one.
    found.connection_pool_maxsize = 0
    try:
        if kubeconfig is not None:
            await config.load_kube_config(  # type: ignore[no-untyped-call]  # the library's own lack
                config_file=kubeconfig, client_configuration=found
            )
        else:
            config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]  # as above
        client(found)
    except Exception as error:  # a file that is broken ends in every kind of them
        where = "in this pod" if kubeconfig is None else f"by KUBECONFIG={kubeconfig}"
        help_ = "" if kubeconfig else "; outside a cluster set KUBECONFIG to the path of a kubeconfig"
        what = " ".join(str(error).split()) or type(error).__name__
        raise AccessError(f"no API server can be found {where}: {what}{help_}") from error
    return found


def client(found: Configuration) -> ApiClient:
    """Our client, on one pool of connections."""
    made = ApiClient(found)
    made.user_agent = "modelpool-operator"
    return made


async def connection(found: Configuration) -> kopf.ConnectionInfo:
    """The same for kopf, with the token as it is now."""
    value = await found.get_api_key_with_prefix("BearerToken")
    token = value.removeprefix("Bearer ").removeprefix("bearer ") if value else None
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        insecure=None if found.verify_ssl else True,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
        scheme="Bearer" if token else None,
        token=token,
        expiration=datetime.now(UTC) + timedelta(minutes=TOKEN_MINUTES) if token else None,
    )
