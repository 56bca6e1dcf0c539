"""Who is measured. A new rival is one class that satisfies Contender, and one entry here."""

from bench.contenders import Contender
from bench.modelpool import Modelpool
from bench.nginx import Nginx

CONTENDERS: tuple[Contender, ...] = (
    Nginx(),
    Modelpool(),
    Modelpool(name="modelpool-limits", limited=True),
    Modelpool(name="modelpool-traced", traced=True),
)
REFERENCE = "nginx"
"""The table's ratios are multiples of its figures."""


class UnknownContenderError(ValueError):
    """A name in `--only` that nobody has."""


def chosen(only: str | None) -> list[Contender]:
    """Those that are named, in the order of CONTENDERS; all when `only` is None."""
    if only is None:
        return list(CONTENDERS)
    names = {name.strip() for name in only.split(",") if name.strip()}
    known = {contender.name for contender in CONTENDERS}
    if not names or names - known:
        words = ", ".join(sorted(names - known)) or "nothing"
        raise UnknownContenderError(f"--only names {words}; there is {', '.join(sorted(known))}")
    return [contender for contender in CONTENDERS if contender.name in names]
