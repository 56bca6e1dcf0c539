"""What the kubelet and Prometheus ask."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

import virtual_loop
from modelpool_operator.probes import STUCK_SECONDS, Probes
from modelpool_operator.telemetry import CONTENT_TYPE, Telemetry

Ask = Callable[[str], "asyncio.Future[tuple[int, str]]"]


@asynccontextmanager
async def probed(why: str | None = None) -> AsyncIterator[tuple[Probes, Ask]]:
    """Probes on a port of their own, and a way to ask them."""
    probes = Probes(Telemetry({}), lambda: why)
    port = await probes.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def ask(path: str) -> tuple[int, str]:
            async with session.get(path) as response:
                return response.status, await response.text()

        try:
            yield probes, lambda path: asyncio.ensure_future(ask(path))
        finally:
            await probes.stop()


async def test_one_that_runs_is_alive_and_ready_where_nothing_speaks_against_it() -> None:
    async with probed() as (_, ask):
        assert await ask("/livez") == (200, "ok\n")
        assert await ask("/readyz") == (200, "ok\n")


async def test_one_that_is_not_ready_says_why_and_stays_alive() -> None:
    async with probed("the API server has not answered yet") as (_, ask):
        assert await ask("/readyz") == (503, "the API server has not answered yet\n")
        assert (await ask("/livez"))[0] == 200


async def test_metrics_are_served_as_prometheus_reads_them() -> None:
    probes = Probes(Telemetry({}), lambda: None)
    port = await probes.start("127.0.0.1", 0)
    try:
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == CONTENT_TYPE
            assert "modelpool_operator_leader 0.0" in await response.text()
    finally:
        await probes.stop()


@pytest.mark.parametrize("path", ["/", "/metrics/x", "/debug/pprof"])
async def test_nothing_else_is_served(path: str) -> None:
    async with probed() as (_, ask):
        assert (await ask(path))[0] == 404


async def test_a_port_that_is_taken_is_an_error_and_stopping_is_fine_all_the_same() -> None:
    first, second = (Probes(Telemetry({}), lambda: None) for _ in range(2))
    port = await first.start("127.0.0.1", 0)
    with pytest.raises(OSError, match="address already in use"):
        await second.start("127.0.0.1", port)
    await second.stop()
    await first.stop()


async def test_stopping_what_never_started_is_fine() -> None:
    await Probes(Telemetry({}), lambda: None).stop()


@pytest.mark.parametrize(("late", "status"), [(0.0, 200), (STUCK_SECONDS - 5, 200), (STUCK_SECONDS + 5, 500)])
def test_a_loop_that_was_stuck_for_long_is_not_alive_until_it_runs_again(late: float, status: int) -> None:
    telemetry = Telemetry({})
    probes = Probes(telemetry, lambda: None)

    async def main() -> None:
        measuring = asyncio.create_task(probes.measure())
        await asyncio.sleep(0.5)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_loop.VirtualLoop)
        # The measure is due half a second from now; the loop is stuck beyond that.
        loop.pass_over(late + 0.5)
        await asyncio.sleep(0.01)
        assert (await probes._livez(None)).status == status
        assert f"modelpool_operator_loop_lag_seconds {late:.1f}".encode() in telemetry.scrape()
        await asyncio.sleep(2)
        assert (await probes._livez(None)).status == 200
        measuring.cancel()
        await asyncio.wait({measuring})

    virtual_loop.run(main())
