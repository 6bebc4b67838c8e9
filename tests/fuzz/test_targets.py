# SPDX-License-Identifier: Apache-2.0
"""The targets of the search for breaking bytes, with the corpus that it begins with and small changes to it; what was found
once stays in FOUND."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import CORPUS, TARGETS

FOUND = {  # what broke a target once
    "locations": [b"http://.[2606:4700::1111]/", b"http://[2606:4700::1111]x:80/"],
    "decoded_json": [b"1e400", b"[-1e999]"],
}


@pytest.mark.parametrize("name", TARGETS)
def test_what_it_begins_with(name):
    for data in (*CORPUS[name], *FOUND.get(name, ())):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_near(name):
    """Something of one taken out, something else put in: bytes at random, or a part of another."""
    parts = st.sampled_from(CORPUS[name]).flatmap(lambda data: st.slices(len(data)).map(lambda part: data[part]))

    @given(st.sampled_from(CORPUS[name]), st.data(), st.binary(max_size=5) | parts)
    def check(data, draw, put):
        start = draw.draw(st.integers(0, len(data)))
        end = draw.draw(st.integers(start, len(data)))
        TARGETS[name](data[:start] + put + data[end:])

    check()
