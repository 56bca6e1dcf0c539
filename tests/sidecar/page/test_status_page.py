"""The status page in a real browser, in front of a real sidecar: what a person can read, and hear, in each state."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from browser import Tab, a_tab
from builders import a_config, a_pool, a_provider, a_target, an_api_key
from modelpool_cli.freeports import any_port
from modelpool_config import callerkeys
from modelpool_config import models as contract
from modelpool_sidecar.app import Sidecar
from modelpool_sidecar.settings import Settings
from modelpool_sidecar.telemetry import service

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

QUICK = {"failures": 1, "min_requests": 1, "cooldown": 300_000, "max_cooldown": 300_000}
RETURNS = {"failures": 1, "min_requests": 1, "cooldown": 1, "max_cooldown": 1, "successes": 1, "ramp_up": 3_600_000}


def a_fake(name: str, **changes: Any) -> contract.Provider:
    return a_provider(name, dialect="Fake", base_url=None, **changes)


@asynccontextmanager
async def sidecar(config: contract.Config, port: int = 0) -> AsyncIterator[Sidecar]:
    settings = Settings(data_hosts=("127.0.0.1",), local_hosts=("127.0.0.1",), port=port)
    it = Sidecar(settings, service.build({}), lambda _record: None)
    await it.start()
    try:
        await it.apply(config, {})
        yield it
    finally:
        await it.stop()


@asynccontextmanager
async def page(chromium: str, it: Sidecar, **window: Any) -> AsyncIterator[Tab]:
    async with a_tab(chromium) as tab:
        await tab.open(f"http://127.0.0.1:{it.local_port}/", **window)
        await tab.shows("live")
        yield tab


async def ask(it: Sidecar, model: str = "chat", **headers: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    url = f"http://127.0.0.1:{it.data_port}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        await answer.read()
        return answer.status


async def break_it(it: Sidecar, name: str, fault: str) -> None:
    url = f"http://127.0.0.1:{it.local_port}/-/fake/{name}/break?as={fault}"
    async with aiohttp.ClientSession() as session, session.post(url) as answer:
        assert answer.status == 200


async def mend(it: Sidecar, name: str) -> None:
    url = f"http://127.0.0.1:{it.local_port}/-/fake/{name}/mend"
    async with aiohttp.ClientSession() as session, session.post(url) as answer:
        assert answer.status == 200


async def test_who_serves_cools_probes_ramps_or_is_drained_can_be_read(chromium: str) -> None:
    config = a_config(
        pools=[
            a_pool(
                targets=[
                    a_target("cold", weight=90),
                    a_target("quick", weight=10, limits={"concurrency": {"max": 4, "mode": "Adaptive"}}),
                    a_target("idle", priority=1),
                    a_target("keyless", priority=1),
                ],
                models=("chat", "gpt-*"),
                limits={
                    "requests": [{"name": "minute", "max": 60, "per": 60_000, "burst": 60, "scope": "Sidecar"}],
                    "concurrency": {"max": 8, "queue": {"max": 4, "timeout": 5_000}},
                },
                unresolved=({"target": "gone", "reason": "ProviderNotFound", "message": "there is no Provider gone"},),
            ),
            a_pool("later", targets=[a_target("later")]),
        ],
        providers=[
            a_fake("cold", health=QUICK),
            a_fake("quick", health=RETURNS),
            a_fake("idle", traffic="Drained"),
            a_provider("keyless", auth=an_api_key()),
            a_fake("later", health=RETURNS),
        ],
        closed=[contract.ClosedPool(name="shut", models=("shut",), code="no_target", message="nobody is there")],
    )
    async with sidecar(config) as it, page(chromium, it) as tab:
        text = await tab.shows("chat", "answers to chat, gpt-*", "priority 0: is asked first", "priority 1: waits")
        assert "weight 90 of 100" in text
        assert "0 of 8 in flight" in text
        assert "0 of 4 waiting" in text
        assert "60 per 1 min\n" in text
        assert "concurrency of target quick\n4 at once\n4 left" in text
        assert "0 in flight · adaptive 4" in text
        await tab.shows("gone\nProviderNotFound", "there is no Provider gone")
        await tab.shows("idle\ndrained by hand", "keyless\nno key yet\nhas no key yet (Secret openai, key api-key)")
        await tab.shows("shut\nclosed", "503 no_target: nobody is there")
        await tab.shows("cold\nserving")

        await break_it(it, "cold", "500")
        assert await ask(it, **{"x-modelpool-target": "cold"}) == 500
        await tab.shows("cold\ncooling: Failed\nfor ", "cold\nfake, broken: 500", "59 left", "whole again in ")
        await tab.shows("quick\nserving", "degraded")

        await break_it(it, "later", "Refuse")
        assert await ask(it, "later") >= 500
        await tab.shows("later\nto be probed")
        await mend(it, "later")
        assert await ask(it, "later") == 200
        await tab.shows("later\nramping up, 10 %")

        it.tell(["pool.yaml:7: targets[0].weight must be between 0 and 1000000, not -5"])
        await tab.shows(
            "Problems of the newest config, since ", "targets[0].weight must be between 0 and 1000000, not -5"
        )
        it.tell([])
        await gone(tab, "Problems of the newest config")
        assert tab.complaints == []
        assert set(tab.asked_for) == {f"http://127.0.0.1:{it.local_port}/{path}" for path in ("", "-/state")}


async def gone(tab: Tab, word: str) -> None:
    """Wait until it can no longer be read."""
    async with asyncio.timeout(20):
        while word in await tab.text():  # noqa: ASYNC110 - the page announces nothing to us
            await asyncio.sleep(0.05)


async def test_what_looks_like_markup_is_read_and_never_run(chromium: str) -> None:
    evil = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>"
    config = a_config(
        pools=[a_pool(targets=[a_target(model=evil)], models=("chat", f"{evil}*"))],
        providers=[a_fake("primary")],
        closed=[contract.ClosedPool(name="shut", models=("shut",), code="no_target", message=evil)],
    )
    async with sidecar(config) as it, page(chromium, it) as tab:
        it.tell([evil])
        text = await tab.shows(f"model {evil}", f"503 no_target: {evil}", f"\n{evil}\n")
        assert f"answers to chat, {evil}*" in text
        assert await tab.value("document.title") == "! modelpool"
        assert await tab.value("document.images.length") == 0
        assert await tab.value("document.scripts.length") == 1
        blocked = (
            "document.body.appendChild(Object.assign(document.createElement('script'), {text: 'window.taken = 1'}))"
        )
        await tab.value(f"{blocked}; 0")
        assert await tab.value("window.taken === undefined")
        assert any("Content Security Policy" in complaint for complaint in tab.complaints)


async def test_who_may_use_a_pool_and_where_its_files_live_is_told_by_name_and_without_a_key(chromium: str) -> None:
    minute = {"name": "minute", "max": 5, "per": 60_000, "burst": 4, "scope": "Sidecar"}
    entries = [{"name": name, "limits": {"requests": [minute]}} for name in ("batch", "search")]
    callers = {"keys": "team", "source": "Secret team-keys", "entries": entries}
    pool = a_pool(targets=[a_target("primary")], callers=callers, stateful={"target": "primary"})
    key = "sk-of-search-0123456789abcdef"
    config = a_config(pools=[pool], providers=[a_fake("primary")])
    async with sidecar(config) as it:
        keys = callerkeys.encode({name: callerkeys.digest(f"{key}-{name}") for name in ("batch", "search")})
        await it.apply(config, {"team": keys})
        async with page(chromium, it) as tab:
            shown = await tab.shows(
                "for 2 callers with a key of Secret team-keys: batch, search",
                "files, batches and kept answers live at primary",
            )
            assert key not in shown
            assert "of caller" not in shown, "nobody has used anything"
            assert await ask(it, authorization=f"Bearer {key}-search") == 200
            shown = await tab.shows("minute of caller search\n5 per 1 min, burst 4\n3 left")
            assert "of caller batch" not in shown


async def test_what_the_cache_keeps_is_told(chromium: str) -> None:
    cache = {"ttl": 60_000, "max_entries": 9, "max_bytes": 2_097_152, "temperature": "Any"}
    async with (
        sidecar(a_config([a_pool(cache=cache)], providers=[a_fake("primary")])) as it,
        page(chromium, it) as tab,
    ):
        await tab.shows("keeps 0 of 9 answers, 0.0 of 2.0 MiB")
        for _ in range(4):
            assert await ask(it) == 200
        await tab.shows("keeps 1 of 9 answers, 0.0 of 2.0 MiB; 75% were hits")


async def test_a_restart_is_told_and_lived_through(chromium: str) -> None:
    port = any_port()
    config = a_config(providers=[a_fake("primary")])
    async with sidecar(config, port) as first:
        browser = a_tab(chromium)
        tab = await browser.__aenter__()
        try:
            await tab.open(f"http://127.0.0.1:{first.local_port}/")
            await tab.shows("live", "primary\nserving")
            await first.stop()
            text = await tab.shows("no answer", "No answer since", "nothing listens there")
            assert "primary\nserving" in text, "what was known stays, and is said to be old"
            assert await tab.value("document.title") == "! modelpool"
            other = a_config(pools=[a_pool("other")], providers=[a_fake("primary")])
            async with sidecar(other, port):
                text = await tab.shows("live", "other")
                assert "No answer" not in text
        finally:
            await browser.__aexit__(None, None, None)


async def test_it_fits_a_phone_and_a_dark_room_and_is_sound_to_a_screen_reader(chromium: str) -> None:
    pools = [a_pool(f"pool-{number:02}", targets=[a_target("one"), a_target("two")]) for number in range(20)]
    long = "an-upstream-model-with-a-name-that-does-not-end-before-the-window-does-" * 3
    pools.append(a_pool("wide", targets=[a_target("one", model=long)]))
    async with (
        sidecar(a_config(pools=pools, providers=[a_fake("one"), a_fake("two")])) as it,
        page(chromium, it, width=340) as tab,
    ):
        await tab.shows("pool-00", "wide", "Only pools with")
        assert await tab.value("document.documentElement.scrollWidth <= window.innerWidth")
        light = await tab.value("getComputedStyle(document.body).backgroundColor")
        await tab.look_as(width=1800, dark=True)
        assert await tab.value("getComputedStyle(document.body).backgroundColor") != light
        assert (
            await tab.value("getComputedStyle(document.querySelector('.pools')).gridTemplateColumns.split(' ').length")
            > 2
        )

        await tab.shows("21 pools, all are well")
        await break_it(it, "one", "402")
        await ask(it, "wide")
        await tab.shows("21 pools, 1 not well:", "wide nobody can be asked")
        href = "document.querySelector('nav a[href=\"#pool-wide\"]')"
        assert await tab.value(f"{href}.click(), document.querySelector(':target').textContent") == "wide"
        await mend(it, "one")

        heard = await tab.spoken()
        assert ("heading", "modelpool") in heard
        assert ("heading", "pool-07") in heard
        assert ("region", "pool-07") in heard
        assert any(role == "searchbox" and name.startswith("Only pools with") for role, name in heard)
        assert "status" in {role for role, _ in heard}
        assert await tab.value("document.documentElement.lang") == "en"

        await tab.value("document.querySelector('#filter').focus()")
        await tab.call("Input.insertText", text="pool-1")
        await gone(tab, "pool-07")
        assert "pool-17" in await tab.text()
        await tab.value("window.kept = document.querySelector('section')")
        await ask(it, "pool-10")
        await tab.shows("pool-10")
        assert await tab.value("window.kept === document.querySelector('section')"), "what is looked at is not replaced"
        assert await tab.value("document.activeElement.id") == "filter"
        assert tab.complaints == []


async def test_a_change_is_said_aloud_once(chromium: str) -> None:
    config = a_config(providers=[a_fake("primary", health=QUICK)])
    async with sidecar(config) as it, page(chromium, it) as tab:
        await tab.shows("primary\nserving")
        await break_it(it, "primary", "500")
        await ask(it)
        await tab.shows("cooling: Failed")
        said = await tab.value("document.querySelector('[role=status]').textContent")
        assert "target primary of pool chat: cooling: Failed" in said
