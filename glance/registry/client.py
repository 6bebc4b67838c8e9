# SPDX-License-Identifier: Apache-2.0
"""HttpRegistry: the Registry of core/ports.py over the registry daemon's HTTP."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from glance.core.context import Context
from glance.core.errors import (
    GlanceError,
    Invalid,
    NotFound,
    RegistryDown,
    RegistryFull,
    RegistryReadOnly,
    UnknownField,
)
from glance.core.image import Image, ImageChange, Member, MemberStatus, Status
from glance.core.ports import CLEANING
from glance.core.query import Page, Query
from glance.core.values import shown
from glance.registry.pool import Https, RegistryPool
from glance.wire import jsontext, queries, records
from glance.wire.identity import KEY_HEADER, headers_for
from glance.wire.paths import build_path
from glance.wire.status import REASON_HEADER, error_from

T = TypeVar("T")

_PROTOCOL = {records.PROTOCOL_HEADER: str(records.PROTOCOL)}

LOG = logging.getLogger(__name__)

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what one listens on is no address to connect to


class HttpRegistry:
    """`timeout` is the number of seconds to wait for an answer, `key` makes the registry believe who asks.

    All methods raise RegistryDown without a proper answer.
    """

    def __init__(
        self, host: str, port: int, *, timeout: float = 10, key: str = "", https: Https | None = None
    ) -> None:
        """Raises OSError for files of `https` that cannot be used."""
        host = ANY_ADDRESS.get(host, host)
        self._address = f"{host} port {port}"
        self._key = {KEY_HEADER: key} if key else {}
        self._protocol: str | None = str(records.PROTOCOL)  # of the last answer; None: before there was a version
        self._pool = RegistryPool(host, port, timeout=timeout, https=https)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()

    def check(self) -> None:
        self._ask(Context(), "GET", "/healthcheck/ready")

    def add(self, ctx: Context, image: Image, *, lease: int | None = None) -> Image:
        headers = {} if lease is None else {records.LEASE_HEADER: str(lease)}
        return self._record(ctx, "POST", "/records", value=records.encode_draft(image), headers=headers)

    def get(self, ctx: Context, image_id: str, *, deleted: bool = False) -> Image:
        params = {records.DELETED: "true"} if deleted else None
        return self._record(ctx, "GET", _path(image_id), params=params)

    def find(self, ctx: Context, query: Query) -> Page:
        params = {queries.PARAMETER: queries.encode_query(query)}
        headers = {queries.BRIEF_HEADER: "true"} if query.brief else None
        answer = self._ask(ctx, "GET", "/records", params=params, headers=headers)
        return _understood(lambda value: _page(value, query), answer)

    def update(
        self,
        ctx: Context,
        image_id: str,
        change: ImageChange,
        *,
        expect: Status | None = None,
        holder: str | None = None,
    ) -> Image:
        conditions = {records.EXPECT_HEADER: expect, records.HOLDER_HEADER: holder}
        headers = {name: str(value) for name, value in conditions.items() if value is not None}
        body = records.encode_change(change)
        return self._record(ctx, "PATCH", _path(image_id), value=body, headers=headers)

    def remove(self, ctx: Context, image_id: str, *, lease: int = CLEANING, delay: int | None = None) -> Image:
        params = None if delay is None else {records.DELAY: str(delay)}
        headers = {records.LEASE_HEADER: str(lease)}
        return self._record(ctx, "DELETE", _path(image_id), params=params, headers=headers)

    def release(self, ctx: Context, image_id: str, *, holder: str | None = None) -> None:
        headers = {} if holder is None else {records.HOLDER_HEADER: holder}
        self._ask(ctx, "POST", f"{_path(image_id)}/release", headers=headers)

    def claim_stalled(
        self, ctx: Context, holder: str, *, lease: int, limit: int, pending: bool = False
    ) -> tuple[Image, ...]:
        answer = self._ask(ctx, "POST", "/claims", value=records.encode_claim(holder, lease, limit, pending))
        return _understood(lambda value: tuple(map(_kept, records.decode_claimed(value))), answer)

    def members(self, ctx: Context, image_id: str) -> tuple[Member, ...]:
        return _understood(records.decode_members, self._ask(ctx, "GET", f"{_path(image_id)}/members"))

    def memberships(self, ctx: Context, tenant: str) -> tuple[Member, ...]:
        return _understood(
            records.decode_members, self._ask(ctx, "GET", "/memberships", params={records.TENANT: tenant})
        )

    def set_members(
        self, ctx: Context, image_id: str, wanted: Mapping[str, bool | None], *, replace: bool = False
    ) -> tuple[Member, ...]:
        method = "PUT" if replace else "PATCH"
        answer = self._ask(ctx, method, f"{_path(image_id)}/members", value=dict(wanted))
        return _understood(records.decode_members, answer)

    def set_member_status(self, ctx: Context, image_id: str, tenant: str, status: MemberStatus) -> Member:
        member = {records.TENANT: tenant}
        answer = self._ask(ctx, "PUT", f"{_path(image_id)}/member", params=member, value={"status": str(status)})
        return _understood(records.decode_member, answer)

    def drop_member(self, ctx: Context, image_id: str, tenant: str) -> None:
        self._ask(ctx, "DELETE", f"{_path(image_id)}/member", params={records.TENANT: tenant})

    def _record(self, ctx: Context, method: str, path: str, **arguments: Any) -> Image:
        return _understood(_image, self._ask(ctx, method, path, **arguments))

    def _ask(
        self,
        ctx: Context,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        value: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of a good answer."""
        sent = {**headers_for(ctx), **_PROTOCOL, **self._key, **(headers or {})}
        body = None
        if value is not None:
            sent["Content-Type"] = "application/json"
            body = jsontext.write(value, ensure_ascii=False)
        if params:
            path = f"{path}?{urlencode(params)}"
        try:
            answer = self._pool.request(method, path, sent, body)
        except HTTPError as error:
            LOG.error("%s: registry at %s: %s", ctx.request_id, self._address, error)
            raise RegistryDown("the registry does not answer") from error
        if (protocol := answer.headers.get(records.PROTOCOL_HEADER)) != self._protocol:
            self._protocol = protocol
            LOG.info("the registry speaks version %s of the protocol, this server %s", protocol, records.PROTOCOL)
        if answer.status == 200:
            return answer.data
        raise _error(answer)


