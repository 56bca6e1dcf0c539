"""Which key an attempt sends: the newest, and after a refusal the one before it, once per request (B17, B46)."""

from modelpool_sidecar.core.snapshot import Secret, Target
from modelpool_sidecar.ports import Credentials


class Keyring:
    """The keys as one request sees them. It never shows one."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._in_use: dict[str, str] = {}
        self._refused: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Keyring: {len(self._refused)} refused>"

    def missing(self, target: Target) -> list[Secret]:
        """What this target's provider needs and is not mounted (B50)."""
        return [secret for secret in target.provider.secrets if self._credentials.get(secret.credential) is None]

    def key(self, credential: str) -> str | None:
        """What the next attempt sends: the newest value, unless this request was refused with it."""
        value = self._other(credential) or self._credentials.get(credential)
        if value is not None:
            self._in_use[credential] = value
        return value

    def has_other(self, auth: Secret | None, status: int | None) -> bool:
        """After a 401: whether a key is at hand that was not refused yet; asked once per request."""
        if auth is None or status != 401 or auth.credential in self._refused:
            return False
        self._refused[auth.credential] = self._in_use.get(auth.credential, "")
        return self._other(auth.credential) is not None

    def _other(self, credential: str) -> str | None:
        values = (self._credentials.get(credential), self._credentials.previous(credential))
        refused = self._refused.get(credential)
        return next((value for value in values if value is not None and value != refused), None)
