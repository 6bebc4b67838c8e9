# SPDX-License-Identifier: Apache-2.0
"""Lists in pages, read to their end."""

from collections.abc import Iterator
from dataclasses import replace

from glance.core.context import Context
from glance.core.image import Image, Status, Visibility
from glance.core.ports import Registry
from glance.core.query import Comparison, Filter, Page, Query, Sort


def iter_pages(registry: Registry, ctx: Context, query: Query, *, limit: int | None = None) -> Iterator[Page]:
    """Yield the images that match, `limit` of them if it is given, page by page. The last page has no `after`.

    A page is fetched when it is requested, and not referenced once the next one is."""
    while True:
        if limit is not None:
            query = replace(query, limit=min(query.limit, limit))
        page = registry.find(ctx, query)
        if limit is not None:
            limit -= len(page.images)
        after = None if limit == 0 else page.after
        page = replace(page, after=after)
        yield page
        del page
        if after is None:
            return
        query = replace(query, after=after)


def every(registry: Registry, ctx: Context, query: Query) -> Iterator[Image]:
    """All images that match, fetched page after page as they are taken."""
    for page in iter_pages(registry, ctx, query):
        yield from page.images


def every_pending(registry: Registry) -> Iterator[Image]:
    """All images that are deleted and whose bytes are kept for a while."""
    pending = Filter("status", Comparison.IN, (str(Status.PENDING_DELETE),))
    query = Query(
        everyone=True, visibility=frozenset(Visibility), member_status=None, deleted=True, filters=(pending,)
    )
    return every(registry, Context(is_admin=True), query)


def every_record(registry: Registry, *, deleted: bool = False) -> Iterator[Image]:
    """All images of everybody, in the order of their numbers; with `deleted`, deleted ones, too."""
    query = Query(
        everyone=True, visibility=frozenset(Visibility), member_status=None, deleted=deleted, sort=(Sort("number"),)
    )
    return every(registry, Context(is_admin=True), query)
