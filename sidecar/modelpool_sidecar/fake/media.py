"""What is no conversation: verdicts, pictures, speech, transcripts. Small, well-formed and always the same."""

import base64
import io
import json
import struct
import wave
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpool_sidecar.fake import errors, form
from modelpool_sidecar.fake.errors import APIError, to_bytes
from modelpool_sidecar.fake.form import Upload
from modelpool_sidecar.fake.stream import Event, data

PATHS: dict[str, str] = {
    "/moderations": "moderations",
    "/images/generations": "images",
    "/images/edits": "edits",
    "/images/variations": "variations",
    "/audio/speech": "speech",
    "/audio/transcriptions": "transcriptions",
    "/audio/translations": "translations",
}
"""Path below /v1 -> operation, all of them POST."""

_FORMS = frozenset({"edits", "variations", "transcriptions", "translations"})
_NEEDED = {
    "moderations": "input",
    "images": "prompt",
    "edits": "image",
    "variations": "image",
    "speech": "input",
    "transcriptions": "file",
    "translations": "file",
}
_MODELS = {
    "moderations": "omni-moderation-latest",
    "images": "gpt-image-1",
    "edits": "gpt-image-1",
    "variations": "dall-e-2",
}
"""What is taken where the request names no model; the others must name one."""


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


PICTURE = base64.b64encode(
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\x00\xff"))
    + _chunk(b"IEND", b"")
).decode()
"""A PNG of one white point."""

_CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm"),
    *("self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
)
_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_MOST_PICTURES = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for something that is no conversation. `fields`: of its JSON or of its form."""

    operation: str
    model: str
    fields: Mapping[str, Any]

    @property
    def stream(self) -> bool:
        """Whether it comes as events."""
        if self.operation == "speech":
            return self.fields.get("stream_format") == "sse"
        return self.operation in ("images", "edits", "transcriptions") and self.fields.get("stream") in (True, "true")


@dataclass(frozen=True, slots=True)
class Made:
    """The answer as bytes, with its media type."""

    media_type: str
    content: bytes


def read(operation: str, content_type: str, body: bytes) -> Wanted | APIError:
    """What is asked for, or what the API would say to it."""
    fields: Any
    if operation in _FORMS:
        fields = form.read(content_type, body)
        if fields is None:
            return errors.invalid("Could not parse multipart form")
        fields = {name.removesuffix("[]"): value for name, value in fields.items()}
    else:
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            return errors.invalid("We could not parse the JSON body of your request.")
    needed = _NEEDED[operation]
    if fields.get(needed) in (None, "", []):
        return errors.missing(needed)
    model = fields.get("model") or _MODELS.get(operation)
    if not isinstance(model, str):
        return errors.invalid("you must provide a model parameter")
    return Wanted(operation, model, fields)


def make(wanted: Wanted, greeting: str, serial: str, created: int) -> Made:
    """The whole answer."""
    if wanted.operation == "moderations":
        return _json(_verdicts(wanted, serial))
    if wanted.operation == "speech":
        kind = str(wanted.fields.get("response_format") or "mp3")
        return Made(_TYPES.get(kind, "audio/mpeg"), sound())
    if wanted.operation in ("transcriptions", "translations"):
        return _transcript(wanted, greeting)
    pictures = [{"b64_json": PICTURE} for _ in range(_count(wanted.fields.get("n")))]
    return _json({"created": created, "data": pictures, "output_format": "png", "usage": _picture_usage(wanted)})


def events(wanted: Wanted, greeting: str, created: int) -> list[Event]:
    """The same as events."""
    if wanted.operation == "speech":
        part = base64.b64encode(sound()).decode()
        spent = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        return [
            Event(data({"type": "speech.audio.delta", "audio": part}), "token"),
            Event(data({"type": "speech.audio.done", "usage": spent}), "last"),
        ]
    if wanted.operation == "transcriptions":
        words = greeting.split(" ")
        tokens = [word if number == 0 else f" {word}" for number, word in enumerate(words)]
        usage = {"type": "tokens", "input_tokens": 10, "output_tokens": len(words), "total_tokens": 10 + len(words)}
        deltas = [Event(data({"type": "transcript.text.delta", "delta": token}), "token") for token in tokens]
        return [*deltas, Event(data({"type": "transcript.text.done", "text": greeting, "usage": usage}), "last")]
    name = "image_generation" if wanted.operation == "images" else "image_edit"
    about = {
        "b64_json": PICTURE,
        "background": "opaque",
        "created_at": created,
        "output_format": "png",
        "quality": "low",
        "size": "1024x1024",
    }
    partial = {"type": f"{name}.partial_image", "partial_image_index": 0, **about}
    whole = {"type": f"{name}.completed", **about, "usage": _picture_usage(wanted)}
    return [Event(data(partial), "token"), Event(data(whole), "last")]


def sound() -> bytes:
    """A WAV of a tenth of a second of silence, whatever its media type says."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(1)
        writer.setframerate(8000)
        writer.writeframes(b"\x80" * 800)
    return file.getvalue()


def _verdicts(wanted: Wanted, serial: str) -> dict[str, Any]:
    """Nothing is ever flagged."""
    asked = wanted.fields["input"]
    verdict = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    parts = isinstance(asked, list) and all(isinstance(each, dict) for each in asked)
    several = len(asked) if isinstance(asked, list) and not parts else 1
    return {"id": f"modr-{serial}", "model": wanted.model, "results": [verdict] * several}


def _transcript(wanted: Wanted, greeting: str) -> Made:
    kind = wanted.fields.get("response_format") or "json"
    if kind == "text":
        return Made("text/plain; charset=utf-8", f"{greeting}\n".encode())
    if kind == "srt":
        return Made("text/plain; charset=utf-8", f"1\n00:00:00,000 --> 00:00:01,000\n{greeting}\n".encode())
    if kind == "vtt":
        return Made("text/vtt; charset=utf-8", f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{greeting}\n".encode())
    if kind == "verbose_json":
        return _json({"task": "transcribe", "language": "english", "duration": 0.1, "text": greeting, "segments": []})
    words = len(greeting.split(" "))
    usage = {"type": "tokens", "input_tokens": 10, "output_tokens": words, "total_tokens": 10 + words}
    return _json({"text": greeting, "usage": usage})


def _picture_usage(wanted: Wanted) -> dict[str, Any]:
    prompt = wanted.fields.get("prompt")
    asked = max(1, len(prompt) // 4) if isinstance(prompt, str) else 1
    pictures = 1 if isinstance(wanted.fields.get("image"), Upload) else 0
    details = {"image_tokens": pictures, "text_tokens": asked}
    total = asked + pictures
    return {"input_tokens": total, "input_tokens_details": details, "output_tokens": 16, "total_tokens": total + 16}


def _count(value: object) -> int:
    number = int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else 1
    return max(1, min(_MOST_PICTURES, number))


def _json(value: object) -> Made:
    return Made("application/json", to_bytes(value))
