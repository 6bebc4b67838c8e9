# SPDX-License-Identifier: Apache-2.0
"""The record of v1 and its headers, there and back. A server hands a header's name on as CGI spells it."""

from dataclasses import replace
from datetime import datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance.core.errors import Invalid
from glance.core.image import CONTAINER_FORMATS, DISK_FORMATS, UNSET, Image, ImageChange, Status, Visibility
from glance.wire import v1

UUID = "71c675ab-d94f-49cd-a114-e12490b328d9"
NAIVE = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=50).map(str.strip).filter(bool)
KEYS = st.from_regex(r"[a-z0-9_.!~]{1,20}", fullmatch=True)
FORMATS = st.sampled_from(
    [("raw", "bare"), ("qcow2", "ovf"), ("ami", "ami"), (None, None), ("iso", None), (None, "ova")]
)
IMAGES = st.builds(
    lambda formats, **fields: Image(disk_format=formats[0], container_format=formats[1], **fields),
    FORMATS,
    id=st.just(UUID),
    name=st.none() | TEXT,
    status=st.sampled_from(Status),
    visibility=st.sampled_from(Visibility),
    owner=st.none() | TEXT,
    size=st.none() | st.integers(0, 2**63 - 1),
    virtual_size=st.none() | st.integers(0, 2**63 - 1),
    checksum=st.none() | st.just("d41d8cd98f00b204e9800998ecf8427e"),
    min_disk=st.integers(0, 2**31 - 1),
    min_ram=st.integers(0, 2**31 - 1),
    protected=st.booleans(),
    created_at=st.none() | NAIVE,
    updated_at=st.none() | NAIVE,
    deleted_at=st.none() | NAIVE,
    locations=st.just(("file:///secret/place",)),
    properties=st.dictionaries(KEYS, TEXT, max_size=5),
)


def as_cgi(headers: dict[str, str]) -> list[tuple[str, str]]:
    return [(name.upper().replace("-", "_"), value) for name, value in headers.items()]


def as_glanceclient(headers: dict[str, str]) -> list[tuple[str, str]]:
    """Names and values percent-encoded, as python-glanceclient does."""
    return [(quote(name, "/:"), quote(value.encode("latin-1"), "/:")) for name, value in headers.items()]


@given(IMAGES)
def test_an_answer_is_read_as_it_was_written(image):
    record = v1.record_of(image)
    headers = v1.headers_of(record)
    known = {name: value for name, value in record.items() if value is not None}
    assert v1.record_from(headers.items()) == v1.record_from(as_cgi(headers)) == known
    assert "secret" not in str(headers) + str(record)


@given(IMAGES)
def test_a_request_says_of_a_new_image_what_an_answer_said(image):
    headers = v1.headers_of(v1.record_of(image))
    fields, properties = v1.texts_of(as_cgi(headers))
    draft = v1.draft_from(fields, properties, owner=None)
    kept = ("id", "name", "owner", "disk_format", "container_format", "virtual_size", "checksum", "min_disk", "min_ram", "protected", "properties")  # fmt: skip
    assert [getattr(draft, name) for name in kept] == [getattr(image, name) for name in kept]
    assert (draft.is_public, draft.size, draft.status) == (image.is_public, image.size or 0, Status.QUEUED)


@given(IMAGES)
def test_what_one_client_encodes_is_the_same(image):
    headers = v1.headers_of(v1.record_of(image))
    assert v1.texts_of(as_glanceclient(headers), encoded=True) == v1.texts_of(headers.items())


@given(IMAGES)
def test_an_image_is_not_changed_by_what_it_is(image):
    fields, properties = v1.texts_of(v1.headers_of(v1.record_of(image)).items())
    changed = v1.change_from(fields, properties, image).applied_to(image)
    assert changed == replace(image, size=image.size or 0)


