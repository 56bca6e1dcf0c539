"""What the API server is asked, and what its refusals mean."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fake_api import FakeApi
from modelpool_operator import access
from modelpool_operator.kube import PAGE, WRITE, ApiError, Kube, NotLeadingError

CONFIG_MAPS = "/api/v1/namespaces/shop/configmaps"
SECRETS = "/api/v1/namespaces/shop/secrets"
VALUE = "SHOUT-1"
SHORT = aiohttp.ClientTimeout(total=0.2)


@asynccontextmanager
async def connected(api: FakeApi, folder: Path, *, leads: bool = True) -> AsyncIterator[Kube]:
    found = await access.configuration(str(api.kubeconfig(folder)))
    async with access.client(found) as client:
        kube = Kube(client)
        kube.guard(lambda: leads)
        yield kube


def _config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": data}


async def _refusal(call: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def test_an_object_is_read_and_one_that_is_not_there_is_absent(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.put(_config_map(x="1"))
        assert (await kube.get(f"{CONFIG_MAPS}/a"))["data"] == {"x": "1"}
        error = await _refusal(kube.get(f"{CONFIG_MAPS}/b"))
        assert (error.absent, error.lasting, error.stale, error.status, error.reason) == (
            True,
            False,
            False,
            404,
            "NotFound",
        )


async def test_a_list_comes_page_by_page_and_is_whole(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        for number in range(PAGE * 2 + 1):
            api.put(_config_map(f"c{number}"))
        listed = await kube.list(CONFIG_MAPS)
        assert len({each["metadata"]["name"] for each in listed.items}) == PAGE * 2 + 1
        assert int(listed.version) > 0
        assert len(api.asked("GET", "configmaps")) == 3


async def test_an_empty_list_of_metadata_is_a_list(tmp_path: Path) -> None:
    """The real server says `items: null` there."""
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        assert (await kube.list(CONFIG_MAPS, metadata=True)).items == ()


async def test_a_list_of_metadata_holds_no_data(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.put({**_config_map(x=VALUE), "kind": "Secret"})
        listed = await kube.list(SECRETS, {"fieldSelector": "metadata.name=a"}, metadata=True)
        assert [set(each) & {"data"} for each in listed.items] == [set()]
        assert VALUE not in repr(listed)


async def test_a_list_that_changed_for_too_long_is_expired(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        for number in range(PAGE + 1):
            api.put(_config_map(f"c{number}"))
        api.fail("GET", "continue=", 410)
        assert (await _refusal(kube.list(CONFIG_MAPS))).expired


async def test_a_watch_tells_what_happens_and_ends_by_itself(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        version = (await kube.list(CONFIG_MAPS)).version
        api.put(_config_map("a"))
        api.remove("ConfigMap", "shop", "a")
        seen = [
            (kind, each["metadata"].get("name")) async for kind, each in kube.watch(CONFIG_MAPS, version, seconds=1)
        ]
        assert [each for each in seen if each[0] != "BOOKMARK"] == [("ADDED", "a"), ("DELETED", "a")]


@pytest.mark.parametrize("as_status", [True, False])
async def test_a_watch_from_a_version_that_is_too_old_is_expired_however_that_is_said(
    tmp_path: Path, as_status: bool
) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        version = (await kube.list(CONFIG_MAPS)).version
        api.put(_config_map("a"))
        api.compact(as_status=as_status)
        error = await _refusal(_drain(kube, version))
        assert error.expired


async def test_an_error_that_comes_as_an_event_is_an_error(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        version = (await kube.list(CONFIG_MAPS)).version
        watching = asyncio.create_task(_refusal(_drain(kube, version, 30)))
        await api.wait_for(lambda: api.watches("configmaps"))
        api.error_event(code=500, message="etcd is asleep")
        error = await watching
        assert (error.status, error.expired) == (500, False)
        assert "etcd is asleep" in str(error)


async def test_a_watch_that_is_cut_off_ends_and_says_so_or_just_ends(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        version = (await kube.list(CONFIG_MAPS)).version
        watching = asyncio.create_task(_drain(kube, version, 30))
        await api.wait_for(lambda: api.watches("configmaps"))
        api.drop_watches()
        done, _ = await asyncio.wait({watching}, timeout=5)
        assert done
        error = watching.exception()
        assert error is None or (isinstance(error, ApiError) and error.status == 0)


async def _drain(kube: Kube, version: str, seconds: int = 1) -> None:
    async for _ in kube.watch(CONFIG_MAPS, version, seconds=seconds):
        pass


async def test_nothing_is_written_while_the_lease_is_not_ours_and_nothing_leaves_us(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path, leads=False) as kube:
        for call in (
            kube.apply(f"{CONFIG_MAPS}/a", _config_map(), "m"),
            kube.merge(f"{CONFIG_MAPS}/a", {"data": {"x": None}}, "m"),
            kube.create(CONFIG_MAPS, _config_map(), "m"),
        ):
            with pytest.raises(NotLeadingError, match="the Lease is not ours"):
                await call
        assert api.journal == []


async def test_without_a_guard_nothing_is_written(tmp_path: Path) -> None:
    async with FakeApi() as api:
        found = await access.configuration(str(api.kubeconfig(tmp_path)))
        async with access.client(found) as client:
            with pytest.raises(NotLeadingError):
                await Kube(client).create(CONFIG_MAPS, _config_map(), "m")


async def test_the_lease_itself_is_written_without_it(tmp_path: Path) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}}
    async with FakeApi() as api, connected(api, tmp_path, leads=False) as kube:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        made = await kube.elect("POST", path, lease, 2.0)
        again = await kube.elect("PUT", f"{path}/l", {**made, "spec": {"holderIdentity": "me"}}, 2.0)
        assert again["spec"]["holderIdentity"] == "me"
        assert (await _refusal(kube.elect("PUT", f"{path}/l", made, 2.0))).stale
        assert (await kube.elect("GET", f"{path}/l", None, 2.0))["spec"]["holderIdentity"] == "me"


async def test_an_apply_makes_the_object_and_gives_it_back_and_takes_away_what_it_no_longer_says(
    tmp_path: Path,
) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        made = await kube.apply(f"{CONFIG_MAPS}/a", _config_map(x="1", y="2"), "modelpool")
        assert made["data"] == {"x": "1", "y": "2"}
        changed = await kube.apply(f"{CONFIG_MAPS}/a", _config_map(x="3"), "modelpool")
        assert changed["data"] == {"x": "3"}
        assert api.journal[-1].manager == "modelpool"


async def test_a_merge_takes_away_what_is_somebody_elses(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.put(_config_map(x="1", y="2"))
        assert (await kube.merge(f"{CONFIG_MAPS}/a", {"data": {"y": None}}, "m"))["data"] == {"x": "1"}


async def test_a_stale_version_and_a_name_that_is_taken_are_stale(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.put(_config_map())
        body = _config_map(x="1")
        body["metadata"]["resourceVersion"] = "1"
        error = await _refusal(kube.apply(f"{CONFIG_MAPS}/a", body, "m"))
        assert (error.stale, error.lasting) == (True, False)
        assert (await _refusal(kube.create(CONFIG_MAPS, _config_map(), "m"))).stale


async def test_a_namespace_on_its_way_out_is_told_from_a_lack_of_rights(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.put(_config_map())
        api.terminate("shop")
        assert (await _refusal(kube.create(CONFIG_MAPS, _config_map("b"), "m"))).terminating
        api.fail("GET", "configmaps", 403)
        error = await _refusal(kube.get(f"{CONFIG_MAPS}/a"))
        assert (error.terminating, error.lasting) == (False, True)


async def test_who_asks_too_much_is_told_how_long_to_wait(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.throttle(retry_after_seconds=7)
        error = await _refusal(kube.get(f"{CONFIG_MAPS}/a"))
        assert (error.status, error.retry_after_seconds, error.lasting) == (429, 7, False)


async def test_an_api_server_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.silence()
        error = await _refusal(kube.get(f"{CONFIG_MAPS}/a", patience=SHORT))
        assert (error.status, str(error)) == (0, "the API server cannot be asked: it did not answer in time")
        error = await _refusal(kube.elect("GET", f"{CONFIG_MAPS}/a", None, 0.2))
        assert error.status == 0
        api.speak()


def test_a_write_that_began_while_the_lease_was_ours_is_given_up_before_it_can_be_anothers() -> None:
    from modelpool_operator.elector import HOLD_SECONDS, LEASE_SECONDS

    assert WRITE.total is not None
    assert HOLD_SECONDS + WRITE.total < LEASE_SECONDS


async def test_an_answer_that_is_cut_off_or_nobody_who_listens_is_no_answer(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.cut()
        assert (await _refusal(kube.get(f"{CONFIG_MAPS}/a"))).status == 0
        api.mend()
        await api.doors["main"].refuse()
        error = await _refusal(kube.get(f"{CONFIG_MAPS}/a"))
        assert error.status == 0
        assert str(error).startswith("the API server cannot be asked: ")


async def test_a_write_whose_answer_is_lost_is_no_answer_though_it_was_done(tmp_path: Path) -> None:
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        api.lose_answers("PATCH", "configmaps")
        applying = asyncio.create_task(kube.apply(f"{CONFIG_MAPS}/a", _config_map(x="1"), "m"))
        await api.wait_for(lambda: api.get("ConfigMap", "shop", "a"))
        error = await _refusal(applying)
        assert (error.status, error.lasting) == (0, False)


@asynccontextmanager
async def answered(status: int, body: bytes, folder: Path, **headers: str) -> AsyncIterator[Kube]:
    """A server that says the same to everything."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    path = folder / "kubeconfig"
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": VALUE}}],
            }
        ),
        encoding="utf-8",
    )
    try:
        async with access.client(await access.configuration(str(path))) as client:
            kube = Kube(client)
            kube.guard(lambda: True)
            yield kube
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (502, b"<html>bad gateway</html>", "HTTP 502"),
        (500, b"[]", "HTTP 500"),
        (503, b"", "HTTP 503"),
        (403, b'{"message":"a\\nb\\u001b","reason":"Forbidden","code":999}', "a b\x1b"),
        (400, b'{"reason":"BadRequest"}', "BadRequest"),
        (409, b'{"details":null}', ""),
    ],
)
async def test_a_refusal_of_any_shape_is_one_line_with_the_status_of_http(
    status: int, body: bytes, message: str, tmp_path: Path
) -> None:
    async with answered(status, body, tmp_path) as kube:
        error = await _refusal(kube.get("/x"))
        assert (error.status, str(error)) == (status, message)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
