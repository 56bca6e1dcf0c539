"""What a fake provider keeps in memory: files, uploads, batches, responses, conversations; the oldest go first.

Everything is done at once: a background response and a batch are complete when they are looked at for the first time.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from modelpool_sidecar.fake import errors, form, responses
from modelpool_sidecar.fake.errors import APIError, to_bytes
from modelpool_sidecar.fake.form import Upload
from modelpool_sidecar.fake.media import Made
from modelpool_sidecar.fake.question import Question
from modelpool_sidecar.fake.speech import Speech
from modelpool_sidecar.fake.stream import Event

MAX_THINGS = 1000
"""Of each kind."""
MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of all files together."""

KINDS = ("files", "uploads", "batches", "responses", "conversations")
_WORDS = {
    "files": "File",
    "uploads": "Upload",
    "batches": "Batch",
    "responses": "Response",
    "conversations": "Conversation",
}

Document = dict[str, Any]
Told = Document | Made | APIError | list[Event]


@dataclass(slots=True)
class Thing:
    """One thing. `content`: a file's bytes, an upload's parts, the items of a conversation or of a response's input."""

    document: Document
    content: Any = None
    events: Callable[[], Iterator[Event]] | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """A request about kept things. `greeting`: what the answers of a batch say."""

    method: str
    path: str
    query: str
    content_type: str
    body: bytes
    serial: str
    created: int
    greeting: str


def knows(path: str, method: str) -> bool:
    """Whether a path below /v1 is about kept things; a question to the Responses API is not."""
    kind = path.split("/")[1] if path.startswith("/") else ""
    return kind in KINDS and (kind, path.count("/"), method) != ("responses", 1, "POST")


