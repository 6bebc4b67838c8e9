# SPDX-License-Identifier: Apache-2.0
"""What a page of twenty images costs, by sort, filter, place in the list, and number of images in the table.

    python benchmarks/pages.py sqlite:////tmp/pages 1000 1000000

fills one database per number (for SQLite the number is added to the file's name; for a server, to that of an empty
database that is there) and prints milliseconds, and how many times the first one each is. A million
images take some minutes and, in SQLite, some 2 GiB, which stay.
"""

import argparse
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, insert, select, text

from glance.core.context import Context
from glance.core.image import MemberStatus, Visibility
from glance.core.query import SORT_KEYS, Comparison, Filter, Position, Query, Sort, position_of
from glance.registry.db.engine import connect
from glance.registry.db.migrate import prepare
from glance.registry.db.models import ImageRow, MemberRow, PropertyRow, TagRow, start_of
from glance.registry.db.sql import SqlRegistry

LIMIT = 20
BLOCK = 1000  # rows that are written at a time
FIRST = datetime(2011, 3, 4)
CHANGED = datetime(2026, 1, 1)  # after all but the few that have been changed since
FEW = 5  # images that the rare values are given to
DOUBTFUL = 10  # cases
OWN = 30  # images of the small tenant, and as many that are shared with him

NOT_REJECTED = frozenset({MemberStatus.PENDING, MemberStatus.ACCEPTED})  # as lists of v1 ask

OPERATOR = Context(is_admin=True)
SMALL = Context(tenant="small")
BIG = Context(tenant="big")
NOBODY = Context()
EVERYTHING = Query(everyone=True, visibility=frozenset(Visibility), limit=LIMIT)


@dataclass(frozen=True)
class Case:
    name: str
    ctx: Context
    query: Query
    place: str = "first"


def cases() -> Iterator[Case]:
    lists = {
        "everything": (OPERATOR, EVERYTHING),
        "small tenant": (SMALL, Query(limit=LIMIT)),
        "big tenant": (BIG, Query(limit=LIMIT)),
        "public": (NOBODY, Query(limit=LIMIT)),
    }
    for key in SORT_KEYS:
        for who, (ctx, query) in lists.items():
            for descending in (True, False):
                for place in ("first", "middle", "last"):
                    name = f"{who}, by {key}{' descending' if descending else ''}"
                    yield Case(name, ctx, replace(query, sort=(Sort(key, descending),)), place)
    for name, fields in filters().items():
        yield Case(f"everything, {name}", OPERATOR, replace(EVERYTHING, **fields))
        yield Case(f"small tenant, {name}", SMALL, Query(limit=LIMIT, **fields))
        yield Case(f"big tenant, {name}", BIG, Query(limit=LIMIT, **fields))
        yield Case(f"public, {name}", NOBODY, Query(limit=LIMIT, **fields))


def filters() -> dict[str, dict[str, Any]]:
    """By what they fit: one image, few, or many."""

    def one(field: str, comparison: str, value: object) -> dict[str, Any]:
        return {"filters": (Filter(field, Comparison(comparison), (value,)),)}

    sizes = (Filter("size", Comparison.MORE_OR_EQUAL, (2**50,)), Filter("size", Comparison.LESS_OR_EQUAL, (2**51,)))
    return {
        "not rejected": {"member_status": NOT_REJECTED},
        "name of one": one("name", "in", "image-7"),
        "name of many": one("name", "in", "debian"),
        "name of none": one("name", "in", "none"),
        "status of few": one("status", "in", "saving"),
        "status of few, by name": {**one("status", "in", "saving"), "sort": (Sort("name"),)},
        "status of many, by name": {**one("status", "in", "active"), "sort": (Sort("name"),)},
        "status of most": one("status", "not-in", "killed"),
        "disk_format of many": one("disk_format", "in", "qcow2"),
        "size of few": {"filters": sizes},
        "size of many": one("size", "ge", 2**34),
        "protected few": one("protected", "in", True),
        "checksum of few": one("checksum", "in", "f" * 32),
        "changed since, few": {**one("updated_at", "gt", CHANGED), "deleted": True},
        "changed since, many": {**one("updated_at", "gt", FIRST), "deleted": True},
        "owner": one("owner", "in", "big"),
        "property of one": {"properties": {"serial": "7"}},
        "property of many": {"properties": {"arch": "amd64"}},
        "tag of few": {"tags": frozenset({"rare"})},
        "tag of many": {"tags": frozenset({"frequent"})},
    }


