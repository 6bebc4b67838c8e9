# SPDX-License-Identifier: Apache-2.0
"""Memory of the statements that are kept to answer lists."""

import gc
import tracemalloc
from dataclasses import replace

from glance.core.context import Context
from glance.core.query import MAX_CONDITIONS, Comparison, Filter, Query
from glance.registry.db.shape import shape_of
from glance.registry.db.sql import SqlRegistry
from glance.registry.db.statements import MAX_KEPT_CONDITIONS, MAX_KEPT_SHAPES, get_statements

TENANT = Context(tenant="me")
MIB = 1024 * 1024


def make_query(properties: int) -> Query:
    named = Filter("name", Comparison.IN, ("debian",))
    return Query(filters=(named,), properties={f"key{number}": "value" for number in range(properties)})


def test_lists_with_many_conditions_keep_no_memory(sqlite_engine):
    registry = SqlRegistry(sqlite_engine)
    registry.find(TENANT, make_query(MAX_CONDITIONS))  # whatever is loaded at the first use
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for count in range(MAX_KEPT_CONDITIONS, MAX_CONDITIONS):
            registry.find(TENANT, make_query(count))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < MIB
    finally:
        tracemalloc.stop()


def test_statements_of_few_conditions_are_kept_for_a_limited_number_of_queries(sqlite_engine):
    query = make_query(MAX_KEPT_CONDITIONS - 1)
    shape = shape_of(TENANT, query)
    first = get_statements(shape)
    assert get_statements(shape) is first
    for number in range(MAX_KEPT_SHAPES):
        after = tuple(None if number >> bit & 1 else "x" for bit in range(7))
        get_statements(replace(shape, after=tuple(value is None for value in after)))
    assert get_statements(shape) is not first


def test_a_condition_counts_twice_in_lists_that_include_deleted_images():
    query = make_query(1)
    assert shape_of(TENANT, query).conditions == 2
    assert shape_of(TENANT, replace(query, deleted=True)).conditions == 4
