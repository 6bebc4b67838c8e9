# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

import pytest

from glance.core import errors
from glance.core.errors import GlanceError, RangeNotSatisfiable
from glance.wire.status import error_from, status_of


def family(kind: type[GlanceError]) -> Iterator[type[GlanceError]]:
    for child in kind.__subclasses__():
        yield child
        yield from family(child)


# Other rooms have errors of their own beneath the family, such as the client's; those never cross a wire.
FAMILY = [kind for kind in family(GlanceError) if kind.__module__ == errors.__name__]


def made(kind: type[GlanceError]) -> GlanceError:
    return RangeNotSatisfiable("text", 7) if kind is RangeNotSatisfiable else kind("text")


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(kind):
    assert 400 <= status_of(made(kind)) < 600
    assert status_of(made(kind)) != 500


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_a_child_is_of_the_same_hundred_as_its_parent(kind):
    if kind.__base__ is not GlanceError:
        assert status_of(made(kind)) // 100 == status_of(made(kind.__base__)) // 100


def test_reasons_are_unique():
    reasons = [kind.reason for kind in [GlanceError, *FAMILY]]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize(
    "kind", [kind for kind in FAMILY if kind is not RangeNotSatisfiable], ids=lambda kind: kind.__name__
)
def test_an_error_crosses_by_its_reason(kind):
    error = error_from(status_of(kind("")), kind.reason, "text")
    assert (type(error), str(error)) == (kind, "text")


@pytest.mark.parametrize("reason", [None, "", "no such reason", "range"])
@pytest.mark.parametrize(("status", "kind"), [
    (400, errors.Invalid), (404, errors.NotFound), (409, errors.Conflict), (413, errors.TooLarge), (503, errors.RegistryDown),
    (416, GlanceError), (418, GlanceError), (500, GlanceError), (200, GlanceError),
])  # fmt: skip
def test_without_a_known_reason_the_status_decides(status, kind, reason):
    assert type(error_from(status, reason, "text")) is kind


def test_an_error_that_is_not_in_the_table_is_a_500():
    class Foreign(GlanceError):
        pass

    assert status_of(GlanceError("x")) == status_of(Foreign("x")) == 500
