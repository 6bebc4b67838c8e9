# SPDX-License-Identifier: Apache-2.0
"""Wrong values for the classic API and for the registry, from everywhere that a value can come in, on real daemons; and
right ones that look wrong. test_v1_values.py does the same to the Images API v1, and says what is expected of an answer.
"""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.functional.daemons import Installation, answer_of
from tests.functional.test_v1_values import (
    IDS,
    NO_TEXTS,
    NUMBERS,
    OCTETS,
    QUIET,
    TIMES,
    TOO_LONG,
    UNKNOWN,
    URLS,
    Case,
    answer,
    ask,
    line,
)

pytestmark = pytest.mark.functional

NO_NUMBERS = (
    *IDS[1:],
    "%00",
    "%ff",
    "a%0d%0ab",
    "01",
    "+1",
    "1_0",
    "%D9%A3",
    "9" * 19,
    "999999",
)  # none names an image
NO_INTEGERS = (-1, 2**63, 2**64, 10**400, 1.0, 1e3, True, [], {}, "x", "1_0", "+5", " 5", "٣", "5.0", "9" * 5000, "")
NO_LINES = ("\x00", "a\r\nSet-Cookie: e=1", "a\tb", "\x7f", "\x85", "\ud800", TOO_LONG, 5, True, [], {})
NO_WORDS = ("", "nonsense", "ACTIVE", 5, None, True, [], {})
NO_TIMES = (*(time for time in TIMES if "%" not in time), "2011-03-04T23:47:58+01:00", 5, True, [], {})
NO_JSON = (
    b"", b"x", b"{", b"[]", b"null", b"5", b'"a"', b"\xff", b"\xef\xbb\xbf{}", '{"image": {"type": "raw"}}'.encode("utf-16"), b"{'image': {}}", b"{} {}", b"[" * 100_000,
    b'{"image":' * 100_000, b'{"image": {"type": "raw"}, "image": {"type": "raw"}}', b'{"image": {"type": "raw", "type": "raw"}}', b'{"image": {"type": "raw", "size": NaN}}',
    b'{"image": {"type": "raw", "size": Infinity}}', b'{"image": {"type": "raw", "size": 1e400}}', b'{"image": {"type": "raw", "size": %s}}' % (b"9" * 5000), b"\x00", b" " * (1024 * 1024 + 1),
    b'{"name": "a", "name": "b"}', b'{"size": NaN}', b'{"size": -Infinity}', b'{"size": %s}' % (b"9" * 5000),
)  # fmt: skip
WRONG_2011 = {  # field of the record of 2011 → what it cannot be
    "id": (*NO_INTEGERS, 0, 2**31), "name": NO_LINES, "type": (*NO_WORDS, "RAW", "ami"), "size": NO_INTEGERS, "status": (*NO_WORDS, "deleted", "pending_delete"),
    "is_public": ("True", "False", 1, 0, None, [], {}), "location": (*NO_LINES[:6], "x" * 4097, 5, [], {}),
    "properties": (5, "x", [1], {"": "v"}, {"k" * 256: "v"}, {"a": 5}, {"a": None}, {"a": {}}, {"a\n": "v"}, {"a": "\x00"}, {"a": "\ud800"}, {"a": "v" * 65_536}, {str(key): "v" for key in range(129)}),
}  # fmt: skip
WRONG_RECORD = {  # field of a record of today → what it cannot be
    "name": NO_LINES, "owner": NO_LINES, "status": NO_WORDS, "visibility": NO_WORDS, "disk_format": (*NO_WORDS[:4], "RAW", []), "container_format": (*NO_WORDS[:4], "BARE", []),
    **dict.fromkeys(("size", "virtual_size"), (*NO_INTEGERS, "5")), **dict.fromkeys(("min_disk", "min_ram"), (*NO_INTEGERS, "5", None, 2**31)), "checksum": (*NO_LINES, "0" * 33),
    "protected": ("True", 1, None), "hidden": ("True", 1, None), "locations": ("x", [5], ["\x00"], ["x" * 4097], ["x"] * 129), "tags": ("x", [5], [TOO_LONG], [str(key) for key in range(129)]),
    "properties": WRONG_2011["properties"], "copy_from": (5, "x" * 4097), "os_hash_algo": ("x" * 65, 5), "os_hash_value": ("x" * 129, 5), "nonsense": (5, None), "__class__": ("x",),
}  # fmt: skip
WRONG_NEW_RECORD = {"id": (*IDS[:-1], 5), "number": (*NO_INTEGERS, 0, "5", 2**31), "created_at": NO_TIMES, "updated_at": NO_TIMES, "deleted_at": NO_TIMES}  # fmt: skip
WRONG_QUERIES = (
    "x", "[]", "5", "null", '{"nonsense": 1}', '{"limit": 0}', '{"limit": -1}', '{"limit": 1e2}', '{"sort": [["__class__", true]]}', '{"sort": [["name"]]}',
    '{"sort": "name"}', '{"filters": [["name", "like", ["%"]]]}', '{"filters": [["__class__", "in", ["x"]]]}', '{"filters": [["size", "in", ["x"]]]}',
    json.dumps({"filters": [["name", "in", ["x"] * 101]]}), '{"filters": [["name", "in", [5]]]}', '{"filters": [["size", "lt", [9223372036854775808]]]}', '{"filters": [["name", "in", ["\\ud800"]]]}',
    '{"properties": {"a": 5}}', '{"properties": []}', '{"tags": "x"}', '{"visibility": ["x"]}', '{"member_status": "x"}', '{"everyone": 1}', '{"after": 5}', '{"limit": 1, "limit": 1}', '{"limit": NaN}',
    '{"filters": [["created_at", "gt", ["yesterday"]]]}', "\x00", "{" * 2000,
)  # fmt: skip
STRINGS = (
    "Ünï 漢字", "🐧" * 255, "\u202eright to left\u200f", "caf\u00e9", "cafe\u0301", "   ", "dot.", "%", "_", "' OR 1=1 --", "%s %d {0} {x}", "<script>alert(1)</script>", "None", "a,b;c=d", "\\", '"', "\ufeff", "x" * 255,
)  # fmt: skip


