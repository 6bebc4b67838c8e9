# SPDX-License-Identifier: Apache-2.0
"""The JSON between the daemons: what is encoded is decoded, what is wrong is refused."""

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance.core.errors import Invalid, UnknownField
from glance.core.image import (
    CONTAINER_FORMATS,
    DISK_FORMATS,
    Image,
    ImageChange,
    Member,
    MemberStatus,
    Status,
    Visibility,
)
from glance.wire import jsontext, records

UUID = "71c675ab-d94f-49cd-a114-e12490b328d9"
LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=255)
KEYS = LINES.filter(bool)
SIZES = st.integers(0, 2**63 - 1)
NAIVE = st.datetimes(min_value=datetime(1970, 1, 1))
PROPERTIES = st.dictionaries(KEYS, LINES, max_size=5)

IMAGES = st.builds(
    Image,
    id=st.uuids().map(str) | st.just(""),
    number=st.none() | st.integers(1, 2**63 - 1),
    name=st.none() | LINES,
    status=st.sampled_from(Status),
    visibility=st.sampled_from(Visibility),
    owner=st.none() | LINES,
    disk_format=st.none() | st.sampled_from(DISK_FORMATS),
    container_format=st.none() | st.sampled_from(CONTAINER_FORMATS),
    size=st.none() | SIZES,
    virtual_size=st.none() | SIZES,
    min_disk=st.integers(0, 2**31 - 1),
    protected=st.booleans(),
    hidden=st.booleans(),
    created_at=st.none() | NAIVE,
    updated_at=st.none() | NAIVE,
    deleted_at=st.none() | NAIVE,
    locations=st.lists(LINES, max_size=3).map(tuple),
    tags=st.frozensets(LINES, max_size=3),
    properties=PROPERTIES,
)
CHANGES = st.builds(
    ImageChange,
    name=st.none() | LINES,
    owner=st.none() | LINES,
    size=st.none() | SIZES,
    protected=st.booleans(),
    tags=st.frozensets(LINES, max_size=3),
    properties=PROPERTIES,
    dropped=st.frozensets(LINES, max_size=3),
)
MEMBERS = st.builds(
    Member,
    image_id=st.uuids().map(str),
    member=LINES,
    can_share=st.booleans(),
    status=st.sampled_from(MemberStatus),
    created_at=st.none() | NAIVE,
    updated_at=st.none() | NAIVE,
)


def through_json(value: object) -> object:
    return jsontext.parse(json.dumps(value).encode())


@given(IMAGES)
def test_an_image_comes_back(image):
    assert records.decode_image(through_json(records.encode_image(image))) == image


@given(IMAGES)
def test_a_draft_comes_back(image):
    assert records.decode_draft(through_json(records.encode_draft(image))) == image


def test_a_draft_names_only_what_is_not_the_default():
    """So an older registry, which does not know new fields, adds images that do not need them."""
    draft = Image(name="n", tags=frozenset({"b", "a"}), status=Status.ACTIVE)
    assert records.encode_draft(draft) == {"name": "n", "tags": ["a", "b"], "status": "active"}


@given(CHANGES)
def test_a_change_comes_back(change):
    assert records.decode_change(through_json(records.encode_change(change))) == change


@given(st.lists(MEMBERS, max_size=3))
def test_members_come_back(members):
    assert records.decode_members(through_json(records.encode_members(members))) == tuple(members)


@given(st.dictionaries(KEYS, st.none() | st.booleans(), max_size=3))
def test_members_that_are_wanted_come_back(wanted):
    assert records.decode_wanted(through_json(wanted)) == wanted


@pytest.mark.parametrize("member", [
    {}, {"member": "a"}, {"image_id": "1", "member": "a"}, {"image_id": UUID}, {"image_id": UUID, "member": "a\n"},
    {"image_id": UUID, "member": "a", "can_share": 1}, {"image_id": UUID, "member": "a", "status": 1}, {"image_id": UUID, "member": 5},
])  # fmt: skip
def test_a_wrong_member_is_refused(member):
    with pytest.raises(Invalid):
        records.decode_member(member)


