# SPDX-License-Identifier: Apache-2.0
"""The classic API in process: the real application over a real registry and a real file store."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from webob import Request, Response

from glance.config import ApiConfig
from glance.core.context import Context
from glance.core.inline import INLINE
from glance.registry.db.engine import connect
from glance.registry.db.migrate import prepare
from glance.registry.db.sql import SqlRegistry
from glance.server import build
from glance.wsgi.identify import CONTEXT_KEY
from tests.servers.web import Web, web_server

OCTETS = {"Content-Type": "application/octet-stream"}


class Api:
    """Sends requests to the application, through wsgiref's validator."""

    def __init__(self, registry: SqlRegistry, datadir: Path, **options: Any) -> None:
        self.registry = registry
        self.datadir = datadir
        config = ApiConfig(filesystem_store_datadir=str(datadir), http_store_allowed_hosts="127.0.0.1", **options)
        self.app = build(config, registry=registry)

    def __call__(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | io.BytesIO | None = None,
        *,
        chunked: bool = False,
        length: int | None = None,
        ctx: Context | None = None,
    ) -> Response:
        """`length` announces another length than the body has; `chunked` announces none. `ctx` is who asks, as a
        filter in front of the application tells; None: there is no filter."""
        request = Request.blank(
            path, method=method, headers={**(OCTETS if body is not None else {}), **(headers or {})}
        )
        if ctx is not None:
            request.environ[CONTEXT_KEY] = ctx
        if body is not None:
            stream = io.BytesIO(body) if isinstance(body, bytes) else body
            request.environ["wsgi.input"] = stream
            if chunked:
                request.environ["HTTP_TRANSFER_ENCODING"] = "chunked"
                request.environ["wsgi.input_terminated"] = True
                request.environ.pop("CONTENT_LENGTH", None)
            else:
                request.environ["CONTENT_LENGTH"] = str(len(stream.getvalue()) if length is None else length)
        response = request.get_response(validator(self.app))
        assert isinstance(response.body, bytes)  # read to its end, and closed
        return response

    def add(self, body: bytes | None = None, **fields: str) -> dict:
        """A new image; its record."""
        fields = {"type": "raw", "name": "image", "is_public": "true", **fields}
        headers = {f"x-image-meta-{name}": value for name, value in fields.items()}
        response = self("POST", "/images", headers, body)
        assert response.status_int == 200, response.text
        return response.json["image"]

    def record(self, number: int) -> dict[str, str]:
        """An image's metadata as HEAD tells it."""
        response = self("HEAD", f"/images/{number}")
        assert response.status_int == 200
        prefix = "x-image-meta-"
        return {name.lower().removeprefix(prefix): value for name, value in response.headers.items()}

    def recover(self) -> None:
        """Do what is done in the background, now, and wait for it."""
        before = set(threading.enumerate())
        self.app.recovery.look(INLINE)
        end = time.monotonic() + 10
        while set(threading.enumerate()) - before and time.monotonic() < end:
            time.sleep(0.001)

    def stored(self) -> list[str]:
        """The names of all files below the store's directory."""
        return sorted(path.name for path in self.datadir.rglob("*") if path.is_file())


@pytest.fixture
def web() -> Iterator[Web]:
    """A server of third parties' images."""
    with web_server() as server:
        yield server


@pytest.fixture
def make_api(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Makes an Api with these options."""
    engine = connect(f"sqlite:///{tmp_path}/glance.sqlite")
    prepare(engine)
    yield lambda **options: Api(SqlRegistry(engine), tmp_path / "images", **options)
    engine.dispose()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()