def classic_cases(queued: int, active: int) -> Iterator[Case]:
    fields = [
        *(line("x-image-meta-size", value) for value in NUMBERS), *(line("x-image-meta-name", value) for value in (TOO_LONG, *NO_TEXTS)),
        *(line("x-image-meta-property-a", value) for value in NO_TEXTS), *(line(f"x-image-meta-property-{key}", "v") for key in ("", "k" * 256)),
        *(line("x-image-meta-type", value) for value in ("", "RAW", "ami", "raw,raw", "../raw", *NO_TEXTS)), line("x-image-meta-property-a", "v" * 16_000)[:-1] + b"\x00",
    ]  # fmt: skip
    places = [line("x-image-meta-location", url) for url in (*URLS, *NO_TEXTS)]
    for field in (*fields, *places, *(line("x-image-meta-id", value) for value in (*NUMBERS, *IDS[1:], str(2**31)))):
        kind = () if b"meta-type" in field else (b"x-image-meta-type: raw",)
        yield "POST", "/images", (field, *kind), b""
    for number, wrong in ((queued, fields + places), (active, fields)):
        yield from (("PUT", f"/images/{number}", (field,), b"") for field in wrong)
    for name in NO_NUMBERS:
        path = f"/images/{quote(name, safe='%/')}"
        for method, body in (("GET", b""), ("HEAD", b""), ("PUT", b""), ("PUT", b"bytes"), ("DELETE", b"")):
            yield method, path, (OCTETS.encode(),), body
    for content_type in ("application/xml", "text/plain", "application/octet-stream; charset=utf-8", "application/json", ""):  # fmt: skip
        yield "PUT", f"/images/{active}", (line("Content-Type", content_type),), b"bytes"


def registry_cases(number: int) -> Iterator[Case]:
    for method, path in (
        ("POST", "/images"), ("PUT", f"/images/{number}"), ("POST", "/records"), ("PATCH", f"/records/{number}"), ("PUT", f"/records/{number}/members"),
        ("PATCH", f"/records/{number}/members"), ("POST", "/claims"),
    ):  # fmt: skip
        yield from ((method, path, (), body) for body in NO_JSON)
    for field, wrong in WRONG_2011.items():
        for value in wrong:
            yield "POST", "/images", (), json.dumps({"image": {"type": "raw", field: value}}).encode()
            if field != "id":
                yield "PUT", f"/images/{number}", (), json.dumps({"image": {field: value}}).encode()
    for field, wrong in (WRONG_RECORD | WRONG_NEW_RECORD).items():
        yield from (("POST", "/records", (), json.dumps({field: value}).encode()) for value in wrong)
    for field, wrong in WRONG_RECORD.items():
        yield from (("PATCH", f"/records/{number}", (), json.dumps({field: value}).encode()) for value in wrong)
    for header in ("X-Glance-Expect: nonsense", "X-Glance-Expect: ACTIVE"):
        yield "PATCH", f"/records/{number}", (header.encode(),), b"{}"
    yield from (("POST", "/records", (line("X-Glance-Lease", value),), b"{}") for value in NUMBERS)
    for query in WRONG_QUERIES:
        yield "GET", f"/records?query={quote(query)}", (), b""
    for parameters in ("query=%ff", "nonsense=1", "query={}&nonsense=1", f"query={quote('[' * 2500)}"):
        yield "GET", f"/records?{parameters}", (), b""
    for tenant in ("%00", "%ff", "a%0ab", TOO_LONG, "%ed%b2%80"):
        yield "GET", f"/memberships?tenant={tenant}", (), b""
        yield "DELETE", f"/records/{number}/member?tenant={tenant}", (), b""
    for members in (
        {"b": "x"},
        {"b": 1},
        {"": True},
        {"a\x00": True},
        {TOO_LONG: True},
        {f"m{one}": None for one in range(129)},
    ):
        yield "PUT", f"/records/{number}/members", (), json.dumps(members).encode()
    for claim in ({"holder": "x"}, {"holder": 5, "lease": 1, "limit": 1}, {"holder": "x", "lease": -1, "limit": 1}, {"holder": "x", "lease": 1, "limit": 0}, {"holder": "x" * 65, "lease": 1, "limit": 1}):  # fmt: skip
        yield "POST", "/claims", (), json.dumps(claim).encode()
    for name in (*NO_NUMBERS, UNKNOWN):
        path = quote(name, safe="%/")
        for method, target, body in (("GET", "images", b""), ("PUT", "images", b'{"image": {}}'), ("DELETE", "images", b""), ("GET", "records", b""), ("PATCH", "records", b"{}"), ("DELETE", "records", b"")):  # fmt: skip
            yield method, f"/{target}/{path}", (), body