async def test_an_answer_that_is_no_json_is_no_answer(body: bytes, tmp_path: Path) -> None:
    async with answered(200, body, tmp_path) as kube:
        assert (await _refusal(kube.get("/x"))).status == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [(b'{"details":{"retryAfterSeconds":3}}', 3), (b"{}", None), (b'{"details":{"causes":[{}]}}', None)],
)
async def test_how_long_to_wait_is_read_from_the_status_too(body: bytes, said: int | None, tmp_path: Path) -> None:
    async with answered(429, body, tmp_path) as kube:
        assert (await _refusal(kube.get("/x"))).retry_after_seconds == said


@pytest.mark.parametrize(("header", "said"), [("5", 5), ("soon", None), ("-1", None)])
async def test_a_wait_that_is_no_number_is_none(header: str, said: int | None, tmp_path: Path) -> None:
    async with answered(429, b"{}", tmp_path, **{"Retry-After": header}) as kube:
        assert (await _refusal(kube.get("/x"))).retry_after_seconds == said


async def test_a_schema_that_does_not_fit_lasts_though_it_comes_as_500(tmp_path: Path) -> None:
    message = "failed to create typed patch object (shop/a; /v1, Kind=ConfigMap): .x: field not declared in schema"
    async with answered(500, json.dumps({"message": message}).encode(), tmp_path) as kube:
        assert (await _refusal(kube.apply(f"{CONFIG_MAPS}/a", _config_map(), "m"))).lasting
    async with answered(500, json.dumps({"message": "etcd"}).encode(), tmp_path) as kube:
        assert not (await _refusal(kube.apply(f"{CONFIG_MAPS}/a", _config_map(), "m"))).lasting


async def test_what_is_written_is_in_no_error(tmp_path: Path) -> None:
    body = {**_config_map(x=VALUE), "kind": "Secret"}
    calls: list[Callable[[Kube], Awaitable[Any]]] = [
        lambda kube: kube.apply(f"{SECRETS}/a", body, "m"),
        lambda kube: kube.create(SECRETS, body, "m"),
    ]
    for call in calls:
        for status in (400, 403, 409, 422, 500):
            async with answered(status, b"{}", tmp_path) as kube:
                error = await _refusal(call(kube))
                assert VALUE not in repr(error) + str(error)
    async with FakeApi() as api, connected(api, tmp_path) as kube:
        await api.doors["main"].refuse()
        error = await _refusal(kube.apply(f"{SECRETS}/a", body, "m"))
        assert VALUE not in repr(error) + str(error) + repr(error.__cause__)
