"""A provider that does what a row of the table says, byte by byte, and notes what it saw."""

import asyncio
import json
import re
import ssl
from typing import Any

from conformance.doors import Door
from conformance.speech import PATHS, Speech
from conformance.turns import Fault, Turn
from conformance.wires import Ask, Wire

_IDENT = re.compile(rb"id-\d+-\d+")


class Provider:
    """`fault` None: it is well. `asks`: what it saw, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.voice = name
        """Who it says that it is: two targets that answer alike share one."""
        self.voices: dict[str, str] = {}
        """The same for single models."""
        self.takes_prefill = False
        self.fault: Fault | None = None
        self.asks: list[Ask] = []
        self.wires: set[Wire] = set()
        self.accepted = 0
        self.failed: Exception | None = None
        """What went wrong in the fault itself: it would look like one of a provider's."""
        self.reading = 0
        self.port = 0
        self.contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
        """Where it speaks TLS: with a certificate that is trusted, and with one that is not."""
        self._door: Door | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Provider {self.name}: {len(self.asks)} asks, {len(self.wires)} connections>"

    @property
    def busy(self) -> int:
        """Requests whose answer is not over."""
        return sum(not ask.over for ask in self.asks)

    @property
    def at_work(self) -> int:
        """Tasks that are there because of it: one for each connection."""
        return len(self._tasks)

    def asked(self, ident: str) -> int:
        return sum(ask.ident == ident for ask in self.asks)

    async def start(self) -> None:
        """From now on it has a port."""
        self._door = Door()
        self.port = self._door.port
        await self._open()

    async def stop(self) -> None:
        if self._door is not None:
            self._door.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for wire in list(self.wires):
            wire.close(abort=True)
        if self._door is not None:
            self._door.give_up()

    async def turn(self, fault: Fault | None) -> None:
        """From now on it does that. Connections that idle are closed, so that it holds for each request."""
        assert self._door is not None
        before, self.fault = self.fault, fault
        for wire in list(self.wires):
            if wire.ask is None or wire.ask.over:
                wire.close()
        if _usual(fault) and _usual(before) and self._door.is_open:  # it is not where the turn before was cancelled
            return
        self._door.close()
        if fault is None or fault.door is None:
            await self._open()
        elif fault.door == "full":
            self._door.fill()

    async def _open(self) -> None:
        assert self._door is not None
        context, fault = None, self.fault or Fault()
        if self.contexts is not None and not fault.plain:
            context = self.contexts[1 if fault.tls else 0]
        await self._door.open(lambda: Wire(self.serve, self.wires), context)

    async def serve(self, wire: Wire) -> None:
        """One connection, to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            fault = self.fault
            if fault is not None and fault.connect is not None:
                await fault.connect(wire)
                return
            while await self._request(wire):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # cancelled only by `stop`; a protocol would tell of it as of a fault
        except Exception as error:  # whatever it is, the books tell of it
            self.failed = error
        finally:
            self._tasks.discard(task)
            if wire.ask is not None:
                wire.ask.over = True
            if not wire.output.transport.is_closing():
                wire.output.close()

    async def _request(self, wire: Wire) -> bool:
        head = await wire.input.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        operation = PATHS[first.split()[1]]
        ask = Ask(operation, False, "", False, headers, asyncio.get_running_loop().time())
        self.asks.append(ask)
        ask.beside = self.busy
        wire.ask = ask
        wire.asked += 1
        fault = ask.fault = self.fault
        if fault is not None and fault.early is not None:
            await fault.early(Turn(wire, ask, Speech(operation, self.name, "early")))
            return False
        self.reading += 1
        try:
            body = await wire.input.readexactly(int(headers.get("content-length", "0")))
        finally:
            self.reading -= 1
        found = _IDENT.search(body)
        ask.ident = found.group().decode() if found else ""
        asked = json.loads(body)
        ask.model = str(asked.get("model"))
        ask.stream = asked.get("stream") is True
        ask.usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        speech = Speech(operation, self.voices.get(ask.model, self.voice), ask.ident, usage=ask.usage)
        if self.takes_prefill:
            speech.go_on(_given(asked))
        turn = Turn(wire, ask, speech)
        await (fault.play(turn) if fault is not None and fault.play is not None else turn.well())
        ask.over = True
        return turn.stays and not wire.output.transport.is_closing()


def _given(asked: dict[str, Any]) -> str:
    """The beginning of the answer, where the request brings one."""
    last = (asked.get("messages") or [{}])[-1]
    given = last["content"] if last.get("role") == "assistant" else asked.get("prompt", "")
    return str(given)


def _usual(fault: Fault | None) -> bool:
    """Whether it needs no other door than the usual one."""
    return fault is None or not (fault.door or fault.tls or fault.plain)
