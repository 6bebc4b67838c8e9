# SPDX-License-Identifier: Apache-2.0
"""A list in pages, read to its end."""

from collections.abc import Iterator
from dataclasses import replace

from glance.core.context import Context
from glance.core.image import Image
from glance.core.ports import Registry
from glance.core.query import Query


def every(registry: Registry, ctx: Context, query: Query) -> Iterator[Image]:
    """All images that match, fetched page after page as they are taken."""
    while True:
        page = registry.find(ctx, query)
        yield from page.images
        if page.after is None:
            return
        query = replace(query, after=page.after)