def fill(engine: Engine, count: int) -> None:
    """So many images, a third of them public. Indexes are made afterwards, which is faster."""
    prepare(engine)
    tables = [model.__table__ for model in (ImageRow, PropertyRow, TagRow, MemberRow)]
    indexes = [index for table in tables for index in table.indexes]  # type: ignore[attr-defined]
    with engine.begin() as connection:
        for index in indexes:
            index.drop(connection)
        chosen = random.Random(7)
        for start in range(1, count + 1, BLOCK):
            rows = [_rows(number, count, chosen) for number in range(start, min(start + BLOCK, count + 1))]
            for table, found in zip(tables, zip(*rows, strict=True), strict=True):
                if flat := [row for group in found for row in group]:
                    connection.execute(insert(table), flat)
        for index in indexes:
            index.create(connection)
    _analyze(engine)


def _analyze(engine: Engine) -> None:
    """As the database would do by itself after a while; SQLite never does."""
    if engine.dialect.name == "sqlite":
        return
    analyze = "ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE TABLE images, image_members"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(analyze))


def _rows(number: int, count: int, chosen: random.Random) -> tuple[list[dict[str, Any]], ...]:
    """The rows of one image in each table."""
    few = number % (count // FEW) == 1  # spread over the table
    own = number % (count // OWN) == 2
    shared = number % (count // OWN) == 3
    visibility = chosen.choices(("public", "private", "shared", "community"), (3, 5, 1, 1))[0]
    created_at = FIRST + timedelta(seconds=number)
    image = {
        "number": number,
        "id": str(uuid.UUID(int=chosen.getrandbits(128))),
        "name": chosen.choices((f"image-{number}", "debian", None), (78, 20, 2))[0] if not few else "image-few",
        "status": "saving" if few else chosen.choices(("active", "queued", "killed"), (90, 5, 5))[0],
        "visibility": "public" if few else "private" if own else "shared" if shared else visibility,
        "owner": "small" if own else "big" if chosen.random() < 0.2 else f"tenant-{number % 1000}",
        "disk_format": chosen.choice(("raw", "qcow2", None)),
        "container_format": chosen.choice(("bare", "ovf", None)),
        "size": 2**50 + number if few else chosen.randrange(2**35),
        "checksum": "f" * 32 if few else f"{chosen.getrandbits(128):032x}",
        "min_disk": 0,
        "min_ram": 0,
        "protected": few,
        "hidden": False,
        "created_at": created_at,
        "updated_at": CHANGED + timedelta(seconds=1 + number)
        if few
        else created_at + timedelta(number * 7919 % count / 1e4),
        "deleted": False,
    }
    if number == 7:
        image["name"] = "image-7"
    properties = {"serial": str(number)} | ({"arch": "amd64"} if chosen.random() < 0.5 else {})
    tags = [*(["rare"] if few else []), *(["frequent"] if chosen.random() < 0.5 else [])]
    member = {
        "image": number,
        "member": "small" if shared else f"tenant-{chosen.randrange(1000)}",
        "can_share": False,
        "status": "pending" if number % 3 == 0 else "accepted",
        "created_at": created_at,
    }
    return (
        [image],
        [
            {"image": number, "name": name, "value": value, "start": start_of(value)}
            for name, value in properties.items()
        ],
        [{"image": number, "tag": tag} for tag in tags],
        [member] if image["visibility"] == "shared" else [],
    )


def placed(registry: SqlRegistry, engine: Engine, case: Case) -> Query:
    """The query for the page at the case's place."""
    if case.place == "first":
        return case.query
    return replace(
        case.query, after=_middle(registry, engine, case) if case.place == "middle" else _last(registry, case)
    )


def _middle(registry: SqlRegistry, engine: Engine, case: Case) -> Position:
    """The place of the image in the middle of the whole table."""
    order = case.query.order
    columns = [ImageRow.__table__.c[item.key] for item in order]
    with engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM images")).scalar_one()
        middle = select(ImageRow.__table__.c.number).order_by(*columns).limit(1).offset(count // 2)
        number = connection.execute(middle).scalar_one()
    return position_of(registry.get(OPERATOR, str(number)), order)


def _last(registry: SqlRegistry, case: Case) -> Position:
    """Before the last page: where a list in the opposite order has it."""
    backwards = tuple(Sort(item.key, not item.descending) for item in case.query.order)
    page = registry.find(case.ctx, replace(case.query, sort=backwards, limit=LIMIT + 1))
    return position_of(page.images[-1], case.query.order)


def milliseconds(engines: list[Engine], case: Case, runs: int) -> list[float]:
    """Of runs that take turns, the time that a quarter of them stayed below: what else the machine does only adds."""
    registries = [SqlRegistry(engine) for engine in engines]
    queries = [placed(registry, engine, case) for registry, engine in zip(registries, engines, strict=True)]
    times: list[list[float]] = [[] for _ in engines]
    sizes: set[int] = set()
    for _ in range(runs + 1):
        for registry, query, taken in zip(registries, queries, times, strict=True):
            started = time.perf_counter()
            page = registry.find(case.ctx, query)
            taken.append((time.perf_counter() - started) * 1000)
            sizes.add(len(page.images))
    if len(sizes) > 1:  # a page that ends early costs less
        raise RuntimeError(f"{case.name}, {case.place}: pages of {sizes} images cannot be compared: make more images")
    return [statistics.quantiles(taken[1:], n=4)[0] for taken in times]


def prepared(url: str, count: int) -> Engine:
    """A database with so many images, filled if it is empty."""
    engine = connect(url)
    prepare(engine)
    with engine.connect() as connection:
        empty = connection.execute(text("SELECT count(*) FROM images")).scalar_one() == 0
    if empty:
        started = time.perf_counter()
        fill(engine, count)
        print(f"{count} images in {time.perf_counter() - started:.0f} s", flush=True)
    return engine


@dataclass(frozen=True)
class Costs:
    """Milliseconds of a page by number of images: the mean of all cases, and those of the case that grows most."""

    mean: dict[int, float]
    worst: dict[int, float]


def _growth(found: tuple[Case, list[float]]) -> float:
    costs = found[1]
    return costs[-1] / costs[0]


def page_costs(url_of: Callable[[int], str], counts: list[int], runs: int = 12) -> Costs:
    """`url_of` names a database for so many images."""
    engines = [prepared(url_of(count), count) for count in counts]
    found = [(case, milliseconds(engines, case, runs)) for case in cases()]
    # Some of hundreds seem to grow by chance: those are measured again, for longer.
    doubtful = sorted(found, key=_growth, reverse=True)[:DOUBTFUL]
    case, worst = max(((case, milliseconds(engines, case, 10 * runs)) for case, _ in doubtful), key=_growth)
    for engine in engines:
        engine.dispose()
    print(f"  of {len(found)} pages, this one grows most: {case.name}, {case.place}")
    means = [statistics.mean(costs) for costs in zip(*(costs for _, costs in found), strict=True)]
    return Costs(dict(zip(counts, means, strict=True)), dict(zip(counts, worst, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the database, to whose name the number of images is added")
    parser.add_argument("counts", type=int, nargs="+", help="numbers of images")
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    given = parser.parse_args()
    engines = [prepared(f"{given.url}{count}", count) for count in given.counts]
    for case in cases():
        if given.only not in case.name:
            continue
        found = milliseconds(engines, case, given.runs)
        columns = "".join(f"{cost:9.2f} ×{cost / found[0]:5.2f}" for cost in found)
        print(f"{case.name + ', ' + case.place:55}{columns}", flush=True)


if __name__ == "__main__":
    main()
