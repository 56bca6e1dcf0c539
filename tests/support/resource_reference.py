"""The tables of docs/resources.md, made from the API models; run as a script it brings the page up to date."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from modelpool_operator.api.modelpool import ModelPoolSpec
from modelpool_operator.api.provider import ProviderSpec
from modelpool_operator.api.status import ModelPoolStatus, ProviderStatus

PAGE = Path(__file__).parents[2] / "docs" / "resources.md"
SPECS: dict[str, type[BaseModel]] = {"Provider": ProviderSpec, "ModelPool": ModelPoolSpec}
STATUSES: dict[str, type[BaseModel]] = {"Provider": ProviderStatus, "ModelPool": ModelPoolStatus}


def rows(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Each field below a model: its path, what it means, its default (`required` where there is none)."""
    for name, info in model.model_fields.items():
        inner, listed = _below(info.annotation)
        here = f"{path}{info.alias or name}"
        meaning, _, default = (info.description or "").partition("Default: ")
        yield here, meaning.strip(), default.removesuffix(".") or "required"
        if inner is not None:
            yield from rows(inner, f"{here}{'[]' if listed else ''}.")


def table(model: type[BaseModel]) -> str:
    """The rows in Markdown."""
    lines = ["| field | meaning | default |", "|---|---|---|"]
    for path, meaning, default in rows(model):
        cells = (f"`{path}`", meaning.replace("|", "\\|"), default.replace("|", "\\|"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def status_table(model: type[BaseModel]) -> str:
    """The same for a status, which nobody fills in: no defaults."""
    lines = ["| field | meaning |", "|---|---|"]
    for path, meaning, _default in rows(model):
        escaped = meaning.replace("|", "\\|")
        lines.append(f"| `{path}` | {escaped} |")
    return "\n".join(lines)


def refreshed(page: str) -> str:
    """The page with its tables as the models have them."""
    tables = {kind: table(model) for kind, model in SPECS.items()}
    tables |= {f"{kind} status": status_table(model) for kind, model in STATUSES.items()}
    for title, content in tables.items():
        begin, end = f"<!-- {title}: from the models -->", "<!-- end -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        whole = f"{begin}\n{content}\n{end}"
        page = pattern.sub(lambda _found, whole=whole: whole, page)
    return page


def _below(annotation: object, listed: bool = False) -> tuple[type[BaseModel] | None, bool]:
    """The model inside an annotation, and whether it stands in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, listed
    listed = listed or getattr(annotation, "__origin__", None) is tuple
    for part in get_args(annotation):
        found, inside = _below(part, listed)
        if found is not None:
            return found, inside
    return None, False


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
