# SPDX-License-Identifier: Apache-2.0
"""A process that dies before or after any step of a use case leaves nothing that recovery does not settle."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from glance.core.errors import BrokenUpload
from glance.core.image import Image, Status
from tests.contract.conftest import Kind
from tests.contract.crash_points import ADMIN, URL, Death, Process, Server, World

KEEP = 3600  # seconds, of a delayed delete


def ready(world: World) -> Image:
    """An active image, which somebody else brought."""
    server = Server(world, Process())
    return server.service.upload(ADMIN, server.service.reserve(ADMIN, Image()), server.source())


def upload(world: World, process: Process) -> None:
    server = Server(world, process)
    server.service.upload(ADMIN, server.service.reserve(ADMIN, Image(), at_once=True), server.source())


def upload_to_reserved(world: World, process: Process) -> None:
    image = Server(world, Process()).service.reserve(ADMIN, Image())
    server = Server(world, process)
    server.service.upload(ADMIN, image, server.source(), on_failure=Status.QUEUED)


def broken_upload(world: World, process: Process) -> None:
    server = Server(world, process)
    image = server.service.reserve(ADMIN, Image(), at_once=True)
    with suppress(BrokenUpload):
        server.service.upload(ADMIN, image, server.source(cut=True))


def broken_upload_to_reserved(world: World, process: Process) -> None:
    image = Server(world, Process()).service.reserve(ADMIN, Image())
    server = Server(world, process)
    with suppress(BrokenUpload):
        server.service.upload(ADMIN, image, server.source(cut=True), on_failure=Status.QUEUED)


def copy(world: World, process: Process) -> None:
    server = Server(world, process)
    server.service.copy_from(ADMIN, Image(), URL)
    server.recover()


def copy_into_reserved(world: World, process: Process) -> None:
    image = Server(world, Process()).service.reserve(ADMIN, Image())
    server = Server(world, process)
    server.service.copy_into(ADMIN, image, URL)
    server.recover()


def removal(world: World, process: Process) -> None:
    Server(world, process).service.delete(ADMIN, ready(world).id)


def delayed_removal(world: World, process: Process) -> None:
    server = Server(world, process, keep=KEEP)
    server.service.delete(ADMIN, ready(world).id)
    world.time_passes()
    server.scrub()


def recovery(world: World, process: Process) -> None:
    """Of an upload whose own process has died while its bytes came."""
    dying = Process()
    server = Server(world, dying)
    image = server.service.reserve(ADMIN, Image(), at_once=True)
    world.store.before = lambda method: setattr(dying, "dead", method == "put")
    with pytest.raises(Death):
        server.service.upload(ADMIN, image, server.source())
    world.store.before = lambda method: None
    world.time_passes()
    Server(world, process).recover()


def recovery_of_a_copy(world: World, process: Process) -> None:
    """Of one that has begun."""
    dying = Process()
    server = Server(world, dying)
    server.service.copy_from(ADMIN, Image(), URL)
    world.store.before = lambda method: setattr(dying, "dead", method == "put")
    with pytest.raises(Death):
        server.recover()
    world.store.before = lambda method: None
    world.time_passes()
    Server(world, process).recover()


# What the image is if nobody dies; and what else it may be when all is settled. An image that is not there is none.
USE_CASES: dict[Callable[[World, Process], None], tuple[Status, ...]] = {
    upload: (Status.ACTIVE, Status.KILLED),
    upload_to_reserved: (Status.ACTIVE, Status.KILLED, Status.QUEUED),
    broken_upload: (Status.KILLED,),
    broken_upload_to_reserved: (Status.QUEUED, Status.KILLED),
    copy: (Status.ACTIVE,),
    copy_into_reserved: (Status.ACTIVE, Status.QUEUED),
    removal: (Status.DELETED, Status.ACTIVE),
    delayed_removal: (Status.DELETED, Status.ACTIVE),
    recovery: (Status.KILLED,),
    recovery_of_a_copy: (Status.ACTIVE,),
}


@pytest.mark.parametrize("kind", ["memory", "sqlite"], indirect=True)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("use_case", USE_CASES, ids=lambda use_case: use_case.__name__)
def test_whoever_dies_at_any_step_leaves_nothing_that_is_not_settled(
    kind: Kind, use_case: Callable[[World, Process], None], after: bool
) -> None:
    last = 0
    died = True
    while died:
        last += 1
        kind.clear()
        world, process = World(kind.make(), kind.engine), Process(last, after=after)
        with suppress(Death):
            use_case(world, process)
        died = process.dead
        if not died:
            assert [image.status for image in world.images()] == [USE_CASES[use_case][0]]
        world.settle()
        assert {image.status for image in world.images()} <= set(USE_CASES[use_case]), f"died at step {last}"
        assert world.flaws() == [], f"died at step {last}"
    assert process.steps == last - 1 >= 3
