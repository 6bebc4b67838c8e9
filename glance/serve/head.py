# SPDX-License-Identifier: Apache-2.0
"""The head of an HTTP/1.1 request, read strictly: what is not in the grammar of RFC 9112 is refused.

Two servers that read one request differently is how requests are smuggled, so nothing here is repaired: not a
bare CR or LF, a folded line, a space before a colon, two lengths, or a coding that is not exactly `chunked`.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

MAX_LINE = 16 * 1024  # bytes of one header line; a Keystone token fits
MAX_TARGET = 8 * 1024  # bytes of the request target
MAX_HEAD = 64 * 1024  # bytes of a head
TLS_RECORD = b"\x16"  # the first byte of a TLS handshake, RFC 8446 §5.1
NO_REQUEST_LINE = "the request line must be `METHOD /path HTTP/1.1`"
MAX_HEADERS = 200  # header lines; 128 properties and what clients add
LONGEST_METHOD = 32  # characters

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) HTTP/1\.([01])")
_METHOD_BEGINS = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |\Z)")
# Adjacent parts must not match the same character: a line that does not match would be tried in n² ways.
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_HOST = re.compile(rb"[!-~]*")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)(/[^#]*|\?[^#]*|)", re.IGNORECASE)

# CGI folds `-` and `_` into one name, so a header spelled with `_` could pose as one that a proxy in front
# has set. Only these are let in: clients of 2011 spell X-Image-Meta-Is_public with it.
UNDERSCORES_ALLOWED = b"x-image-meta-"
# Names, and beginnings of names, of headers that a request has at most once: joined by a comma, two values would be a
# third one that was never sent. Identity and credentials are among them, so that a client behind a proxy that adds
# headers instead of replacing them cannot add a role.
SINGLE = (
    UNDERSCORES_ALLOWED,
    b"x-glance-",
    b"x-identity-status",
    b"x-user-id",
    b"x-project-id",
    b"x-tenant-id",
    b"x-roles",
    b"x-auth-token",
    b"x-storage-token",
    b"x-service-token",
    b"authorization",
)


class RefusedError(Exception):
    """A request that is answered with `status`, these further headers and a closed connection."""

    def __init__(self, status: str, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    method: str
    target: str  # path and query as they were sent
    path: str  # percent-decoded once, bytes shown as Latin-1 as WSGI wants it
    query: str
    version: tuple[int, int]
    fields: dict[bytes, bytes]  # by lower-case name; repeated ones joined by commas
    length: int | None  # bytes of the body; None: chunked
    keep_alive: bool
    expects_continue: bool


class PartialHead:
    """The beginning of a head that arrives in pieces.

    Each byte is searched once, however small the pieces are. What has arrived is checked before the end does: probes
    send "GET /" as in HTTP/0.9, lines that end in LF, or a TLS handshake, and wait for an answer.
    """

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self._searched = 0
        self._has_request_line = False

    def find_end(self) -> int:
        """Return the offset of the empty line's CR LF CR LF, or -1 if it has not arrived.

        Raises RefusedError if what has arrived cannot become a head."""
        searched, self._searched = self._searched, len(self.data)
        end = self.data.find(b"\r\n\r\n", max(searched - 3, 0))
        if end < 0:
            if not self._has_request_line:
                self._check_request_line(searched)
            if self.data.count(b"\n", searched) != self.data.count(b"\r\n", max(searched - 1, 0)):
                raise _bad("a line of the head does not end in CR LF")
        return end

    def _check_request_line(self, searched: int) -> None:
        length = self.data.find(b"\n", searched)
        if not _METHOD_BEGINS.match(self.data[: length if 0 <= length < LONGEST_METHOD else LONGEST_METHOD + 1]):
            is_tls = self.data[:1] == TLS_RECORD
            raise _bad("a TLS handshake, but this port speaks HTTP" if is_tls else NO_REQUEST_LINE)
        if length >= 0:
            self._has_request_line = True
            if not _REQUEST_LINE.fullmatch(self.data[:length].removesuffix(b"\r")):
                raise _bad(NO_REQUEST_LINE)


def parse(data: bytes) -> Head:
    """Read a head, without the empty line that ends it. Raises RefusedError."""
    request_line, *lines = data.split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(request_line)
    if found is None:
        raise _bad(NO_REQUEST_LINE)
    method, target, minor = found.groups()
    if len(target) > MAX_TARGET:
        raise RefusedError("414 URI Too Long", f"the URL has more than {MAX_TARGET} bytes")
    fields = _fields(lines)
    version = (1, int(minor))
    if version == (1, 1) and b"host" not in fields:
        raise _bad("a request needs one Host header")
    target = _origin_form(method, target, fields)
    path, query = _split(target)
    length = _length(fields, version)
    tokens = {token.strip() for token in fields.get(b"connection", b"").lower().split(b",")}
    return Head(
        method=method.decode("ascii"),
        target=target.decode("ascii"),
        path=path,
        query=query,
        version=version,
        fields=fields,
        length=length,
        keep_alive=b"close" not in tokens and (version == (1, 1) or b"keep-alive" in tokens),
        expects_continue=version == (1, 1) and _expects_continue(fields),
    )


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    if len(lines) > MAX_HEADERS:
        raise RefusedError("431 Request Header Fields Too Large", f"more than {MAX_HEADERS} header lines")
    fields: dict[bytes, bytes] = {}
    spelled: dict[bytes, bytes] = {}  # name as CGI folds it → as it came
    for line in lines:
        if len(line) > MAX_LINE:
            raise RefusedError("431 Request Header Fields Too Large", f"a header line over {MAX_LINE} bytes")
        found = _FIELD_LINE.fullmatch(line)
        if found is None:
            raise _bad("a header line is not `name: value`")
        name, value = found[1].lower(), found[2].strip(b" \t")
        if b"_" in name and not name.startswith(UNDERSCORES_ALLOWED):
            continue
        if name == b"host" and (name in fields or not _HOST.fullmatch(value)):
            raise _bad("a request needs one Host header")
        if spelled.setdefault(name.replace(b"_", b"-"), name) != name:
            raise _bad("two headers differ in `-` and `_` only")
        if name == b"content-length" and fields.get(name, value) != value:
            raise _bad("two different Content-Length headers")
        if name in fields and name.startswith(SINGLE):
            raise _bad(f"the header {name.decode()} is there twice")
        if name in fields and name != b"content-length":
            value = fields[name] + b"," + value
        fields[name] = value
    return fields


def _origin_form(method: bytes, target: bytes, fields: dict[bytes, bytes]) -> bytes:
    """Return the target as a path and a query. The authority of an absolute URL replaces the Host header."""
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is not None:
            fields[b"host"] = absolute[1]  # RFC 9112 §3.2.2: the target's authority counts
            target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
        elif not (method == b"OPTIONS" and target == b"*"):
            raise _bad("the request target is not a path")
    if b"#" in target:
        raise _bad("a request target has no fragment")
    return target


def _split(target: bytes) -> tuple[str, str]:
    path, _, query = target.partition(b"?")
    decoded = unquote_to_bytes(path)
    if b"\0" in decoded:
        raise _bad("a path must not contain NUL")
    return decoded.decode("latin-1"), query.decode("ascii")


def _length(fields: dict[bytes, bytes], version: tuple[int, int]) -> int | None:
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise _bad("Content-Length and Transfer-Encoding exclude each other")
        if version == (1, 0):
            raise _bad("HTTP/1.0 has no Transfer-Encoding")
        if coding.lower() != b"chunked":
            raise RefusedError("501 Not Implemented", "the one transfer coding known here is chunked")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length) or int(length) >= 2**63:
        raise _bad("Content-Length must be a whole number below 2^63")
    return int(length)


def _expects_continue(fields: dict[bytes, bytes]) -> bool:
    expectation = fields.get(b"expect")
    if expectation is None:
        return False
    if expectation.lower() != b"100-continue":
        raise RefusedError("417 Expectation Failed", "the one expectation known here is 100-continue")
    return True


def _bad(text: str) -> RefusedError:
    return RefusedError("400 Bad Request", text)