@dataclass(slots=True)
class Store:
    """All of it, by kind and id."""

    things: dict[str, dict[str, Thing]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def keep(self, kind: str, thing: Thing) -> Document:
        """Remember it; the oldest are forgotten."""
        kept = self.things[kind]
        kept[thing.document["id"]] = thing
        while len(kept) > MAX_THINGS or (kind == "files" and _size(kept) > MAX_FILE_BYTES):
            del kept[next(iter(kept))]
        return thing.document

    def keep_response(self, asked: Question, speech: Speech, serial: str, created: int) -> Document | None:
        """Remember a response unless it says otherwise; what is told now, where that is not all of it."""
        if asked.body.get("store") is False:
            return None
        background = asked.body.get("background") is True
        document = responses.response(asked, speech, serial, created) | {"background": background}
        sent = asked.body.get("input")
        items = sent if isinstance(sent, list) else [_message("user", sent)]
        events = _events_of(asked, speech, serial, created)
        kept = self.keep("responses", Thing(document, _with_ids(items, f"{serial}i"), events))
        conversation = self.things["conversations"].get(_conversation(asked) or "")
        if conversation is not None:
            conversation.content += [*_with_ids(items, serial), *document["output"]]
        return {**kept, "status": "queued", "output": [], "usage": None} if background else None

    def lacks(self, asked: Question) -> APIError | None:
        """What a question names that is not here."""
        before, conversation = asked.body.get("previous_response_id"), _conversation(asked)
        if before and before not in self.things["responses"]:
            message = f"Previous response with id '{before}' not found."
            return errors.invalid(message, "previous_response_id", "previous_response_not_found")
        if conversation is not None and conversation not in self.things["conversations"]:
            return _missing("conversations", conversation)
        return None

    def answer(self, asking: Asking) -> Told:
        """What the API says to a request about kept things."""
        _, kind, *rest = asking.path.split("/")
        if not rest:
            return self._collection(kind, asking)
        thing = self.things[kind].get(rest[0])
        if thing is None:
            return _missing(kind, rest[0])
        if len(rest) == 1:
            return self._one(kind, thing, asking)
        acts: dict[tuple[str, str, str], Act] = {2: _ACTS, 3: _ITEMS}.get(len(rest), {})
        act = acts.get((kind, rest[1], asking.method))
        if act is None:
            return errors.unknown_url(asking.method, f"/v1{asking.path}")
        return act(self, thing, asking)

    def _collection(self, kind: str, asking: Asking) -> Told:
        if asking.method == "GET" and kind in ("files", "batches"):
            return _list([thing.document for thing in reversed(self.things[kind].values())])
        make = {"files": _file, "uploads": _upload, "batches": _batch, "conversations": _conversation_made}.get(kind)
        if make is None or asking.method != "POST":
            return errors.wrong_method(asking.method, f"/v1{asking.path}")
        return make(self, asking)

    def _one(self, kind: str, thing: Thing, asking: Asking) -> Told:
        if asking.method == "DELETE" and kind in ("files", "responses", "conversations"):
            del self.things[kind][thing.document["id"]]
            name = "conversation.deleted" if kind == "conversations" else kind.removesuffix("s")
            return {"id": thing.document["id"], "object": name, "deleted": True}
        if asking.method == "POST" and kind == "conversations":
            thing.document["metadata"] = _fields(asking).get("metadata") or {}
            return thing.document
        if asking.method != "GET" or kind == "uploads":
            return errors.wrong_method(asking.method, f"/v1{asking.path}")
        if kind == "batches" and thing.document["status"] == "validating":
            self._carry_out(thing, asking)
        if thing.events is not None and "stream=true" in asking.query:
            return list(thing.events())
        return thing.document

    def _carry_out(self, batch: Thing, asking: Asking) -> None:
        """A batch is done: each line of its file has the greeting for an answer."""
        file = self.things["files"].get(batch.document["input_file_id"])
        lines = [json.loads(line) for line in file.content.splitlines() if line.strip()] if file else []
        message = {"role": "assistant", "content": asking.greeting}
        body = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        answers = [
            {"custom_id": line.get("custom_id"), "response": {"status_code": 200, "body": body}, "error": None}
            for line in lines
        ]
        content = b"".join(to_bytes(answer) + b"\n" for answer in answers)
        output = self.filed(asking, "output.jsonl", "batch_output", content)
        counts = {"total": len(lines), "completed": len(lines), "failed": 0}
        batch.document |= {"status": "completed", "output_file_id": output["id"], "request_counts": counts}

    def filed(self, asking: Asking, name: str, purpose: str, content: bytes) -> Document:
        """A new file."""
        document = {
            "id": f"file-{asking.serial}",
            "object": "file",
            "bytes": len(content),
            "created_at": asking.created,
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        return self.keep("files", Thing(document, content))


def _size(files: dict[str, Thing]) -> int:
    return sum(len(file.content) for file in files.values())


def _file(store: Store, asking: Asking) -> Told:
    fields = form.read(asking.content_type, asking.body) or {}
    file, purpose = fields.get("file"), fields.get("purpose")
    if not isinstance(file, Upload) or not isinstance(purpose, str):
        return errors.missing("purpose" if isinstance(file, Upload) else "file")
    return store.filed(asking, file.name, purpose, file.content)


def _upload(store: Store, asking: Asking) -> Told:
    asked = _fields(asking)
    document = {
        "id": f"upload_{asking.serial}",
        "object": "upload",
        "bytes": asked.get("bytes", 0),
        "created_at": asking.created,
        "expires_at": asking.created + 3600,
        "filename": asked.get("filename", "upload"),
        "purpose": asked.get("purpose", "assistants"),
        "status": "pending",
        "file": None,
    }
    return store.keep("uploads", Thing(document, {}))


def _batch(store: Store, asking: Asking) -> Told:
    asked = _fields(asking)
    file = asked.get("input_file_id")
    if file not in store.things["files"]:
        return errors.invalid(f"No such File object: {file}", "input_file_id")
    document = {
        "id": f"batch_{asking.serial}",
        "object": "batch",
        "endpoint": asked.get("endpoint", "/v1/chat/completions"),
        "errors": None,
        "input_file_id": file,
        "completion_window": asked.get("completion_window", "24h"),
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": asking.created,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": asked.get("metadata"),
    }
    return store.keep("batches", Thing(document))


def _conversation_made(store: Store, asking: Asking) -> Told:
    asked = _fields(asking)
    document = {
        "id": f"conv_{asking.serial}",
        "object": "conversation",
        "created_at": asking.created,
        "metadata": asked.get("metadata") or {},
    }
    return store.keep("conversations", Thing(document, _with_ids(asked.get("items") or [], asking.serial)))


def _content(store: Store, thing: Thing, asking: Asking) -> Told:
    return Made("application/octet-stream", thing.content)


def _part(store: Store, thing: Thing, asking: Asking) -> Told:
    data = (form.read(asking.content_type, asking.body) or {}).get("data")
    if not isinstance(data, Upload):
        return errors.missing("data")
    identity, upload = f"part_{asking.serial}", thing.document["id"]
    thing.content[identity] = data.content
    return {"id": identity, "object": "upload.part", "created_at": asking.created, "upload_id": upload}


def _complete(store: Store, thing: Thing, asking: Asking) -> Told:
    parts = _fields(asking).get("part_ids") or []
    if not all(part in thing.content for part in parts):
        return errors.invalid("No such part", "part_ids")
    content = b"".join(thing.content[part] for part in parts)
    about = thing.document
    file = store.filed(asking, about["filename"], about["purpose"], content)
    thing.document |= {"status": "completed", "file": file}
    thing.content = {}
    return thing.document


def _cancel(store: Store, thing: Thing, asking: Asking) -> Told:
    about = thing.document
    if about.get("object") == "response" and not about["background"]:
        return errors.invalid("Cannot cancel a synchronous response.")
    about["status"] = "cancelling" if about["object"] == "batch" else "cancelled"
    return about


def _items(store: Store, thing: Thing, asking: Asking) -> Told:
    return _list(thing.content)


def _add(store: Store, thing: Thing, asking: Asking) -> Told:
    added = _with_ids(_fields(asking).get("items") or [], asking.serial)
    thing.content = [*thing.content, *added][-MAX_THINGS:]
    return _list(added)


def _item(store: Store, thing: Thing, asking: Asking) -> Told:
    wanted = asking.path.rsplit("/", 1)[1]
    found = [item for item in thing.content if item["id"] == wanted]
    return found[0] if found else _missing("conversations", wanted)


def _remove(store: Store, thing: Thing, asking: Asking) -> Told:
    wanted = asking.path.rsplit("/", 1)[1]
    thing.content = [item for item in thing.content if item["id"] != wanted]
    return thing.document


Act = Callable[[Store, Thing, Asking], Told]
_ACTS: dict[tuple[str, str, str], Act] = {
    ("files", "content", "GET"): _content,
    ("uploads", "parts", "POST"): _part,
    ("uploads", "complete", "POST"): _complete,
    ("uploads", "cancel", "POST"): _cancel,
    ("batches", "cancel", "POST"): _cancel,
    ("responses", "cancel", "POST"): _cancel,
    ("responses", "input_items", "GET"): _items,
    ("conversations", "items", "GET"): _items,
    ("conversations", "items", "POST"): _add,
}
_ITEMS: dict[tuple[str, str, str], Act] = {
    ("conversations", "items", "GET"): _item,
    ("conversations", "items", "DELETE"): _remove,
}


def _events_of(asked: Question, speech: Speech, serial: str, created: int) -> Callable[[], Iterator[Event]]:
    return lambda: responses.response_events(asked, speech, serial, created, count())


def _conversation(asked: Question) -> str | None:
    named = asked.body.get("conversation")
    identity = named.get("id") if isinstance(named, dict) else named
    return identity if isinstance(identity, str) else None


def _fields(asking: Asking) -> Document:
    try:
        found = json.loads(asking.body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _message(role: str, text: object) -> Document:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": str(text)}]}


def _with_ids(items: list[Any], serial: str) -> list[Document]:
    """Items as the API gives them back: each a message with an id and parts."""
    told = []
    for number, item in enumerate(items):
        given = item if isinstance(item, dict) else _message("user", item)
        if isinstance(given.get("content"), str):
            given = {**given, **_message(given.get("role", "user"), given["content"])}
        told.append({"type": "message", "status": "completed", **given, "id": f"msg_{serial}_{number}"})
    return told


def _list(data: list[Document]) -> Document:
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False}


def _missing(kind: str, identity: str) -> APIError:
    return APIError(404, errors.INVALID, None, f"No such {_WORDS[kind]} object: {identity}", "id")
