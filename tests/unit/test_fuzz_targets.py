# SPDX-License-Identifier: Apache-2.0
"""The targets of tests/fuzz work, and get along with what random bytes make of good ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import CORPUS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_where_the_search_begins_nothing_is_wrong(name):
    for data in CORPUS[name]:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_of_strangers_raise_what_is_promised_and_nothing_else(name):
    @given(st.sampled_from(CORPUS[name]), st.data())
    def search(good: bytes, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(good)))
        length = data.draw(st.integers(0, 8))
        TARGETS[name](good[:at] + data.draw(st.binary(max_size=12)) + good[at + length :])

    search()
