# SPDX-License-Identifier: Apache-2.0
"""Wrong values for the Images API v1, from everywhere that a value can come in, on real daemons.

Each is answered with a 4xx of some lines that tell nothing of the server, none with a 5xx, and nothing is left. How many
there are is shown by: pytest -rP tests/functional/test_v1_values.py
"""

import json
import re
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.functional.daemons import Installation, answer_of

pytestmark = pytest.mark.functional

UNKNOWN = "71c675ab-d94f-49cd-a114-e12490b328d9"
RAW = ("x-image-meta-disk_format: raw", "x-image-meta-container_format: bare")
OCTETS = "Content-Type: application/octet-stream"
QUIET = re.compile(rb"Traceback|File \"|/glance/|sqlite|SELECT|UPDATE |Errno", re.IGNORECASE)

NUMBERS = (
    "-1", "-0", "+5", "1e3", "1_000", "0x5", "5.0", "5 6", "5,6", "1/2", "٣", "５", "²", "NaN", "inf", "none", "true", "[]", "%35",
    str(2**63), str(2**64), "9" * 20, "9" * 5000,
)  # fmt: skip
NO_TEXTS = (
    b"\xff",
    b"a\xc3",
    b"\xed\xb2\x80",
    b"\xc0\x80",
    b"\xc2\x85",
    b"a\tb",
    b"\xf8\x88\x80\x80\x80",
)  # bytes that are no line of UTF-8
TOO_LONG = "x" * 256
IDS = (
    "1", "0", UNKNOWN.upper(), f"{{{UNKNOWN}}}", f"urn:uuid:{UNKNOWN}", UNKNOWN.replace("-", ""), UNKNOWN.replace("-", "\u2010"),
    UNKNOWN[:-1], UNKNOWN + "0", "g" * 36, "../../etc/passwd", "..", "%2e%2e", UNKNOWN + "'--", "x" * 5000,
)  # fmt: skip
URLS = (
    "file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "filesystem:///x", "%66ile:///etc/passwd", "swift+config://a/b", "s3://b/k",
    "swift://c/o", "gopher://x/", "ftp://x/y", "nonsense", "http://", "http:///x", "//x/y", "http://x y/", "http://[::1]/", "http://127.1/",
    "http://2130706433/", "http://0x7f000001/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest", "http://good@127.0.0.1/",
    "http://user:secret@127.0.0.1/", "http://0.0.0.0:9191/", "http://localhost:70000/", "http://" + "x" * 4100,
)  # fmt: skip
TIMES = (
    "yesterday", "", "9999-99-99", "10000-01-01", "2011-02-30", "2011-03-04T25:00:00", "2011-03-04T00:00:00%2B99:99", "2011-03-04T00:00:00+01:00",
    "0001-01-01T00:00:00%2B12:00", "9999-12-31T23:59:59-12:00", "0", "1e9", "%D9%A3", "2011-03-04' OR 1=1",
)  # fmt: skip
MANY = json.dumps({"memberships": [{"member_id": f"m{number}"} for number in range(129)]})

Case = tuple[str, str, tuple[bytes, ...], bytes]  # method, target, header lines, body


def line(name: str, value: str | bytes) -> bytes:
    return b"%b: %b" % (name.encode(), value if isinstance(value, bytes) else value.encode())


