"""Asks with openai (sync and async) and langchain-openai as a person would; one line of JSON tells what came of each.

python sdks.py BASE_URL SDK MODEL...        with `+` before the name: as a stream, of the model NAME-stream
"""

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ASK: Any = [{"role": "user", "content": "id-0-0 hello"}]
PATIENCE_SECONDS = 5.0
"""For the ten minutes that the SDK waits for the next byte, where 3 s stand for 400."""
BEGAN = time.monotonic()


def told(error: BaseException) -> list[dict[str, Any]]:
    """The error's classes, its own first, and what it carries."""
    status, code = getattr(error, "status_code", None), getattr(error, "code", None)
    names = [kind.__name__ for kind in type(error).__mro__]
    return [{"class": name, "status": status, "code": code, "message": str(error)[:300]} for name in names]


def of(model: str) -> dict[str, Any]:
    """The SDK's own patience, to scale, for a model that thinks."""
    return {"timeout": PATIENCE_SECONDS, "max_retries": 0} if model.startswith("thinks") else {}


def openai_sync(base_url: str) -> Any:
    from openai import OpenAI

    def ask(model: str, stream: bool, out: dict[str, Any]) -> None:
        client = OpenAI(base_url=base_url, api_key="unused", **of(model))
        if not stream:
            choice = client.chat.completions.create(model=model, messages=ASK).choices[0]
            out["text"], out["finish"] = choice.message.content, choice.finish_reason
            return
        for chunk in client.chat.completions.create(model=model, messages=ASK, stream=True):
            for part in chunk.choices:
                out["text"] += part.delta.content or ""
                out["finish"] = part.finish_reason or out["finish"]

    return ask


def openai_async(base_url: str) -> Any:
    from openai import AsyncOpenAI

    async def work(model: str, stream: bool, out: dict[str, Any]) -> None:
        async with AsyncOpenAI(base_url=base_url, api_key="unused", **of(model)) as client:
            if not stream:
                choice = (await client.chat.completions.create(model=model, messages=ASK)).choices[0]
                out["text"], out["finish"] = choice.message.content, choice.finish_reason
                return
            async for chunk in await client.chat.completions.create(model=model, messages=ASK, stream=True):
                for part in chunk.choices:
                    out["text"] += part.delta.content or ""
                    out["finish"] = part.finish_reason or out["finish"]

    return lambda *args: asyncio.run(work(*args))


def langchain(base_url: str) -> Any:
    from langchain_openai import ChatOpenAI

    def ask(model: str, stream: bool, out: dict[str, Any]) -> None:
        key: Any = "unused"
        chat = ChatOpenAI(model=model, base_url=base_url, api_key=key, **of(model))
        for part in chat.stream("id-0-0 hello") if stream else [chat.invoke("id-0-0 hello")]:
            out["text"] += str(part.content)
            out["finish"] = part.response_metadata.get("finish_reason") or out["finish"]

    return ask


def main() -> None:
    """All of them at once."""
    base_url, sdk, *asked = sys.argv[1:]
    ask = {"openai_sync": openai_sync, "openai_async": openai_async, "langchain": langchain}[sdk](base_url)

    def one(name: str) -> None:
        out: dict[str, Any] = {"asked": name, "text": "", "finish": None, "errors": []}
        try:
            ask(f"{name[1:]}-stream" if name.startswith("+") else name, name.startswith("+"), out)
        except Exception as error:  # whatever it is, it is what a person would see
            out["errors"] = told(error)
        out["seconds"] = time.monotonic() - BEGAN
        sys.stdout.write(json.dumps(out) + "\n")  # in one piece: others write, too
        sys.stdout.flush()

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, asked))


if __name__ == "__main__":
    main()
