# SPDX-License-Identifier: Apache-2.0
"""The classic API in process: the real application over a real registry and a real file store."""

import io
from collections.abc import Iterator
from pathlib import Path
from wsgiref.validate import validator

import pytest
from webob import Request, Response

from glance.config import ApiConfig
from glance.registry.db.engine import connect
from glance.registry.db.migrate import prepare
from glance.registry.db.sql import SqlRegistry
from glance.server import build
from tests.servers.web import Web, web_server

OCTETS = {"Content-Type": "application/octet-stream"}


class Api:
    """Sends requests to the application, through wsgiref's validator."""

    def __init__(self, registry: SqlRegistry, datadir: Path) -> None:
        self.registry = registry
        self.datadir = datadir
        config = ApiConfig(filesystem_store_datadir=str(datadir), http_store_allowed_hosts="127.0.0.1")
        self.app = build(config, registry=registry)

    def __call__(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        chunked: bool = False,
        length: int | None = None,
    ) -> Response:
        """`length` announces another length than the body has; `chunked` announces none."""
        request = Request.blank(
            path, method=method, headers={**(OCTETS if body is not None else {}), **(headers or {})}
        )
        if body is not None:
            request.environ["wsgi.input"] = io.BytesIO(body)
            if chunked:
                request.environ["HTTP_TRANSFER_ENCODING"] = "chunked"
                request.environ["wsgi.input_terminated"] = True
                request.environ.pop("CONTENT_LENGTH", None)
            else:
                request.environ["CONTENT_LENGTH"] = str(len(body) if length is None else length)
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

    def stored(self) -> list[str]:
        """The names of all files below the store's directory."""
        return sorted(path.name for path in self.datadir.rglob("*") if path.is_file())


@pytest.fixture
def web() -> Iterator[Web]:
    """A server of third parties' images."""
    with web_server() as server:
        yield server


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    engine = connect(f"sqlite:///{tmp_path}/glance.sqlite")
    prepare(engine)
    yield Api(SqlRegistry(engine), tmp_path / "images")
    engine.dispose()
