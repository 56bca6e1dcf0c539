"""Who leads: never two, and soon the next, whoever ends, comes back or takes the Lease away."""

import asyncio

import virtual_loop
from elector_scenes import WRITE_SECONDS, Replica, Server, leader_of, play, until
from modelpool_operator.elector import LEASE_SECONDS


def test_the_first_one_makes_the_lease_and_leads_and_the_others_stand_by() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await until(lambda: any(each.leads for each in replicas), 1)
        await asyncio.sleep(60)
        assert [each.leads for each in replicas].count(True) == 1
        assert leader_of(replicas).terms == 1
        assert server.spec["holderIdentity"] == leader_of(replicas).name
        assert server.spec["leaseDurationSeconds"] == LEASE_SECONDS
        assert server.spec["leaseTransitions"] == 0

    play(scene, 3)


def test_the_lease_keeps_since_when_it_is_held_and_counts_who_had_it() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        acquired = server.spec["acquireTime"]
        await asyncio.sleep(5)
        assert server.spec["acquireTime"] == acquired
        assert server.spec["renewTime"] != acquired
        first = leader_of(replicas)
        await first.stop()
        await until(lambda: any(each.leads for each in replicas), 5)
        assert server.spec["leaseTransitions"] == 1
        assert server.spec["acquireTime"] != acquired

    play(scene)


def test_after_a_kill_the_next_one_leads_within_twenty_seconds_and_not_before_the_lease_ran_out() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(30.3)
        dead = leader_of(replicas)
        dead.vanish()
        took = await until(lambda: any(each.leads for each in replicas if each is not dead), 20)
        assert LEASE_SECONDS - 2.5 <= took <= 20
        await asyncio.sleep(1)

    (gap,) = play(scene, 3).gaps
    assert gap >= WRITE_SECONDS


def test_after_a_release_the_next_one_leads_within_about_two_seconds() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(10.7)
        first = leader_of(replicas)
        await first.stop()
        assert not first.elector.held
        assert await until(lambda: any(each.leads for each in replicas if each is not first), 2.2) <= 2.2

    play(scene, 3)


def test_what_leads_has_ended_before_the_lease_is_given_up() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        first = leader_of(replicas)
        first.stops_in = 4.0
        stopping = asyncio.create_task(first.stop())
        await asyncio.sleep(3.9)
        assert server.spec["holderIdentity"] == first.name
        await stopping
        assert not first.leads
        assert server.spec["holderIdentity"] == ""

    play(scene)


def test_a_lease_that_was_released_by_another_one_in_between_begins_a_new_term() -> None:
    """What was known when somebody else could write is too old to lead on."""

    async def scene(server: Server, replicas: list[Replica]) -> None:
        (alone,) = replicas
        await asyncio.sleep(5)
        assert alone.terms == 1
        spec = {**server.spec, "holderIdentity": "", "leaseDurationSeconds": 1}
        server.answer("PUT", {**(server.lease or {}), "spec": spec})
        await until(lambda: alone.terms == 2, 10)

    play(scene, 1)


def test_a_lease_that_somebody_deletes_does_not_let_two_lead() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        for _ in range(20):
            await asyncio.sleep(3.7)
            server.lease = None
        assert leader_of(replicas).leads

    play(scene, 3)


def test_a_leader_that_is_dead_and_whose_lease_is_gone_is_followed() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        dead = leader_of(replicas)
        dead.vanish()
        server.lease = None
        await until(lambda: any(each.leads for each in replicas if each is not dead), 20)

    play(scene)


def test_a_lease_that_anybody_made_empty_is_taken() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await until(lambda: any(each.leads for each in replicas), 5)
        assert server.spec["holderIdentity"].startswith("replica")

    async def main() -> None:
        server = Server()
        server.answer("POST", {"metadata": {"name": "modelpool-operator"}, "spec": None})
        one = Replica("replica-0", server).start()
        try:
            await scene(server, [one])
        finally:
            await one.stop()

    virtual_loop.run(main())


def test_one_that_comes_back_with_its_own_name_need_not_wait() -> None:
    async def main() -> None:
        server = Server()
        first = Replica("pod-0", server).start()
        await asyncio.sleep(5)
        first.vanish()
        again = Replica("pod-0", server).start()
        assert await until(lambda: again.leads, 1) < 1
        for each in (first, again):
            await each.stop()

    virtual_loop.run(main())
