"""The two objects of ours in a namespace: made, kept, and left alone where they are somebody else's."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fake_api import FakeApi
from modelpool_config import codec
from modelpool_operator import access, manifests
from modelpool_operator.kube import ApiError, Kube
from modelpool_operator.manifests import Content
from modelpool_operator.owned import Objects, Owned, TooLargeError
from modelpool_operator.store import Store, mark_of
from status_cases import NOW

OWN = "modelpool-system/modelpool"
CONFIG_MAP, SECRET = "modelpool-config", "modelpool-credentials"
FIRST = Content(b'{"a":1}', codec.compress(b"[]"), 1)
SECOND = Content(b'{"a":2}', codec.compress(b"[]"), 1)
VALUE = "SHOUT-1"
LATER = NOW + timedelta(hours=1)


@dataclass
class Shop:
    """A namespace at the API server, and what the operator knows of it. `see`: the watches catch up."""

    api: FakeApi
    store: Store
    owned: Owned
    counted: list[str] = field(default_factory=list)

    def see(self) -> None:
        for kind, table in (("ConfigMap", self.store.config_maps), ("Secret", self.store.secrets)):
            values = {("shop", each["metadata"]["name"]): mark_of(each) for each in self.api.objects(kind, "shop")}
            table.replace(values, self.api.version)

    def there(self, kind: str = "ConfigMap") -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(kind, "shop", CONFIG_MAP if kind == "ConfigMap" else SECRET)
        return found

    @property
    def asked(self) -> list[str]:
        """The requests so far, and begin to count anew."""
        found = [each.method for each in self.api.journal]
        self.api.journal.clear()
        return found


@asynccontextmanager
async def shop(folder: Path, instance: str = OWN) -> AsyncIterator[Shop]:
    async with FakeApi() as api:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        async with access.client(await access.configuration(str(api.kubeconfig(folder)))) as client:
            kube, store, counted = Kube(client), Store(), []
            kube.guard(lambda: True)
            yield Shop(api, store, Owned(kube, store, instance, counted.append), counted)


def _foreign(kind: str, **more: Any) -> dict[str, Any]:
    name = CONFIG_MAP if kind == "ConfigMap" else SECRET
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, **more}


async def test_both_are_made_where_there_is_nothing_and_known_at_once(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        assert await at.owned.read("shop") == Objects()
        await at.owned.write_secret("shop", {"a": VALUE}, NOW)
        found = await at.owned.write_config_map("shop", FIRST, NOW)
        assert (found.content, found.written, found.instance) == (FIRST, NOW, OWN)
        assert at.counted == ["secret", "config_map"]
        assert base64.b64decode(at.there("Secret")["data"]["credential.a"]).decode() == VALUE
        at.api.journal.clear()
        objects = await at.owned.read("shop")
        assert at.asked == [], "our own write need not be read back"
        assert objects.config_map == found
        assert objects.secret is not None
        assert objects.secret.credentials == {"a": VALUE}
        assert VALUE not in repr(objects) + repr(at.owned)


async def test_what_is_held_is_read_again_only_when_the_watch_saw_another_version(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        await at.owned.write_config_map("shop", FIRST, NOW)
        at.see()
        at.api.journal.clear()
        await at.owned.read("shop")
        assert at.asked == []
        edited = at.there()
        edited["data"]["config.json"] = "{}"
        at.api.put(edited)
        at.see()
        objects = await at.owned.read("shop")
        assert at.asked == ["GET"]
        assert objects.config_map is not None
        assert objects.config_map.content.config == b"{}"


async def test_the_time_of_a_config_stays_while_the_config_does(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        await at.owned.write_config_map("shop", FIRST, NOW)
        same = Content(FIRST.config, FIRST.accepted, 7)
        assert (await at.owned.write_config_map("shop", same, LATER)).written == NOW
        assert (await at.owned.write_config_map("shop", SECOND, LATER)).written == LATER


async def test_a_human_edit_is_undone_and_what_was_put_in_is_taken_out(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        await at.owned.write_config_map("shop", FIRST, NOW)
        await at.owned.write_secret("shop", {"a": VALUE}, NOW)
        edited, secret = at.there(), at.there("Secret")
        edited["data"] |= {"config.json": "{}", "note": "mine"}
        secret["data"] = {"credential.a": "", "other": ""}
        at.api.put(edited)
        at.api.put(secret)
        at.see()
        objects = await at.owned.read("shop")
        assert objects.config_map is not None
        assert objects.config_map.strange == (("data", "note"),)
        await at.owned.write_config_map("shop", FIRST, NOW)
        await at.owned.write_secret("shop", {"a": VALUE}, NOW)
        assert set(at.there()["data"]) == {"config.json", "sidecars.json"}
        assert at.there()["data"]["config.json"] == '{"a":1}'
        assert set(at.there("Secret")["data"]) == {"credential.a"}
        at.see()
        objects = await at.owned.read("shop")
        assert objects.config_map is not None
        assert (objects.config_map.content, objects.config_map.strange) == (FIRST, ())


async def test_a_credential_that_is_not_named_any_more_goes(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        await at.owned.write_secret("shop", {"a": VALUE, "b": VALUE}, NOW)
        await at.owned.write_secret("shop", {"b": VALUE}, NOW)
        assert set(at.there("Secret")["data"]) == {"credential.b"}


async def test_a_config_that_grew_is_gzipped_and_the_plain_one_goes(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        await at.owned.write_config_map("shop", FIRST, NOW)
        large = Content(b" " * (manifests.PLAIN_BYTES + 1), FIRST.accepted, 1)
        await at.owned.write_config_map("shop", large, NOW)
        assert set(at.there()["data"]) == {"sidecars.json"}
        assert set(at.there()["binaryData"]) == {"config.json.gz", "accepted.json.gz"}


@pytest.mark.parametrize(("kind", "name"), [("ConfigMap", f"ConfigMap {CONFIG_MAP}"), ("Secret", f"Secret {SECRET}")])
async def test_an_object_of_somebody_else_is_named(kind: str, name: str, tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        at.api.put(_foreign(kind))
        at.see()
        objects = await at.owned.read("shop")
        assert (objects.foreign, objects.other_instance(OWN)) == (name, None)


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
async def test_an_object_of_somebody_else_that_the_watch_has_not_seen_is_not_merged_into(
    kind: str, tmp_path: Path
) -> None:
    async with shop(tmp_path) as at:
        at.api.put(_foreign(kind, data={"mine": ""}))
        assert await at.owned.read("shop") == Objects()
        is_config = kind == "ConfigMap"
        write = at.owned.write_config_map("shop", FIRST, NOW) if is_config else at.owned.write_secret("shop", {}, NOW)
        with pytest.raises(ApiError) as caught:
            await write
        assert caught.value.stale
        assert at.there(kind)["data"] == {"mine": ""}
        at.owned.doubt("shop")
        assert (await at.owned.read("shop")).foreign is not None, "what is doubted is asked for, whatever was seen"


async def test_an_object_that_changed_since_it_was_read_is_not_overwritten(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        await at.owned.write_config_map("shop", FIRST, NOW)
        at.api.put(_foreign("ConfigMap", data={"mine": ""}))
        with pytest.raises(ApiError) as caught:
            await at.owned.write_config_map("shop", SECOND, NOW)
        assert caught.value.stale
        assert at.there()["data"] == {"mine": ""}


async def test_an_object_that_somebody_deleted_is_made_again(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        await at.owned.write_config_map("shop", FIRST, NOW)
        at.api.remove("ConfigMap", "shop", CONFIG_MAP)
        await at.owned.write_config_map("shop", SECOND, NOW)
        assert at.there()["data"]["config.json"] == '{"a":2}'
        at.api.remove("ConfigMap", "shop", CONFIG_MAP)
        at.see()
        assert (await at.owned.read("shop")).config_map is None
        await at.owned.write_config_map("shop", FIRST, NOW)
        assert at.there()["data"]["config.json"] == '{"a":1}'


async def test_an_object_that_went_since_the_watch_saw_it_is_not_there(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        at.api.put(_foreign("ConfigMap"))
        at.see()
        at.api.remove("ConfigMap", "shop", CONFIG_MAP)
        assert (await at.owned.read("shop")).config_map is None


async def test_a_read_that_fails_is_an_error_and_not_an_absence(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        at.api.put(_foreign("ConfigMap"))
        at.see()
        at.api.fail("GET", "configmaps", 500)
        with pytest.raises(ApiError):
            await at.owned.read("shop")


async def test_another_instance_is_told_and_its_objects_are_known_as_its_own(tmp_path: Path) -> None:
    async with shop(tmp_path, "other/release") as at:
        await at.owned.write_config_map("shop", FIRST, NOW)
        objects = await at.owned.read("shop")
        assert objects.other_instance(OWN) == "other/release"
        assert objects.other_instance("other/release") is None
        assert objects.foreign is None
    lost = manifests.read({"kind": "ConfigMap", "metadata": {"labels": {"app.kubernetes.io/managed-by": "modelpool"}}})
    assert Objects(lost).other_instance(OWN) == "unknown"


async def test_what_does_not_fit_is_not_sent_and_what_stands_there_stays(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        await at.owned.write_config_map("shop", FIRST, NOW)
        at.api.journal.clear()
        too_much = Content(SECOND.config, b"\0" * manifests.MAX_BYTES, 1)
        with pytest.raises(
            TooLargeError, match="the ConfigMap would hold 1024 KiB, and 992 KiB fit; split the namespace"
        ):
            await at.owned.write_config_map("shop", too_much, NOW)
        with pytest.raises(TooLargeError, match="the Secret would hold"):
            await at.owned.write_secret("shop", {"a": "x" * manifests.MAX_BYTES}, NOW)
        assert at.asked == []
        assert at.there()["data"]["config.json"] == '{"a":1}'


async def test_a_namespace_that_is_forgotten_is_read_anew(tmp_path: Path) -> None:
    async with shop(tmp_path) as at:
        await at.owned.write_config_map("shop", FIRST, NOW)
        at.owned.doubt("shop")
        at.owned.forget("shop")
        at.api.journal.clear()
        assert (await at.owned.read("shop")).config_map is not None
        assert at.asked == ["GET"]
        assert (at.owned._doubted, list(at.owned._held)) == (set(), ["shop"])