def wrong_fields() -> Iterator[bytes]:
    """Header lines that neither a new image nor an update takes."""
    for field in ("size", "min_disk", "min_ram", "virtual_size"):
        yield from (line(f"x-image-meta-{field}", value) for value in NUMBERS)
    for field in ("min_disk", "min_ram"):
        yield line(f"x-image-meta-{field}", str(2**31))
    for field in ("name", "owner", "disk_format", "container_format", "checksum", "property-a", "store"):
        yield from (line(f"x-image-meta-{field}", value) for value in NO_TEXTS)
    yield from (
        line(f"x-image-meta-{field}", TOO_LONG) for field in ("name", "owner", "checksum", "disk_format", "store")
    )
    yield line("x-image-meta-checksum", "0" * 33)
    for value in ("qcow3", "RAW", "None", "raw,bare", "raw;", "../raw"):
        yield line("x-image-meta-disk_format", value)
    for value in ("box", "BARE", "None", "bare/ovf"):
        yield line("x-image-meta-container_format", value)
    for value in ("nowhere", "http", "FILE", "../file", "file://", "None"):
        yield line("x-image-meta-store", value)
    for field in (
        "nonsense",
        "properties",
        "tags",
        "visibility",
        "os_hash_value",
        "location_data",
        "",
        "is_public_",
        "property",
    ):
        yield line(f"x-image-meta-{field}", "x")
    for key in ("", "k" * 256):
        yield line(f"x-image-meta-property-{key}", "v")
    for header in ("x-image-meta-location", "x-glance-api-copy-from"):
        yield from (line(header, url) for url in URLS)
        yield from (line(header, b"http://x/" + value) for value in NO_TEXTS)


def wrong_queries() -> Iterator[str]:
    for parameter in ("limit", "size_min", "size_max", "min_ram", "min_disk"):
        yield from (
            f"{parameter}={value.replace('%', '%25').replace('+', '%2B')}" for value in NUMBERS if len(value) < 5000
        )
        yield from (f"{parameter}={value}" for value in ("", "%00", "%ff", "%D9%A3", "5%0A", "%205", "9" * 5000))
    yield from (f"{parameter}={2**31}" for parameter in ("min_ram", "min_disk"))
    yield from (f"marker={value}" for value in (*IDS, "", "%00", "%ff", UNKNOWN, UNKNOWN + "%0a"))
    yield from (f"changes-since={value}" for value in TIMES)
    for parameter, values in (
        ("sort_key", ("", "location", "__class__", "number", "properties", "name,id", "name%3B", "name'--", "%00", "NAME")),
        ("sort_dir", ("", "up", "ASC", "asc%3B", "%00")), ("is_public", ("", "maybe", "2", "%00", "None%00")), ("protected", ("", "maybe", "2", "none", "t")),
    ):  # fmt: skip
        yield from (f"{parameter}={value}" for value in values)
    for parameter in ("name", "status", "disk_format", "container_format", "property-a"):
        yield from (f"{parameter}={value}" for value in ("%00", "%ff", "%ed%b2%80", "a%0d%0ab", "%C2%85"))
        if parameter != "property-a":
            yield f"{parameter}={TOO_LONG}"
    yield from ("property-=x", "property-%00=x", "property-%ff=x", f"property-{TOO_LONG}=x", "%ff=x")
    yield "property-a=" + '"' * 4000  # one that glance-api's own request to the registry has no room for


def wrong_members(image_id: str) -> Iterator[Case]:
    path = f"/v1/images/{image_id}/members"
    for body in (
        "", "{}", "[]", "x", "null", "5", '"a"', '{"memberships": {}}', '{"memberships": null}', '{"memberships": ["b"]}', '{"memberships": [[]]}',
        '{"memberships": [{}]}', '{"memberships": [{"member_id": 5}]}', '{"memberships": [{"member_id": null}]}', '{"memberships": [{"member_id": ""}]}',
        '{"memberships": [{"member_id": "a/b"}]}', '{"memberships": [{"member_id": "b", "can_share": "x"}]}', '{"memberships": [{"member_id": "b", "can_share": 1}]}',
        '{"memberships": [{"member_id": "b", "owner": "x"}]}', '{"memberships": [], "memberships": []}', '{"memberships": [{"member_id": "\\ud800"}]}',
        '{"memberships": [{"member_id": "a\\u0000"}]}', json.dumps({"memberships": [{"member_id": TOO_LONG}]}), "[" * 10_000, '{"a":' * 10_000, '{"a": NaN}',
        "\ufeff{}", '{"memberships": [{"member_id": "b"}]', "9" * 10_000, MANY,
    ):  # fmt: skip
        yield "PUT", path, (), body.encode()
    for body in (
        "[]",
        "x",
        "{}",
        '{"member": []}',
        '{"member": {"can_share": "yes"}}',
        '{"member": {"can_share": 0}}',
        '{"can_share": true}',
    ):
        yield "PUT", f"{path}/b", (), body.encode()
    for name in ("%00", "%ff", "%ed%b2%80", "a%0ab", TOO_LONG, ".", "..", "%2e%2e", "a%2fb"):
        yield "PUT", f"{path}/{name}", (), b""
        yield "DELETE", f"{path}/{name}", (), b""
        yield "GET", f"/v1/shared-images/{name}", (), b""