@pytest.mark.parametrize("daemon", ["api", "registry"])
def test_no_wrong_value_does_any_harm(running: Installation, daemon: str) -> None:
    api, registry = running.api_port, running.registry_port
    queued, active = (
        ask(api, "POST", "/images", "x-image-meta-type: raw", OCTETS, body=body)["image"]["id"]
        for body in (b"", b"bytes")
    )
    everything = f"/records?query={quote(json.dumps({'everyone': True, 'deleted': True}))}"
    before = ask(registry, "GET", everything)
    counted: Counter[int] = Counter()
    for case in classic_cases(queued, active) if daemon == "api" else registry_cases(active):
        status, told = answer(api if daemon == "api" else registry, case)
        counted[status] += 1
        assert 400 <= status < 500, (case, status, told)
        assert len(told) < 1000, (case, told)
        assert not QUIET.search(told), (case, told)
    assert ask(registry, "GET", everything) == before
    print(f"{counted.total()} requests with wrong values: {dict(sorted(counted.items()))}; 5xx: 0")
    assert counted.total() > 300
    assert "Traceback" not in running.logs()


ENTRANCES = {
    "classic": lambda port, _, name: ask(port, "POST", "/images", "x-image-meta-type: raw", "x-image-meta-is_public: 1", f"x-image-meta-name: {name}", f"x-image-meta-property-p: {name}"),
    "v1": lambda port, _, name: ask(port, "POST", "/v1/images", "x-image-meta-is_public: 1", f"x-image-meta-name: {name}", f"x-image-meta-property-p: {name}"),
    "registry": lambda _, port, name: ask(port, "POST", "/images", body=json.dumps({"image": {"type": "raw", "is_public": True, "name": name, "properties": {"p": name}, "status": "queued"}}).encode()),
}  # fmt: skip


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_a_string_is_the_same_wherever_it_is_read(running: Installation, entrance: str) -> None:
    """In the JSON of all three, and in the headers of two."""
    api, registry = running.api_port, running.registry_port
    for string in STRINGS:
        if entrance != "registry" and string != string.strip(" "):
            continue  # blanks around a header's value are not part of it
        ENTRANCES[entrance](api, registry, string)
        classic = ask(api, "GET", "/images/detail")["images"][-1]
        newest = ask(api, "GET", "/v1/images/detail?limit=1&changes-since=2011-03-04")["images"][0]
        for image in (classic, newest, ask(registry, "GET", "/images/detail")["images"][-1]):
            assert (image["name"], image["properties"]) == (string, {"p": string})
        for path in (f"/images/{classic['id']}", f"/v1/images/{newest['id']}"):
            assert header_lines(api, path) >= {line("X-Image-Meta-Name", string).rstrip(), line("X-Image-Meta-Property-P", string).rstrip()}  # fmt: skip
        found = ask(api, "GET", f"/v1/images?name={quote(string)}&property-p={quote(string)}")["images"]
        assert {image["name"] for image in found} == {string}


def header_lines(port: int, path: str) -> set[bytes]:
    return {one.rstrip() for one in head(port, path).split(b"\r\n")}


def test_numbers_at_their_bounds(running: Installation) -> None:
    for size in (0, 1, 2**63 - 1):
        body = json.dumps({"image": {"type": "raw", "size": size, "status": "queued"}}).encode()
        assert ask(running.registry_port, "POST", "/images", body=body)["image"]["size"] == size
    for amount in (0, 2**31 - 1):
        made = ask(
            running.api_port,
            "POST",
            "/v1/images",
            f"x-image-meta-min_disk: {amount}",
            f"x-image-meta-min_ram: {amount}",
        )
        assert (made["image"]["min_disk"], made["image"]["min_ram"]) == (amount, amount)


def head(port: int, path: str) -> bytes:
    """The head of the answer to HEAD, as it is on the wire."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(f"HEAD {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        return answer_of(sock)
