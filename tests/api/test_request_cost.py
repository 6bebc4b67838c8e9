# SPDX-License-Identifier: Apache-2.0
"""What a request costs, in what no clock measures: requests to the registry, and statements in its database.

They are most of what a small request takes. A change that adds one must say so here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from glance.registry.db.engine import connect
from glance.registry.db.migrate import prepare
from glance.registry.db.sql import SqlRegistry
from tests.api.conftest import OCTETS, Api

NEW = {
    **OCTETS,
    "x-image-meta-name": "new",
    "x-image-meta-disk_format": "raw",
    "x-image-meta-container_format": "bare",
}
TRANSACTION = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


class Counting:
    """A registry that counts what it is asked: each call is a request of glance-api's to glance-registry."""

    def __init__(self, registry: SqlRegistry) -> None:
        self._registry = registry
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._registry, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return method(*args, **kwargs)

        return counted


class Costs:
    """Of requests to an API with one image, which has this id."""

    def __init__(self, folder: Path) -> None:
        self.engine = connect(f"sqlite:///{folder}/glance.sqlite")
        prepare(self.engine)
        event.listen(self.engine, "before_cursor_execute", self._count)
        self.registry = Counting(SqlRegistry(self.engine))
        self.api = Api(self.registry, folder / "images")  # type: ignore[arg-type]
        self._statements = 0
        self.api.add(b"1")
        self.id = self.api("GET", "/v1/images").json["images"][0]["id"]

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._statements += not statement.startswith(TRANSACTION)

    def of(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, int]:
        self.registry.calls = self._statements = 0
        response = self.api(method, path, headers, body)
        assert response.status_int in (200, 201), response.text
        return self.registry.calls, self._statements


@pytest.fixture
def costs(tmp_path: Path) -> Iterator[Costs]:
    made = Costs(tmp_path)
    yield made
    made.engine.dispose()


ONE = (1, 2)  # its row; what stands beside it: locations, properties, tags, members
BRIEF = (1, 2)  # the numbers of its images; their rows
PAGE = (1, 3)  # the numbers of its images; their rows; what stands beside them
READS = {
    ("HEAD", "/images/1"): ONE,
    ("GET", "/images/1"): ONE,
    ("GET", "/images"): BRIEF,
    ("GET", "/images/detail"): PAGE,
    ("GET", "/v1/images?limit=20"): BRIEF,
    ("GET", "/v1/images/detail?limit=20"): PAGE,
    ("HEAD", "/v1/images/{id}"): ONE,
    ("GET", "/v1/images/{id}"): ONE,
}


@pytest.mark.parametrize("asked", READS, ids=" ".join)
@pytest.mark.parametrize("images", [1, 30])
def test_a_read_costs_the_same_however_many_images_there_are(costs, asked, images):
    for number in range(1, images):
        costs.api.add(b"1", **{"property-os": "debian", "name": str(number)})
    method, path = asked
    assert costs.of(method, path.format(id=costs.id)) == READS[asked]


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_an_upload_is_three_requests_however_many_bytes_there_are(costs, size):
    """A record, a claim, and the end."""
    assert costs.of("POST", "/v1/images", NEW, b"1" * size) == (3, 17)


def test_a_change(costs):
    """The image as it is, and the change."""
    assert costs.of("PUT", f"/v1/images/{costs.id}", {"x-image-meta-name": "other"}) == (2, 7)


def test_a_delete(costs):
    """The image as it is, its end, and the end of its bytes."""
    assert costs.of("DELETE", f"/v1/images/{costs.id}") == (3, 11)
