"""A scripted provider on real sockets, for the quickstart, for tests and for `modelpool fake-provider`.

Pure: `script` (which step applies), `http1` (bytes to requests), `question`, `speech`, `schema` (what is asked, what is
said), `chat`, `responses`, `embeddings`, `media`, `form`, `errors`, `stream` (how the API says it), `keeping`
(what stays), `dialect` (one answer), `raw` and `log` (values). I/O: `wire` (one connection), `provider` (the server).
"""

from modelpool_sidecar.fake.log import FakeAttempt
from modelpool_sidecar.fake.provider import FakeProvider, run
from modelpool_sidecar.fake.raw import RawAnswer

__all__ = ["FakeAttempt", "FakeProvider", "RawAnswer", "run"]
