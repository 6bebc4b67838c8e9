# SPDX-License-Identifier: Apache-2.0
"""The head of a request, there and back. Form by form: tests/functional/test_http.py."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance.serve.head import RefusedError, parse

METHODS = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}", fullmatch=True)
NAMES = st.from_regex(r"(x-image-meta-[0-9a-z_-]{1,20}|[a-df-gi-z][0-9a-z-]{0,20})", fullmatch=True).filter(
    lambda name: name not in ("connection", "content-length", "transfer-encoding")
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")).map(
    lambda text: text.strip(" \t")
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=10).filter(
    lambda fields: len({name.replace("_", "-") for name in fields}) == len(fields)
)
LENGTHS = st.none() | st.integers(0, 2**63 - 1)  # None: in chunks


def head_of(method: str, path: str, query: str, fields: dict[str, str], length: int | None) -> bytes:
    framing = "Transfer-Encoding: Chunked" if length is None else f"Content-Length: {length}"
    lines = [f"{method} {quote(path)}?{quote(query)} HTTP/1.1", "Host: here", framing]
    return "\r\n".join([*lines, *(f"{name.title()}: \t{value} " for name, value in fields.items())]).encode("latin-1")


@given(METHODS, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])), FIELDS, LENGTHS)  # fmt: skip
def test_a_head_says_what_its_client_said(method, path, query, fields, length):
    head = parse(head_of(method, f"/{path}", query, fields, length))
    assert (head.method, head.path, head.query) == (method, f"/{path}".encode().decode("latin-1"), quote(query))
    assert (head.length, head.version, head.keep_alive, head.expects_continue) == (length, (1, 1), True, False)
    told = {name.decode(): value.decode("latin-1") for name, value in head.fields.items()}
    assert told.keys() - fields.keys() == {"host", "transfer-encoding" if length is None else "content-length"}
    assert {name: told[name] for name in fields} == fields


@given(FIELDS, LENGTHS, st.sampled_from(["\r", "\n", "\0", "\n\n", "\r\r\n"]), st.data())
def test_nothing_that_ends_a_line_elsewhere_stands_in_a_head(fields, length, odd, data):
    head = head_of("GET", "/", "", fields, length).decode("latin-1")
    at = data.draw(st.integers(0, len(head)))
    with pytest.raises(RefusedError):
        parse((head[:at] + odd + head[at:]).encode("latin-1"))


@given(st.binary())
def test_bytes_are_a_head_or_refused(data):
    try:
        parse(data)
    except RefusedError as refused:
        assert refused.status.startswith("4") or refused.status.startswith("501")