def _path(image_id: str) -> str:
    """Return the path of a record. Raises NotFound for text that no path can contain, and so names no image."""
    try:
        return build_path("records", image_id)
    except Invalid:
        raise NotFound(f"there is no image {shown(image_id)}") from None


def _error(answer: BaseHTTPResponse) -> GlanceError:
    """The registry's error as itself; anything that is not its answer to a request counts as no answer."""
    reason = answer.headers.get(REASON_HEADER)
    text = answer.data.decode(errors="replace")
    if answer.status == 401:
        LOG.error(
            "the registry refuses our registry_key: it was started with another one, or with none. Both daemons need "
            "the same; `glance-control all restart` has them read it again"
        )
        return RegistryDown("the registry refuses this server, whose log says why")
    if answer.status == 414:
        return Invalid("these are more, or longer, conditions than a list takes")
    if reason == UnknownField.reason:
        LOG.error("the registry is of an older version, which is to be upgraded before glance-api: %s", shown(text))
        return RegistryDown("the registry is of an older version than this server, and does not know this yet")
    if reason is None or answer.status >= 500:
        LOG.error("the registry answered %s: %s", answer.status, shown(text))
        for kind in (RegistryFull, RegistryReadOnly):
            if reason == kind.reason:
                return kind()
        return RegistryDown("the registry does not answer as it should")
    return error_from(answer.status, reason, text.partition("\n\n")[2].strip())


def _image(value: object) -> Image:
    return _kept(records.decode_image(value))


def _page(value: object, query: Query) -> Page:
    page = queries.decode_page(value, query.order)
    for image in page.images:
        _kept(image)
    return page


def _kept(image: Image) -> Image:
    """An image that is kept has both its names; `{}` from some other service on that port is none."""
    if not image.id or image.number is None:
        raise Invalid("a record that is kept has an id and a number")
    return image


def _understood(decode: Callable[[object], T], answer: bytes) -> T:
    try:
        return decode(jsontext.parse(answer))
    except Invalid as error:
        LOG.error("the registry's answer is not a record: %s", error)
        raise RegistryDown("the registry does not answer as it should") from error
