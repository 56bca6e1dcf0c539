"""The sockets to providers that a test asks by."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from modelpool_sidecar.upstream import AiohttpUpstream


@pytest_asyncio.fixture
async def edge() -> AsyncIterator[AiohttpUpstream]:
    edge = AiohttpUpstream()
    yield edge
    await edge.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
