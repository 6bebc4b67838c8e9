# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance.core.errors import Invalid
from glance.core.image import CONTAINER_FORMATS, DISK_FORMATS, UNSET, Image, ImageChange, Status, Visibility
from glance.wire import classic

RECORD = {
    "id": 7,
    "name": "Ubuntu Maverick 10.10",
    "type": "raw",
    "size": 187634470,
    "status": "active",
    "is_public": True,
    "location": "file:///var/lib/glance/images/7",
    "properties": {"arch": "amd64"},
    "created_at": "2011-03-04T23:47:58.145889",
    "updated_at": None,
    "deleted_at": None,
    "deleted": False,
}
IMAGE = Image(
    number=7,
    name="Ubuntu Maverick 10.10",
    status=Status.ACTIVE,
    visibility=Visibility.PUBLIC,
    disk_format="raw",
    container_format="bare",
    size=187634470,
    created_at=datetime(2011, 3, 4, 23, 47, 58, 145889),
    locations=("file:///var/lib/glance/images/7",),
    properties={"arch": "amd64"},
)

text = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=255)
drafts = st.builds(
    lambda formats, **fields: Image(**fields, disk_format=formats[0], container_format=formats[1]),
    formats=st.sampled_from(
        [("ami", "ami"), ("aki", "aki"), ("ari", "ari"), *((name, "bare") for name in ("raw", "vhd", "qcow2", "iso"))]
    ),
    number=st.none() | st.integers(1, 2**31 - 1),
    name=st.none() | text,
    status=st.sampled_from([Status.QUEUED, Status.SAVING, Status.ACTIVE, Status.KILLED]),
    visibility=st.sampled_from([Visibility.PUBLIC, Visibility.PRIVATE]),
    size=st.integers(0, 2**63 - 1),
    locations=st.just(()) | st.tuples(text),
    properties=st.dictionaries(text.filter(bool), text, max_size=3),
)


def test_an_image_as_its_record():
    record = classic.record_of(IMAGE)
    assert record == RECORD
    assert sorted(record) == sorted(classic.FIELDS)


@given(drafts)
def test_a_draft_comes_back(draft):
    assert classic.draft_from(classic.record_of(draft)) == draft


def test_times_always_have_microseconds():
    moment = datetime(2011, 3, 4)
    record = classic.record_of(
        replace(IMAGE, created_at=moment, updated_at=moment.replace(day=5), deleted_at=moment, status=Status.DELETED)
    )
    assert {record["created_at"], record["updated_at"], record["deleted_at"]} == {
        "2011-03-04T00:00:00.000000",
        "2011-03-05T00:00:00.000000",
    }
    assert record["deleted"] is True


@pytest.mark.parametrize("visibility", Visibility)
def test_public_is_what_everybody_sees(visibility):
    assert classic.record_of(replace(IMAGE, visibility=visibility))["is_public"] is (visibility is Visibility.PUBLIC)


@pytest.mark.parametrize("container_format", [*CONTAINER_FORMATS, None])
@pytest.mark.parametrize("disk_format", [*DISK_FORMATS, None])
def test_every_image_has_a_record(disk_format, container_format):
    kind = classic.record_of(replace(IMAGE, disk_format=disk_format, container_format=container_format))["type"]
    assert kind in classic.TYPES if disk_format else kind is None


@pytest.mark.parametrize(("kind", "formats"), [
    ("kernel", ("aki", "aki")), ("ramdisk", ("ari", "ari")), ("machine", ("ami", "ami")), ("raw", ("raw", "bare")), ("vhd", ("vhd", "bare")),
    ("qcow2", ("qcow2", "bare")), ("iso", ("iso", "bare")),
])  # fmt: skip
def test_types(kind, formats):
    image = classic.draft_from({"type": kind})
    assert (image.disk_format, image.container_format) == formats
    assert classic.type_of(image) == kind


def test_the_least_that_makes_a_draft():
    assert classic.draft_from({"type": "raw"}) == Image(
        status=Status.ACTIVE, disk_format="raw", container_format="bare"
    )


def test_unknown_fields_and_the_bookkeeping_are_not_taken():
    noise = {"owner": "me", "created_at": "never", "updated_at": 7, "deleted": True, "deleted_at": []}
    assert classic.draft_from({"type": "raw", **noise}) == classic.draft_from({"type": "raw"})
    assert classic.change_from({"id": 9, **noise}) == ImageChange()


def test_a_change_has_what_is_named():
    assert classic.change_from({"name": None, "size": None, "location": None, "properties": None}) == ImageChange(
        name=None, size=None, locations=(), properties={}
    )
    change = classic.change_from({"is_public": False, "type": "kernel", "size": "7"})
    assert (change.visibility, change.disk_format, change.container_format, change.size) == (
        Visibility.PRIVATE,
        "aki",
        "aki",
        7,
    )
    assert change.name is change.status is UNSET


@pytest.mark.parametrize("wrong", [
    {"type": None}, {"type": ""}, {"type": "ami"}, {"type": "Raw"}, {"type": []}, {"type": 7}, {"status": "deleted"}, {"status": "Active"}, {"status": None},
    {"status": []}, {"is_public": "True"}, {"is_public": 1}, {"is_public": None}, {"size": -1}, {"size": 2**63}, {"size": "1e3"}, {"size": 1.0}, {"size": True},
    {"id": 0}, {"id": 2**31}, {"id": "x"}, {"id": True}, {"name": "a\nb"}, {"name": "x" * 256}, {"name": 7}, {"location": 7}, {"location": "x" * 4097},
    {"location": "http://h/\r\n"}, {"properties": ["x"]}, {"properties": {"k": 1}}, {"properties": "x"},
], ids=lambda wrong: ascii(wrong)[:30])  # fmt: skip
def test_wrong_values(wrong):
    with pytest.raises(Invalid):
        classic.draft_from({"type": "raw", **wrong})


def test_a_draft_needs_a_type():
    with pytest.raises(Invalid, match="type is required: one of machine"):
        classic.draft_from({"name": "x"})


@pytest.mark.parametrize("number", ["1", "7", "2147483647", "9" * 18])
def test_numbers(number):
    assert classic.is_number(number)


@pytest.mark.parametrize(
    "number", ["", "0", "07", "-1", "+1", " 1", "1\n", "1_0", "٣", "1.0", "9" * 19, "detail", "..", "\0"], ids=ascii
)
def test_what_is_no_number(number):
    assert not classic.is_number(number)
