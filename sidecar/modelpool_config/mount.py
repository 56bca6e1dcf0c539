"""What lies in the mounted volume, and by which names operator and sidecar find it there.

One projected volume of a ConfigMap and a Secret, so that both are swapped in one step. A Secret's keys land in the
volume's root, beside the ConfigMap's: a projection can put them into a folder only by naming each, and a pod's volumes
cannot change later. So a prefix tells credentials apart there.
"""

DIRECTORY = "/etc/modelpool"
CONFIG_MAP = "modelpool-config"
SECRET = "modelpool-credentials"  # noqa: S105 - the name of a Secret, not its value
SIDECARS_FILE = "sidecars.json"
CREDENTIAL_PREFIX = "credential."
"""`credential.<file>` in the root is the credential that a config names `<file>`."""
CREDENTIALS_FOLDER = "credentials"
"""`credentials/<file>` is the same, where somebody fills a folder by hand or by `items`."""