@pytest.mark.parametrize("wanted", [{"": None}, {"a": 1}, {"a": "true"}, {"a\n": None}, {"a" * 256: True}, [], None])
def test_wrong_wishes_for_members_are_refused(wanted):
    with pytest.raises(Invalid):
        records.decode_wanted(wanted)


def test_what_a_change_does_not_name_stays():
    assert records.encode_change(ImageChange()) == {}
    assert records.decode_change({}).given() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "71C675AB-D94F-49CD-A114-E12490B328D9"), ("id", "{71c675ab-d94f-49cd-a114-e12490b328d9}"), ("id", 7), ("id", None),
        ("number", 0), ("number", -1), ("number", 2**63), ("number", "1"), ("number", True), ("number", 1.0),
        ("name", "x" * 256), ("name", "a\nb"), ("name", "a\0"), ("name", "\udc80"), ("name", "\x9f"), ("name", 5),
        ("status", "nonsense"), ("status", None), ("status", "ACTIVE"), ("visibility", "everybody"), ("visibility", None),
        ("disk_format", "qcow3"), ("container_format", ["bare"]),
        ("size", -1), ("size", 2**63), ("size", "5"), ("size", 1.5), ("size", False), ("min_ram", 2**31), ("min_ram", None),
        ("protected", "true"), ("protected", 1), ("protected", None), ("checksum", "0" * 33),
        ("created_at", "yesterday"), ("created_at", "2011-03-04T23:47:58+01:00"), ("created_at", 1299282478), ("created_at", "9999-99-99"),
        ("locations", "file:///x"), ("locations", [None]), ("locations", ["x" * 4097]),
        ("tags", {"a": 1}), ("tags", ["a" * 256]), ("tags", ["a\n"]),
        ("properties", []), ("properties", {"": "x"}), ("properties", {"a": None}), ("properties", {"a": 1}), ("properties", {"a\n": "x"}),
        ("properties", {"k" * 256: "x"}), ("properties", {"a": "x" * 65536}), ("properties", {"a": "x" * 65535, "b": "x" * 65535, "c": ""}),
        ("nonsense", 1), ("deleted", False), ("__class__", "x"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_its_name(name, value):
    with pytest.raises(Invalid) as refused:
        records.decode_draft({name: value})
    assert name in str(refused.value) or name == "properties"
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["id", "number", "created_at", "updated_at", "deleted_at"])
def test_what_no_change_may_name(name):
    value = records.encode_image(Image(id="71c675ab-d94f-49cd-a114-e12490b328d9", number=1, owner="a"))[name]
    with pytest.raises(Invalid, match=name):
        records.decode_change({name: value})


# Answers of a registry of another version

IMAGE = Image(id=UUID, number=7, name="n", visibility=Visibility.PUBLIC, protected=True)
ANSWER = records.encode_image(IMAGE)


def test_an_answer_may_have_keys_that_are_unknown_here():
    assert records.decode_image({**ANSWER, "signature": {"key": [1]}, "__class__": "x"}) == IMAGE
    member = Member(image_id=UUID, member="ann", can_share=True)
    assert records.decode_member({**records.encode_member(member), "project": "x"}) == member
    assert records.decode_members({"members": [], "next": 1}) == ()
    assert records.decode_claimed({"records": [{**ANSWER, "signature": 1}], "next": 1}) == (IMAGE,)


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (records.decode_draft, {"signature": 1}),
        (records.decode_change, {"signature": 1}),
        (records.decode_claim, {"signature": 1}),
    ],
)
def test_a_request_may_not(decode, value):
    with pytest.raises(UnknownField, match="signature"):
        decode(value)


def test_what_an_answer_lacks_has_its_default():
    assert records.decode_image({name: ANSWER[name] for name in records.REQUIRED}) == Image(
        id=UUID, number=7, visibility=Visibility.PUBLIC
    )
    assert records.decode_member({"image_id": UUID, "member": "ann"}) == Member(image_id=UUID, member="ann")


