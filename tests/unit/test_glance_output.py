# SPDX-License-Identifier: Apache-2.0
"""What `glance` prints: the table, the blocks, JSON; letters of all widths, and what a terminal would obey."""

import json

import pytest
import wcwidth

from glance.cli.images import output

UUID = "71c675ab-d94f-49cd-a114-e12490b328d9"
IMAGE = {
    "id": UUID, "name": "Debian 13", "status": "active", "size": 1234, "disk_format": "qcow2", "container_format": "bare",
    "is_public": True, "min_ram": 512, "min_disk": 2, "owner": "t1", "properties": {"b": "2", "a": "1"},
}  # fmt: skip


def test_the_table_of_2011(capsys: pytest.CaptureFixture[str]) -> None:
    table = output.Table()
    table.print([])
    assert capsys.readouterr().out == ""
    table.print([{"id": 7, "name": "x" * 31, "disk_format": "raw", "container_format": "ovf", "size": 187634470}])
    table.print([{"id": 8}])
    assert capsys.readouterr().out.splitlines() == [
        "ID               Name                           Disk Format          Container Format     Size          ",
        "---------------- ------------------------------ -------------------- -------------------- --------------",
        f"7                {'x' * 30} raw                  ovf                       187634470",
        f"8{' ' * 103}",
    ]


def test_the_table_is_as_wide_as_a_uuid(capsys: pytest.CaptureFixture[str]) -> None:
    output.Table().print([IMAGE])
    heading, rule, row = capsys.readouterr().out.splitlines()
    assert heading.startswith(f"ID{' ' * 35}Name ")
    assert rule.startswith(f"{'-' * 36} {'-' * 30} ")
    assert row == f"{UUID} {'Debian 13':30} {'qcow2':20} {'bare':20} {'1234':>14}"


@pytest.mark.parametrize(("text", "shown"), [
    ("", "     "), ("abc", "abc  "), ("abcdefg", "abcde"), ("é", "é    "), ("日本", "日本 "), ("日本語", "日本 "),
    ("a日本語", "a日本"), ("e\u0301" * 6, "e\u0301" * 5), ("👩\u200d👧ab", "👩\u200d👧ab "), ("\u0645\u0631\u062d", "\u0645\u0631\u062d  "),
])  # fmt: skip
def test_a_cell_has_its_width_on_a_terminal(text: str, shown: str) -> None:
    assert output.cell(text, 5) == shown
    assert wcwidth.wcswidth(output.cell(text, 5)) == 5
    assert wcwidth.wcswidth(output.cell(text, 5, right=True)) == 5


@pytest.mark.parametrize(("value", "shown"), [
    (None, ""), (0, "0"), (False, "False"), ("a\nb\x1b[31m\x9b\u2028", "a\ufffdb\ufffd[31m\ufffd\ufffd"), ("\udcff", "\ufffd"),
    ("\u202eexe.img\u202c", "\ufffdexe.img\ufffd"), ("\u202a\u202b\u202d\u2066\u2067\u2068\u2069", "\ufffd" * 7),
    ("日本\u3000語\xa0", "日本\u3000語\xa0"), ("👩\u200d👧", "👩\u200d👧"),
])  # fmt: skip
def test_nothing_that_a_terminal_obeys(value: object, shown: str) -> None:
    assert output.printable(value) == shown


def test_a_block() -> None:
    assert output.block(IMAGE, "http://localhost:9292") == (
        f"""\
URI: http://localhost:9292/v1/images/{UUID}
Id: {UUID}
Public: Yes
Name: Debian 13
Status: active
Size: 1234
Disk format: qcow2
Container format: bare
Minimum Ram Required (MB): 512
Minimum Disk Required (GB): 2
Owner: t1
Property 'a': 1
Property 'b': 2"""
    )
    bare = output.block({"id": "7"}, "http://localhost").splitlines()
    assert len(bare) == 10
    assert bare[2:4] == ["Public: No", "Name: "]


def test_metadata() -> None:
    assert output.metadata({"name": "x", "is_public": False, "properties": {"b": "1", "a": "2"}}).splitlines() == [
        f"{'name':>30} => x", f"{'is_public':>30} => False", f"{'a':>30} => 2", f"{'b':>30} => 1",
    ]  # fmt: skip


def test_members() -> None:
    assert output.members([{"member_id": "a", "can_share": False}, {"member_id": "b"}], "member_id") == "a\nb"
    assert (
        output.members([{"member_id": "a", "can_share": True}, {"member_id": "b"}], "member_id")
        == "a *\nb\n\n(*: Can share image)"
    )


@pytest.mark.parametrize("items", [[], [{"id": 1}], [{"id": 1, "name": "日"}, {"id": 2}]])
def test_a_list_of_json(items: list[dict[str, object]], capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json_list(iter(items))
    text = capsys.readouterr().out
    assert json.loads(text) == items
    assert text.isascii()
    assert len(text.splitlines()) == (len(items) + 2 if items else 1)
