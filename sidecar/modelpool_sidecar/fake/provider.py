"""A provider that is played on a real socket: starts, stops, breaks, mends, and tells what it saw."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from itertools import count

from modelpool_config.models import Fake
from modelpool_sidecar.fake import dialect
from modelpool_sidecar.fake.dialect import Asked, Character
from modelpool_sidecar.fake.keeping import Store
from modelpool_sidecar.fake.log import MAX_ATTEMPTS, MAX_BODY_BYTES, FakeAttempt, Log
from modelpool_sidecar.fake.raw import RawAnswer
from modelpool_sidecar.fake.script import Script
from modelpool_sidecar.fake.speech import GREETING
from modelpool_sidecar.fake.wire import Connection, Silent

AnswerWith = RawAnswer | Callable[[FakeAttempt], RawAnswer | None]
"""One answer to all requests, or who makes them; None from that one leaves the request to the script."""


class FakeProvider:
    """An OpenAI-compatible provider whose answers and faults are scripted.

    `greeting` is the text of its answers; `{name}` and `{model}` in it are replaced. `api_key`: the only one that it
    takes, None takes any or none. `models`: the only ones that it knows, None knows every one. `retry_after`: seconds
    that a 429 tells where the script does not say how long that lasts. `on_ended` hears of each attempt when it is
    over. Everything but the constructor is called from the loop that it runs in.
    """

    def __init__(
        self,
        name: str,
        script: Fake | None = None,
        *,
        greeting: str | None = None,
        api_key: str | None = None,
        models: Sequence[str] | None = None,
        retry_after: float = 1.0,
        max_attempts: int = MAX_ATTEMPTS,
        max_body_bytes: int = MAX_BODY_BYTES,
        on_ended: Callable[[FakeAttempt], None] | None = None,
    ) -> None:
        known = None if models is None else tuple(models)
        self._character = Character(name, GREETING if greeting is None else greeting, api_key, known, retry_after)
        self._now = time.monotonic  # the clock of asyncio's loops
        self._steps = (script or Fake()).script
        self._script = Script(self._steps, self._now())
        self._on_ended = on_ended
        self._store = Store()
        self._override: AnswerWith | None = None  # set by answer_with
        self._server: asyncio.Server | None = None
        self._address: tuple[str, int] | None = None
        self._numbers = count(1)
        self._waiting: list[asyncio.Future[None]] = []
        self.log = Log(max_attempts, max_body_bytes)
        self.connections: set[Connection] = set()
        self.connections_accepted = 0

    def __repr__(self) -> str:
        where = self.base_url if self._address else "not started"
        state = f"broken as {self.broken_as}" if self.broken_as else "playing its script"
        return f"<FakeProvider {self.name}: {where}, {state}, {len(self.connections)} connections>"

    @property
    def name(self) -> str:
        """The name that it answers with."""
        return self._character.name

    @property
    def port(self) -> int:
        """The port that it listens on, or last did."""
        if self._address is None:
            raise RuntimeError(f"the fake provider {self.name} was not started")
        return self._address[1]

    @property
    def base_url(self) -> str:
        """What a client is given: `http://127.0.0.1:PORT/v1`."""
        port = self.port
        assert self._address is not None
        host = self._address[0]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"

    @property
    def attempts(self) -> list[FakeAttempt]:
        """What it saw, oldest first; the last 10,000."""
        return self.log.attempts

    @property
    def open_connections(self) -> int:
        """How many clients' connections are open now."""
        return len(self.connections)

    @property
    def broken_as(self) -> str | None:
        """The fault that `break_as` put over the script."""
        return self._script.broken_as

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. The script begins with the first start and goes on over a stop."""
        if self._server is not None:
            raise RuntimeError(f"the fake provider {self.name} is already running")
        if self._address is None:
            self._script.replace(self._steps, self._now())
        loop = asyncio.get_running_loop()
        # Held before it serves, so that who is cancelled meanwhile leaves no listener that `stop` does not know.
        self._server = await loop.create_server(self._connection, host, port, start_serving=False)
        await self._server.start_serving()
        self._address = (host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop all connections; twice is fine."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = [task for connection in tuple(self.connections) if (task := connection.stop()) is not None]
        if tasks:
            await asyncio.wait(tasks)
        await self.until(lambda provider: not provider.connections)
        await server.wait_closed()

    def break_as(self, fault: str = "500", *, tokens: int | None = None) -> None:
        """Meet every request with this fault until `mend`: Refuse, Reset, Hang, Cut, Stall or a status.

        `tokens` go out before a Cut or a Stall. Answers under way go on. ValueError names what there is.
        """
        self._script.break_as(fault, tokens)
        if self.refuses():
            for connection in tuple(self.connections):
                connection.close()

    def mend(self) -> None:
        """Let the script go on."""
        self._script.mend()

    def replace(self, script: Fake) -> None:
        """Play this script, from its first step, unless it is the one that is being played (a reload)."""
        if script.script != self._steps:
            self._steps = script.script
            self._script.replace(self._steps, self._now())

    def answer_with(self, answer: AnswerWith | None) -> None:
        """For tests: answer with exactly this in place of script and dialect; None goes back to these.

        Where one answer serves several requests its body must be a sequence, not a generator. A fault by `break_as`
        goes before it.
        """
        self._override = answer

    async def until(self, holds: Callable[["FakeProvider"], bool]) -> None:
        """Wait until this holds; it is asked again whenever something happened here."""
        while not holds(self):
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def refuses(self) -> bool:
        """Whether a connection is closed at once now."""
        return self._script.look(self._now()).step.fault == "Refuse"

    def answer(self, attempt: FakeAttempt, body: bytes) -> RawAnswer | Silent:
        """What this request meets; it counts in the script unless a test answers it. `body` is whole, kept or not."""
        if self._override is not None and self.broken_as is None:
            given = self._override if isinstance(self._override, RawAnswer) else self._override(attempt)
            if given is not None:
                return given
        turn = self._script.take(self._now())
        fault = turn.step.fault
        if fault == "Refuse" or fault == "Reset" or fault == "Hang":
            return fault
        asked = Asked(
            method=attempt.method,
            path=attempt.path,
            authorization=attempt.header("authorization"),
            body=body,
            serial=f"{re.sub('[^A-Za-z0-9-]', '', self.name)}{attempt.number}",
            created=int(time.time()),
            content_type=attempt.header("content-type") or "",
            query=attempt.query,
        )
        return dialect.answer(asked, self._character, turn, self._store)

    def changed(self, ended: FakeAttempt | None = None) -> None:
        """Wake whoever waits in `until`; tell `on_ended`."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        if ended is not None and self._on_ended is not None:
            self._on_ended(ended)

    def _connection(self) -> Connection:
        self.connections_accepted += 1
        return Connection(self, next(self._numbers), self._now)


async def run(
    provider: FakeProvider,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    started: Callable[[FakeProvider], None] = lambda provider: None,
) -> None:
    """Play it until cancelled. `started` hears when it listens, and so where. OSError if the port is taken."""
    await provider.start(host, port)
    try:
        started(provider)
        await asyncio.get_running_loop().create_future()
    finally:
        await provider.stop()