@pytest.mark.parametrize("name", ["id", "number", "status", "visibility", "locations"])
def test_an_answer_does_not_lack_what_tells_how_to_treat_the_image(name):
    with pytest.raises(Invalid, match=name):
        records.decode_image({key: value for key, value in ANSWER.items() if key != name})


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("status", "importing", Status.SAVING), ("visibility", "regional", Visibility.PRIVATE), ("disk_format", "vhdz", "vhdz"), ("container_format", "squashfs", "squashfs"),
])  # fmt: skip
def test_values_that_only_a_newer_registry_knows(name, value, expected):
    assert getattr(records.decode_image({**ANSWER, name: value}), name) == expected
    with pytest.raises(Invalid):
        records.decode_draft({name: value})


def test_an_unknown_answer_of_a_member_is_pending():
    assert records.decode_member({"image_id": UUID, "member": "a", "status": "maybe"}).status is MemberStatus.PENDING


def test_an_unknown_value_is_logged_once(caplog):
    for _ in range(3):
        records.decode_image({**ANSWER, "status": "hibernating"})
    assert [record.getMessage() for record in caplog.records] == [
        "the registry answers with the status 'hibernating', which is unknown here and read as saving"
    ]


def test_what_is_claimed_with_a_status_that_is_unknown_is_left_to_newer_versions():
    """It is not read as `saving`, since the data of such images is removed."""
    assert records.decode_claimed({"records": [{**ANSWER, "status": "importing"}, ANSWER]}) == (IMAGE,)


@pytest.mark.parametrize("value", [None, [], "x", 5, True])
def test_a_record_is_an_object(value):
    for decode in (
        records.decode_image,
        records.decode_draft,
        records.decode_claimed,
        records.decode_change,
        records.decode_member,
        records.decode_members,
        records.decode_wanted,
    ):
        with pytest.raises(Invalid):
            decode(value)


@pytest.mark.parametrize("data", [
    b"", b"{", b"nonsense", b"\xff", b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16"), b'{"a": 1, "a": 2}', b"NaN", b"[Infinity]",
    b"[-Infinity]", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"{} {}",
])  # fmt: skip
def test_what_is_not_strict_json_is_refused(data):
    with pytest.raises(Invalid):
        jsontext.parse(data)


@pytest.mark.parametrize("seconds", [0, 1, 60, 2**31 - 1])
def test_a_lease_is_a_number_of_seconds(seconds):
    assert records.decode_lease(str(seconds)) == seconds


def test_no_header_is_no_lease():
    assert records.decode_lease(None) is None


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "+1", "1 ", "1.0", "1_0", "1e3", "٣", "soon", str(2**31), "9" * 5000]
)
def test_a_wrong_lease_is_refused(text):
    with pytest.raises(Invalid, match=records.LEASE_HEADER) as refused:
        records.decode_lease(text)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("pending", [False, True])
def test_a_claim_comes_back(pending):
    assert records.decode_claim(through_json(records.encode_claim("me", 60, 1, pending))) == ("me", 60, 1, pending)


@pytest.mark.parametrize("wrong", [
    {"holder": None}, {"holder": "x" * 65}, {"lease": -1}, {"lease": "60"}, {"lease": None}, {"limit": 0}, {"limit": 1001},
    {"pending": 1}, {"pending": None}, {"nonsense": 1},
])  # fmt: skip
def test_a_wrong_claim_is_refused(wrong):
    with pytest.raises(Invalid):
        records.decode_claim({"holder": "me", "lease": 60, "limit": 1} | wrong)


@pytest.mark.parametrize("name", ["holder", "lease", "limit"])
def test_a_claim_has_all_but_pending(name):
    claim = {"holder": "me", "lease": 60, "limit": 1}
    del claim[name]
    with pytest.raises(Invalid, match="holder, lease, limit"):
        records.decode_claim(claim)