def cases(queued: str, active: str) -> Iterator[Case]:
    for field in wrong_fields():
        formats = () if b"_format" in field.lower() else tuple(map(str.encode, RAW))
        yield "POST", "/v1/images", (field, *formats), b""
        yield "PUT", f"/v1/images/{queued}", (field,), b""
        if b"location" not in field and b"copy" not in field:
            yield "PUT", f"/v1/images/{active}", (field,), b""
    agent = b"User-Agent: python-glanceclient"  # decoded before it is judged
    for field in (
        b"name: a%0d%0aSet-Cookie:%20e=1",
        b"name: %00",
        b"property-a: %c2%85",
        b"owner: %ed%b2%80",
        b"property-a%0d%0a: v",
        b"property-%00: v",
    ):
        yield "POST", "/v1/images", (agent, b"x-image-meta-" + field), b""
    for image_id in IDS:
        yield "POST", "/v1/images", (line("x-image-meta-id", image_id),), b""
        yield "PUT", f"/v1/images/{active}", (line("x-image-meta-id", image_id),), b""
    for image_id in (*IDS, "%00", "%ff", "a%0d%0ab", UNKNOWN):
        path = f"/v1/images/{image_id.encode().decode('latin-1') if image_id.isascii() else '%E2%80%90'}"
        for method, where, body in (
            ("GET", "", b""), ("HEAD", "", b""), ("PUT", "", b""), ("PUT", "", b"bytes"), ("DELETE", "", b""), ("GET", "/members", b""),
            ("PUT", "/members", b'{"memberships": []}'), ("PUT", "/members/b", b""), ("DELETE", "/members/b", b""),
        ):  # fmt: skip
            yield method, path + where, (OCTETS.encode(),), body
    for query in wrong_queries():
        for path in ("/v1/images", "/v1/images/detail"):
            yield "GET", f"{path}?{query.replace(' ', '%20').replace(chr(0x2010), '%E2%80%90')}", (), b""
    yield from wrong_members(active)


def answer(port: int, case: Case) -> tuple[int, bytes]:
    """Status and body."""
    method, target, lines, body = case
    head = [f"{method} {target} HTTP/1.1".encode(), b"Host: here", b"Connection: close", *lines]
    if body:
        head.append(b"Content-Length: %d" % len(body))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(b"\r\n".join([*head, b"", body]))
        first, _, rest = answer_of(sock).partition(b"\r\n\r\n")
    return int(first.split()[1]), rest


def ask(port: int, method: str, target: str, *lines: str, body: bytes = b"") -> dict:
    status, told = answer(port, (method, target, tuple(map(str.encode, lines)), body))
    assert status in (200, 201), told
    return json.loads(told)


def test_no_wrong_value_does_any_harm(running: Installation) -> None:
    port = running.api_port
    queued = ask(port, "POST", "/v1/images", *RAW)["image"]["id"]
    active = ask(port, "POST", "/v1/images", *RAW, OCTETS, body=b"bytes")["image"]["id"]
    everything = "/v1/images/detail?is_public=None&changes-since=2011-03-04&limit=1000"
    before = ask(port, "GET", everything)
    counted: Counter[int] = Counter()
    for case in cases(queued, active):
        status, told = answer(port, case)
        counted[status] += 1
        assert 400 <= status < 500, (case, status, told)
        assert len(told) < 1000, (case, told)
        assert not QUIET.search(told), (case, told)
    assert ask(port, "GET", everything) == before
    print(f"{counted.total()} requests with wrong values: {dict(sorted(counted.items()))}; 5xx: 0")
    assert counted.total() > 1000
    assert "Traceback" not in running.logs()
