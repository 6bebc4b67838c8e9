# SPDX-License-Identifier: Apache-2.0
"""WSGI filters that turn this version's registry into one of the next version, or of the one before.

A configuration names them as `paste.filter_factory`, so that a real daemon runs them.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from webob import Request, Response

from glance.core.errors import UnknownField
from glance.wire import records
from glance.wire.status import REASON_HEADER

MORE = {"extra": {"nested": [1, None]}, "extra_status": "paused"}  # keys that only the next version knows
IMPORTED = "imported"  # name of an image that has values which only the next version knows
NEWER_VALUES = {
    "status": "importing",
    "visibility": "regional",
    "disk_format": "vhdz",
    "container_format": "squashfs",
}
# Keys that the version before does not know: in answers it lacks them, in requests it refuses those of images.
OLDER_LACKS = frozenset({"virtual_size", "hidden", "tags", "can_share", "updated_at"})

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def make_newer(_: dict[str, str]) -> Callable[[App], App]:
    """Add keys to each object of an answer: pages, records, members, claims, and what releases answer."""

    def change(value: dict[str, Any]) -> dict[str, Any]:
        values = NEWER_VALUES if value.get("name") == IMPORTED else {}
        return {**value, **values, **MORE}

    return lambda app: _answering(app, change, {records.PROTOCOL_HEADER: str(records.PROTOCOL + 1)})


def make_older(_: dict[str, str]) -> Callable[[App], App]:
    """Remove keys from each object of an answer, refuse requests that have them, and know no protocol version."""

    def change(value: dict[str, Any]) -> dict[str, Any]:
        return {key: item for key, item in value.items() if key not in OLDER_LACKS}

    def refusing(app: App) -> App:
        changing = _answering(app, change, {})

        def refuse(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            request = Request(environ)
            unknown = OLDER_LACKS & request.json.keys() if request.body else set()
            if unknown:
                text = f"400 Bad Request\n\na record has no field {unknown}\n"
                refusal = Response(text, 400, content_type="text/plain", charset="UTF-8")
                refusal.headers[REASON_HEADER] = UnknownField.reason
                return refusal(environ, start_response)
            return changing(environ, start_response)

        return refuse

    return refusing


def _answering(app: App, change: Callable[[dict[str, Any]], dict[str, Any]], headers: dict[str, str]) -> App:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = Request(environ).get_response(app)
        if response.content_type == "application/json":
            response.body = json.dumps(_everywhere(change, response.json)).encode()
        response.headers.pop(records.PROTOCOL_HEADER, None)
        response.headers.update(headers)
        return response(environ, start_response)

    return answer


def _everywhere(change: Callable[[dict[str, Any]], dict[str, Any]], value: Any) -> Any:
    """Change all objects but properties, whose keys belong to users."""
    if isinstance(value, list):
        return [_everywhere(change, item) for item in value]
    if not isinstance(value, dict):
        return value
    return change({key: item if key == "properties" else _everywhere(change, item) for key, item in value.items()})
