# SPDX-License-Identifier: Apache-2.0
"""Lists in pages, read to their end."""

from collections.abc import Iterator
from dataclasses import replace

from glance.core.context import Context
from glance.core.image import Image, Status, Visibility
from glance.core.ports import Registry
from glance.core.query import Comparison, Filter, Query, Sort


def every(registry: Registry, ctx: Context, query: Query) -> Iterator[Image]:
    """All images that match, fetched page after page as they are taken."""
    while True:
        page = registry.find(ctx, query)
        yield from page.images
        if page.after is None:
            return
        query = replace(query, after=page.after)


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