@given(st.dictionaries(st.sampled_from(sorted(v1.KNOWN)), st.text()), st.dictionaries(st.text(), st.text()))
def test_no_value_breaks_out_of_its_header(fields, properties):
    for name, value in v1.headers_of({**fields, "properties": properties}).items():
        assert name.isascii()
        assert not set(name) & set(" :\r\n\t\0")
        value.encode("latin-1")
        assert not [character for character in value if ord(character) < 0x20 or ord(character) == 0x7F]


@given(st.text(max_size=5) | KEYS)
def test_a_key_is_spellable_if_it_comes_back(key):
    headers = v1.headers_of({"properties": {key: "value"}})
    assert (v1.texts_of(as_cgi(headers))[1] == {key: "value"}) is v1.is_spellable(key)


@pytest.mark.parametrize("name", ["x-image-meta-is_public", "X_IMAGE_META_IS_PUBLIC", "X-Image-Meta-Is-Public"])
def test_all_spellings_of_a_name_are_one(name):
    assert v1.texts_of([(name, "x")]) == ({"is_public": "x"}, {})


def test_what_begins_like_a_property_is_one():
    assert v1.texts_of([("X-Image-Meta-Property-Status", "x"), ("Host", "y")]) == ({}, {"status": "x"})


@pytest.mark.parametrize(
    "name", ["x-image-meta-", "x-image-meta-type", "x-image-meta-properties", "x-image-meta-foo"]
)
def test_a_field_that_is_none(name):
    with pytest.raises(Invalid, match="Bad header"):
        v1.texts_of([(name, "x")])


@pytest.mark.parametrize("word", ["t", "true", "TRUE", "On", "y", "Yes", "1", " true "])
def test_words_for_truth(word):
    assert v1.is_true(word)


@pytest.mark.parametrize("word", ["f", "false", "None", "", None, "0", "2", "truth", "ja"])
def test_words_for_the_other(word):
    assert not v1.is_true(word)


@pytest.mark.parametrize(("disk", "container", "expected"), [
    ("ami", None, ("ami", "ami")), (None, "aki", ("aki", "aki")), ("ari", "ari", ("ari", "ari")), ("raw", None, ("raw", None)),
    ("raw", "ami", None), ("ami", "bare", None), ("ami", "aki", None),
])  # fmt: skip
def test_formats_of_amazon(disk, container, expected):
    given = {"disk_format": disk, "container_format": container}
    fields = {name: value for name, value in given.items() if value is not None}
    if expected is None:
        with pytest.raises(Invalid, match="Invalid mix"):
            v1.draft_from(fields, {}, owner=None)
    else:
        draft = v1.draft_from(fields, {}, owner=None)
        assert (draft.disk_format, draft.container_format) == expected


@pytest.mark.parametrize("disk", [*DISK_FORMATS, None])
@pytest.mark.parametrize("container", [*CONTAINER_FORMATS, None])
def test_bytes_need_both_formats(disk, container):
    image = Image(disk_format=disk, container_format=container)
    if disk is None or container is None:
        with pytest.raises(Invalid, match=f"Invalid {'disk' if disk is None else 'container'} format 'None'"):
            v1.check_formats(image)
    else:
        v1.check_formats(image)


@pytest.mark.parametrize(("visibility", "word", "expected"), [
    (Visibility.PUBLIC, "False", Visibility.SHARED), (Visibility.SHARED, "True", Visibility.PUBLIC), (Visibility.PRIVATE, "False", UNSET),
    (Visibility.COMMUNITY, "no", UNSET), (Visibility.PUBLIC, "1", UNSET),
])  # fmt: skip
def test_public_or_not(visibility, word, expected):
    image = Image(visibility=visibility)
    assert v1.change_from({"is_public": word}, {}, image) == ImageChange(visibility=expected)


def test_what_is_absent_is_not_changed():
    assert v1.change_from({}, {}, Image()) == ImageChange()


def test_more_text_than_the_properties_of_one_image_may_have():
    with pytest.raises(Invalid):
        v1.change_from({}, {f"p{number}": "x" * 1024 for number in range(128)}, Image())
