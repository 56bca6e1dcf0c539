"""How an answer's body ends on the wire, and may it have one: by a length, by chunks, by the connection's end."""

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter


class Answer(web.StreamResponse):
    """aiohttp ends a response when its handler returns; a broken one must never be ended (B25)."""

    broken = False
    _send_headers_immediately = False
    """The head waits for what follows it at once, and goes out in one piece with it; a test holds this name."""

    def send_head(self) -> None:
        """Nothing follows at once."""
        if self._payload_writer is not None:
            self._payload_writer.send_headers()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self.broken:
            raise ConnectionResetError("the answer was cut")
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        if self.broken:
            raise ConnectionResetError("the answer was cut")
        await super().write_eof(data)


def broken(answer: Answer | None) -> Answer:
    """It must never be ended; where there is none yet, none may begin."""
    answer = answer or Answer()
    answer.broken = True
    return answer


def is_bodiless(request: web.BaseRequest, answer: Answer) -> bool:
    """A body byte would be read as the head of the next answer, whatever the headers say."""
    return request.method == "HEAD" or answer.status < 200 or answer.status in (204, 304)


def is_chunked(request: web.BaseRequest, answer: Answer | None) -> bool:
    """Whether the end of it can be seen to be missing."""
    if answer is None or is_bodiless(request, answer):
        return False
    return answer.content_length is None and request.version >= (1, 1)


def ends_by_close(request: web.BaseRequest, answer: Answer) -> bool:
    """Nothing but the end of the connection tells a client of HTTP/1.0 that this body is complete."""
    return answer.content_length is None and request.version < (1, 1) and not is_bodiless(request, answer)
