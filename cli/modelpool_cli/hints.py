"""What `modelpool run` says when it is ready: things to paste, and where to go on.

Pure: who started us, and what is installed beside us, come in as values. Every line must work where it is pasted, so
commands are spelled the way the user started this one.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from modelpool_config.models import Config, Pool


@dataclass(frozen=True, slots=True)
class Start:
    """How we were started. `make`: by the Makefile; `command`: how `modelpool` is called here; `port`: the data port;
    `python`: an interpreter that has the openai SDK, None where this one does not have it; `pool_file`: where a pool
    is, to be edited."""

    make: bool
    command: str
    port: int
    python: str | None
    paths: Sequence[str] = ()
    pool_file: str | None = None
    default_port: int = 4891

    @property
    def base_url(self) -> str:
        """What clients are given."""
        return f"http://127.0.0.1:{self.port}/v1"


def ready(start: Start, config: Config, ports: tuple[int, int, int]) -> list[str]:
    """Everything that is printed before the first request."""
    model = example_model(config)
    return [
        f"modelpool answers on {start.base_url}  (admin on :{ports[1]} and :{ports[2]}; Ctrl-C ends it)",
        f"  status page: http://127.0.0.1:{ports[2]}/",
        *(_pool_line(config)),
        "",
        "Ask it:",
        f"  {curl(start, model)}",
        "",
        f"From Python ({start.python or 'after: pip install openai'}):",
        *(f"  {line}" for line in snippet(start, model)),
        "",
        "Next:",
        *(f"  {line}" for line in _next(start, config, model)),
    ]


def curl(start: Start, model: str) -> str:
    """One line for a shell."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]}, separators=(",", ":"))
    return f"curl {start.base_url}/chat/completions -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def snippet(start: Start, model: str) -> tuple[str, str, str]:
    """Three lines for a Python prompt."""
    ask = f'client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "hello"}}])'
    return (
        "from openai import OpenAI",
        f'client = OpenAI(base_url="{start.base_url}", api_key="unused")',
        f"print({ask}.choices[0].message.content)",
    )


def example_model(config: Config) -> str:
    """A name that a client can send: the first that is no pattern, else one that a `*` takes."""
    names = [name for pool in config.pools for name in pool.models]
    plain = [name for name in names if not name.endswith("*")]
    if plain:
        return plain[0]
    prefixes = [name[:-1] for name in names if name != "*"]
    return f"{prefixes[0]}1" if prefixes else "gpt-4o-mini"


def _pool_line(config: Config) -> list[str]:
    """`pool chat: primary 90, backup 10`, one line for each pool, and what cannot serve."""
    lines = [
        f"  pool {pool.name}: " + ", ".join(f"{name} {weight}" for name, weight in _weights(pool))
        for pool in config.pools
    ]
    return lines + [f"  pool {pool.name}: answers 503, {pool.message}" for pool in config.closed]


def _weights(pool: Pool) -> list[tuple[str, int]]:
    own = [(target.name, target.weight) for target in pool.targets]
    return own + [(f"pool {target.pool}", target.weight) for target in pool.pool_targets]


def _next(start: Start, config: Config, model: str) -> list[str]:
    lines = [(_ask(start, model), "60 requests, a live tally per target")]
    fake = _first_fake(config)
    if fake is not None:
        lines.append((_fake(start, "break", fake), f"{fake} fails; watch the lines below, and ask again"))
        lines.append((_fake(start, "mend", fake), "it comes back: probes first, then its full share"))
    width = max(len(command) for command, _ in lines)
    files = f" -f {shlex.quote(start.paths[0])}" if start.paths else ""
    return [
        *(f"{command:<{width}}  {what}" for command, what in lines),
        *([f"Edit {start.pool_file}, a weight say: the next request takes it."] if start.pool_file else []),
        "A program of yours, its OPENAI_BASE_URL pointed here:",
        f"  {start.command} run{files} --port 0 -- printenv OPENAI_BASE_URL",
        *_own_key(start),
    ]


def _own_key(start: Start) -> list[str]:
    """Nothing to say where it runs already."""
    return ["Your own key, no manifests (Ctrl-C here first):", f"  OPENAI_API_KEY=... {start.command} run"] * bool(
        start.paths
    )


def _first_fake(config: Config) -> str | None:
    """The Fake that answers most: the heaviest target of the first tier of the first pool that has one."""
    fakes = {provider.name for provider in config.providers if provider.dialect == "Fake"}
    targets = [target for pool in config.pools for target in pool.targets if target.provider in fakes]
    return min(targets, key=lambda target: (target.priority, -target.weight)).provider if targets else None


def _ask(start: Start, model: str) -> str:
    if start.make:
        return f"make ask{'' if model == 'chat' else f' MODEL={shlex.quote(model)}'}{_make_port(start)}"
    return f"{start.command} ask {shlex.quote(model)}{_port(start)}"


def _fake(start: Start, verb: str, name: str) -> str:
    if start.make:
        return f"make {verb}{'' if name == 'primary' else f' NAME={name}'}{_make_port(start)}"
    return f"{start.command} {verb} {name}{_port(start)}"


def _port(start: Start) -> str:
    return "" if start.port == start.default_port else f" --port {start.port}"


def _make_port(start: Start) -> str:
    return "" if start.port == start.default_port else f" PORT={start.port}"
