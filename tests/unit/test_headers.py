# SPDX-License-Identifier: Apache-2.0
"""Headers and fields, there and back. A server hands a header's name to the application as CGI spells it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance.core.errors import Invalid
from glance.wire.classic import BOOKKEEPING, FIELDS
from glance.wire.headers import fields_from_headers, fields_of_request, headers_from_fields

text = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=50)
keys = st.from_regex(r"[a-z0-9_]{1,20}", fullmatch=True)
records = st.fixed_dictionaries(
    {
        "id": st.integers(1, 2**31 - 1),
        "name": text,
        "type": st.sampled_from(["raw", "machine"]),
        "size": st.integers(0, 2**63 - 1),
        "status": st.just("active"),
        "is_public": st.booleans(),
        "location": st.none() | text,
        "properties": st.dictionaries(keys, text, max_size=5),
        "created_at": st.just("2011-03-04T23:47:58.145889"),
        "updated_at": st.none(),
        "deleted_at": st.none(),
        "deleted": st.booleans(),
    }
)


def as_cgi(headers: dict[str, str]) -> list[tuple[str, str]]:
    return [(name.upper().replace("-", "_"), value) for name, value in headers.items()]


@given(records)
def test_an_answer_is_read_as_it_was_written(record):
    headers = headers_from_fields(record)
    read = fields_from_headers(headers.items())
    assert read == {**{name: str(value) for name, value in record.items()}, "properties": record["properties"]}
    assert fields_from_headers(as_cgi(headers)) == read


@given(records)
def test_a_request_is_read_as_a_client_writes_it(record):
    headers = headers_from_fields(record)
    expected = {
        name: value if name in ("is_public", "properties") else str(value)
        for name, value in record.items()
        if name not in BOOKKEEPING and (str(value) != "None" or name == "name")
    }
    if not expected["properties"]:
        del expected["properties"]
    assert fields_of_request(headers.items()) == expected
    assert fields_of_request(as_cgi(headers)) == expected


@given(st.dictionaries(st.sampled_from(FIELDS), st.text()), st.dictionaries(st.text(), st.text()))
def test_no_value_breaks_out_of_its_header(fields, properties):
    for name, value in headers_from_fields({**fields, "properties": properties}).items():
        assert name.isascii()
        assert not set(name) & set(" :\r\n\t\0")
        value.encode("latin-1")  # a native string
        assert not [character for character in value if ord(character) < 0x20 or ord(character) == 0x7F]


@pytest.mark.parametrize(("value", "wire"), [
    ("a\r\nSet-Cookie: evil=1\r\n\r\n<html>", "a  Set-Cookie: evil=1    <html>"), ("a\0b\x7fc\td", "a b c d"),
    ("漢", "\xe6\xbc\xa2"), ("\udc80", "?"), (None, "None"), (True, "True"), (187634470, "187634470"), ({}, "{}"),
])  # fmt: skip
def test_values_on_the_wire(value, wire):
    assert headers_from_fields({"name": value}) == {"X-Image-Meta-Name": wire}


def test_names_keep_their_underscores():
    headers = headers_from_fields({"is_public": True, "properties": {"Kernel_Id": "7", "a-b": "1"}})
    assert list(headers) == [
        "X-Image-Meta-Is_public", "X-Image-Meta-Properties", "X-Image-Meta-Property-Kernel_id", "X-Image-Meta-Property-A-B",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["", "a b", "a:b", "a\r\nb", "ü", "漢", "a\0"], ids=ascii)
def test_a_key_that_is_no_header_name_stands_among_the_properties_only(key):
    headers = headers_from_fields({"properties": {key: "value"}})
    assert list(headers) == ["X-Image-Meta-Properties"] if key else True
    assert "value" in headers["X-Image-Meta-Properties"]


@pytest.mark.parametrize("name", [
    "X-Image-Meta-Is_public", "x-image-meta-is-public", "X_IMAGE_META_IS_PUBLIC", "X-IMAGE-META-IS_PUBLIC",
])  # fmt: skip
def test_all_spellings_of_a_name_are_one(name):
    assert fields_of_request([(name, "True")]) == {"is_public": True}
    assert fields_from_headers([(name, "True")]) == {"is_public": "True", "properties": {}}


@pytest.mark.parametrize(
    "name", ["X-Image-Meta-Property-Kernel-ID", "X_IMAGE_META_PROPERTY_KERNEL_ID", "x-image-meta-property-kernel_id"]
)
def test_a_property_is_lower_case_with_underscores(name):
    assert fields_of_request([(name, "7")]) == {"properties": {"kernel_id": "7"}}


@pytest.mark.parametrize(("word", "expected"), [
    ("True", True), ("true", True), (" TRUE ", True), ("1", True), ("on", True), ("False", False), ("0", False), ("yes", False), ("", False), ("2", False),
])  # fmt: skip
def test_words_for_truth(word, expected):
    assert fields_of_request([("X-Image-Meta-Is_public", word)]) == {"is_public": expected}


@pytest.mark.parametrize("name", [
    "Content-Type", "X-Image-Meta", "X-Image-Meta-", "X-Image-Meta-Owner", "X-Image-Meta-Store", "X-Image-Meta-Properties",
    *(f"X-Image-Meta-{name}" for name in sorted(BOOKKEEPING)),
])  # fmt: skip
def test_what_a_request_cannot_set(name):
    assert fields_of_request([(name, "x")]) == {}


def test_none_means_that_nothing_is_set_except_for_a_name():
    sent = [
        (f"X-Image-Meta-{name}", "None") for name in ("Id", "Size", "Location", "Type", "Status", "Is_public", "Name")
    ]
    assert fields_of_request(sent) == {"name": "None"}


@pytest.mark.parametrize("name", ["X-Image-Meta-Name", "X-Image-Meta-Property-A", "X-Image-Meta-Is_public"])
@pytest.mark.parametrize("value", ["\xff", "\xc3", "\xed\xb2\x80", "漢"], ids=ascii)
def test_a_value_that_is_not_utf_8(name, value):
    with pytest.raises(Invalid, match="must be UTF-8"):
        fields_of_request([(name, value)])


@pytest.mark.parametrize("properties", [
    [("", "x")], [("k" * 256, "x")], [("k", "a\x85b".encode().decode("latin-1"))], [("k", "x" * 65_535), ("l", "x" * 65_535), ("m", "")],
], ids=["empty", "long", "control", "long together"])  # fmt: skip
def test_properties_that_are_refused(properties):
    with pytest.raises(Invalid):
        fields_of_request((f"X-Image-Meta-Property-{key}", value) for key, value in properties)


def test_our_own_requests_have_no_underscores() -> None:
    """nginx drops such names. Lower-case names are those of requests; answers spell them with capitals."""
    root = Path(__file__).parents[2]
    folders = ("docs", "etc", "benchmarks", "bin")
    files = [
        root / "README.md",
        *(path for folder in folders for path in (root / folder).rglob("*") if path.is_file()),
    ]
    texts = {path: path.read_text("utf-8") for path in files if path.suffix in (".md", ".yaml", ".py", ".conf", "")}
    assert any("-H 'x-image-meta-is-public" in text for text in texts.values())
    for path, text in texts.items():
        assert not re.findall(r"\bx-image-meta-[a-z-]*_[a-z_]*", text), path
