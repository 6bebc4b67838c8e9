# SPDX-License-Identifier: Apache-2.0
"""What one tenant may have: bytes and images, in every kind of registry, also when many ask at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event

from glance.core.context import Context
from glance.core.errors import OverQuota, WrongState
from glance.core.image import Image, ImageChange, Status, Visibility
from glance.core.ports import Registry
from glance.core.query import Query
from glance.registry.db.engine import connect
from glance.registry.db.quota import Quota
from glance.registry.db.sql import SqlRegistry
from tests.contract.conftest import Kind

ADMIN = Context(is_admin=True)
ANNE = Context(tenant="anne")
BERT = Context(tenant="bert")
MOST = 100
ALL = Query(everyone=True, deleted=True, visibility=frozenset(Visibility))


@pytest.fixture
def limited(kind: Kind) -> Registry:
    return kind.make(quota=Quota(bytes=MOST))


def add(registry: Registry, ctx: Context = ANNE) -> Image:
    return registry.add(ctx, Image())


def claim(registry: Registry, image: Image, charged: int, ctx: Context = ANNE) -> Image:
    """As a transfer does."""
    change = ImageChange(
        status=Status.SAVING, locations=("file:///images/x",), charged=charged, holder=image.id, lease=60
    )
    return registry.update(ctx, image.id, change, expect=Status.QUEUED)


def finish(registry: Registry, image: Image, size: int) -> Image:
    change = ImageChange(status=Status.ACTIVE, size=size, charged=size, holder=None, lease=None)
    return registry.update(ADMIN, image.id, change, expect=Status.SAVING, holder=image.id)


def upload(registry: Registry, size: int, ctx: Context = ANNE) -> Image:
    return finish(registry, claim(registry, add(registry, ctx), size, ctx), size)


def grow(registry: Registry, image: Image, charged: int) -> Image:
    return registry.update(ADMIN, image.id, ImageChange(charged=charged), expect=Status.SAVING, holder=image.id)


def charged(registry: Registry) -> int:
    return sum(image.charged or 0 for image in registry.find(ADMIN, ALL).images)


def test_what_fits_exactly_is_taken_and_no_byte_more(limited):
    upload(limited, 60)
    upload(limited, 40)
    image = add(limited)
    with pytest.raises(OverQuota, match=r"user_storage_quota gives .*100 bytes: other images use 100"):
        claim(limited, image, 1)
    assert limited.get(ANNE, image.id) == image  # nothing of the change was made
    assert claim(limited, image, 0).charged == 0


def test_other_tenants_have_their_own(limited):
    upload(limited, 100)
    assert upload(limited, 100, BERT).charged == 100
    nobodys = limited.add(ADMIN, Image())
    assert claim(limited, nobodys, 100, ADMIN).charged == 100
    with pytest.raises(OverQuota):
        claim(limited, limited.add(ADMIN, Image()), 1, ADMIN)


def test_an_admin_uses_the_quota_of_the_owner(limited):
    upload(limited, 70)
    image = limited.add(ADMIN, Image(owner="anne"))
    with pytest.raises(OverQuota):
        claim(limited, image, 31, ADMIN)


def test_more_bytes_than_one_may_have_at_all(limited):
    image = add(limited)
    with pytest.raises(OverQuota):
        claim(limited, image, 2**63 - 1)
    assert charged(limited) == 0


def test_a_charge_grows_and_shrinks_and_changes_nothing_that_is_seen(limited):
    image = claim(limited, add(limited), 0)
    assert grow(limited, image, 100) == replace(image, charged=100)
    with pytest.raises(OverQuota):
        grow(limited, image, 101)
    with pytest.raises(OverQuota):
        claim(limited, add(limited), 1)
    assert finish(limited, image, 30).charged == 30
    upload(limited, 70)


def test_nobody_is_charged_who_does_not_hold_the_image(limited):
    image = claim(limited, add(limited), 10)
    for deed in (
        lambda: limited.update(ADMIN, image.id, ImageChange(charged=5), expect=Status.SAVING, holder="other"),
        lambda: claim(limited, image, 5),
    ):
        with pytest.raises(WrongState):
            deed()
    assert limited.get(ANNE, image.id).charged == 10


def test_a_failed_upload_is_charged_for_until_its_bytes_are_gone(limited):
    image = claim(limited, add(limited), 100)
    limited.update(ADMIN, image.id, ImageChange(status=Status.KILLED, holder=None, lease=60))
    with pytest.raises(OverQuota):
        claim(limited, add(limited), 1)
    limited.release(ADMIN, image.id)
    assert limited.get(ANNE, image.id).charged is None
    upload(limited, 100)


def test_a_deleted_image_is_charged_for_until_its_bytes_are_gone(limited):
    image = upload(limited, 100)
    limited.remove(ANNE, image.id)
    assert charged(limited) == 100
    limited.release(ADMIN, image.id)
    assert charged(limited) == 0


def test_an_image_that_is_deleted_while_its_bytes_come_is_charged_for_until_they_have_ended(limited):
    image = claim(limited, add(limited), 100)
    limited.remove(ANNE, image.id)
    with pytest.raises(OverQuota):
        claim(limited, add(limited), 1)
    limited.release(ADMIN, image.id, holder=image.id)
    upload(limited, 100)


def test_bytes_that_are_kept_for_the_scrubber_are_charged_for(limited):
    image = upload(limited, 100)
    limited.remove(ANNE, image.id, delay=0)
    with pytest.raises(OverQuota):
        claim(limited, add(limited), 1)
    found = limited.claim_stalled(ADMIN, "scrubber", lease=60, limit=1, pending=True)
    assert [(item.id, item.charged) for item in found] == [(image.id, 100)]
    limited.release(ADMIN, image.id, holder="scrubber")
    upload(limited, 100)


def test_a_copy_is_charged_for_when_it_is_asked_for(limited):
    asked = Image(copy_from="http://example.org/", locations=("file:///images/x",), charged=100)
    image = limited.add(ANNE, asked)
    assert image.charged == 100
    with pytest.raises(OverQuota):
        limited.add(ANNE, replace(asked, charged=1))
    assert len(limited.find(ANNE, ALL).images) == 1
    claim(limited, image, 100)


def test_bytes_of_third_parties_are_not_charged_for(limited):
    registered = Image(status=Status.ACTIVE, size=2**40, locations=("http://example.org/",))
    limited.add(ANNE, registered)
    upload(limited, 100)


def test_without_a_quota_nobody_is_asked_but_what_is_there_counts_later(kind):
    free = kind.make()
    image = claim(free, add(free), 50)
    assert image.charged is None  # nothing more is to be asked for
    assert finish(free, image, 2000).charged == 2000
    free.release(ADMIN, image.id)
    assert free.get(ANNE, image.id).charged == 2000  # it is active


def test_images_are_counted_that_are_not_deleted(kind):
    registry = kind.make(quota=Quota(images=2))
    first = add(registry)
    add(registry)
    add(registry, BERT)
    with pytest.raises(OverQuota, match="image_count_quota"):
        add(registry)
    registry.remove(ANNE, first.id)
    add(registry)
    assert len(registry.find(ANNE, Query(deleted=False, visibility=frozenset(Visibility))).images) == 2


# Many at once


def test_what_many_take_at_once_is_never_above_the_quota(limited):
    images = [add(limited) for _ in range(20)]

    def attempt(image: Image) -> bool:
        try:
            claim(limited, image, 14)
        except OverQuota:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(attempt, images))
    assert sum(taken) == 7
    assert charged(limited) == 98


def test_what_many_add_at_once_is_never_above_the_quota(kind):
    registry = kind.make(quota=Quota(images=7))

    def attempt(_: int) -> bool:
        try:
            add(registry)
        except OverQuota:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(20))) == 7


def test_several_registries_of_one_database_hold_it_together(engine):
    """Each asks when all have written what they want to be judged: then every one but the first waits."""
    url = engine.url.render_as_string(hide_password=False)
    engines = [connect(url) for _ in range(4)]
    registries = [SqlRegistry(each, quota=Quota(bytes=MOST)) for each in engines]
    images = [add(registries[0]) for _ in registries]
    together = threading.Barrier(len(registries) if engine.dialect.name != "sqlite" else 1)

    def wait(connection, _cursor, statement, *_):
        if "UPDATE quota_locks" in statement and not connection.info.get("met"):
            connection.info["met"] = True
            together.wait(20)

    def attempt(registry: Registry, image: Image) -> bool:
        try:
            claim(registry, image, 60)
        except OverQuota:
            return False
        return True

    for each in engines:
        event.listen(each, "before_cursor_execute", wait)
    with ThreadPoolExecutor(len(registries)) as pool:
        taken = list(pool.map(attempt, registries, images))
    for each in engines:
        each.dispose()
    assert sum(taken) == 1


def test_a_registry_without_a_quota_asks_the_database_nothing_more(engine: Engine):
    registry = SqlRegistry(engine)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    upload(registry, 10)
    assert not [statement for statement in statements if "quota" in statement or "sum(" in statement.lower()]
    assert len([statement for statement in statements if statement.startswith("UPDATE images")]) == 2
