# SPDX-License-Identifier: Apache-2.0
import pytest

from glance.core import values
from glance.core.errors import Invalid

UUID = "71c675ab-d94f-49cd-a114-e12490b328d9"


@pytest.mark.parametrize(("value", "expected"), [
    ("0", 0), (0, 0), ("7", 7), ("007", 7), (str(2**63 - 1), 2**63 - 1), (2**63 - 1, 2**63 - 1),
])  # fmt: skip
def test_whole_numbers(value, expected):
    assert values.whole_number("size", value) == expected


@pytest.mark.parametrize("value", [
    "", " ", "-1", "+5", " 7 ", "7\n", "1_000", "1e3", "0x3", "7.0", "٣", "²", "9" * 5000, str(2**63), str(2**64),
    -1, 2**63, 10**4000, 7.0, float("nan"), True, False, None, [], {}, b"7",
], ids=lambda value: ascii(value)[:20] if not isinstance(value, int) or value < 2**64 else "huge")  # fmt: skip
def test_what_is_no_whole_number(value):
    with pytest.raises(Invalid, match=r"^size must be a whole number from 0 to 9223372036854775807, not ") as caught:
        values.whole_number("size", value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(("value", "good"), [(1, True), ("3", True), (0, False), ("4", False)])
def test_bounds(value, good):
    if good:
        values.whole_number("n", value, least=1, most=3)
    else:
        with pytest.raises(Invalid, match="from 1 to 3"):
            values.whole_number("n", value, least=1, most=3)


@pytest.mark.parametrize("name", ["a", "71c675ab", "..a", "a b", "漢", "%2F", "a\\b", "x" * 255])
def test_names_of_tenants(name):
    assert values.tenant("member", name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "...", "/", "a/b", "a\n", "x" * 256, None, 5])
def test_what_names_no_tenant(name):
    with pytest.raises(Invalid, match=r"^member must "):
        values.tenant("member", name)


@pytest.mark.parametrize("text", [
    "", "a", "x" * 255, "漢字", "🐧" * 255, "e\N{COMBINING ACUTE ACCENT}", "\N{RIGHT-TO-LEFT MARK}x", "   ", "dot.", "\N{LINE SEPARATOR}",
], ids=ascii)  # fmt: skip
def test_lines_stay_as_they_are(text):
    assert values.line("name", text) == text


@pytest.mark.parametrize("text", [
    *(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))), "a\r\nSet-Cookie: b", "\udc80", "x" * 256, "x" * 10**6, 7, None, b"x", [],
], ids=lambda text: ascii(text)[:20])  # fmt: skip
def test_what_is_no_line(text):
    with pytest.raises(Invalid, match=r"^name must ") as caught:
        values.line("name", text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("value", [True, False])
def test_truth(value):
    assert values.truth("protected", value) is value


@pytest.mark.parametrize("value", [0, 1, "true", "True", None, "", []])
def test_what_is_no_truth(value):
    with pytest.raises(Invalid, match="protected must be true or false"):
        values.truth("protected", value)


def test_a_uuid():
    assert values.image_uuid("id", UUID) == UUID


@pytest.mark.parametrize("value", [
    "", UUID.upper(), f"{{{UUID}}}", f"urn:uuid:{UUID}", UUID.replace("-", ""), UUID + "\n", UUID[:-1], UUID + "0", f" {UUID}",
    UUID.replace("-", "\N{NON-BREAKING HYPHEN}"), "../" + UUID[3:], "g" + UUID[1:], "٣" + UUID[1:], UUID + "\0", 7, None, UUID.encode(),
], ids=ascii)  # fmt: skip
def test_what_is_no_uuid(value):
    with pytest.raises(Invalid, match=r"^id must be a lower-case UUID"):
        values.image_uuid("id", value)


def test_properties():
    given = {"arch": "amd64", "Arch": "", "k" * 255: "v" * 65_535, **{f"p{n}": "" for n in range(125)}}
    assert values.properties(given) == given
    assert values.properties({}) == {}


@pytest.mark.parametrize("value", [
    None, [], "x", {"": "x"}, {"k" * 256: "x"}, {"k": "v" * 65_536}, {"k": 1}, {"k": None}, {"k\n": "x"}, {"k": "\0"}, {7: "x"},
    {"k": {}}, {"k": "x" * 65_535, "l": "x" * 65_535, "m": ""},
], ids=lambda value: ascii(value)[:20])  # fmt: skip
def test_what_are_no_properties(value):
    with pytest.raises(Invalid):
        values.properties(value)


@pytest.mark.parametrize(
    "value",
    ["a", "a'b", "\n\x1b[2J", "\udc80", "x" * 1000, None, 7, ["x" * 1000], b"\0"],
    ids=lambda value: ascii(value)[:20],
)
def test_a_wrong_value_is_shown_on_one_short_line(value):
    text = values.shown(value)
    assert text.isprintable()
    assert 0 < len(text) <= 40
    text.encode("utf-8")
