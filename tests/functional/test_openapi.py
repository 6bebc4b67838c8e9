# SPDX-License-Identifier: Apache-2.0
"""docs/openapi*.yaml against real daemons: requests right and wrong, made of the description by schemathesis.

No answer is a 5xx, none has a status or a type that the description does not name, and all bodies and headers are as it
says. The other way round, every route that a daemon has stands in its description. The requests are the same in every
run; others, and as many as one likes: OPENAPI_EXAMPLES=1000 pytest tests/functional/test_openapi.py
"""

import inspect
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from glance.api import classic, v1
from glance.api.v1.images import Paging
from glance.core.service import ImageService
from glance.registry.classic import Images
from glance.store import StoreSet
from glance.wsgi.health import LIVE, READY
from tests.fakes.registry import MemoryRegistry
from tests.functional.daemons import Installation
from tests.functional.test_identity import tokens
from tests.servers.web import Web, web_server

pytestmark = pytest.mark.functional

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "0"))  # for each operation and mode; 0: few, and always the same
FORM = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
SCHEMAS = {
    "api": schemathesis.openapi.from_path(DOCS / "openapi.yaml"),
    "registry": schemathesis.openapi.from_path(DOCS / "openapi-registry.yaml"),
}
OPERATIONS = {
    f"{daemon} {result.ok().label}": result.ok()
    for daemon, schema in SCHEMAS.items()
    for result in schema.get_all_operations()
}
ACCEPTED = ("*/*", "*/*", "*/*", "application/json", "text/html", "application/vnd.openstack.images-v9")
JSON = "application/json"
ELSEWHERE = {"x-image-meta-location", "x-glance-api-copy-from"}  # headers that name URLs
RAW = {"x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare", "x-image-meta-is_public": "True"}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


@pytest.fixture(scope="module")
def running(running: Installation) -> Installation:
    running.configure(api="http_store_allowed_hosts = 127.0.0.1")
    assert running.control("api", "restart").returncode == 0
    return running


def url_of(installation: Installation, name: str) -> str:
    return f"http://127.0.0.1:{installation.api_port if name.startswith('api') else installation.registry_port}"


def image(installation: Installation, kind: str) -> dict[str, object]:
    """A new image, queued or active, by the names that its path parameters have."""
    api = f"http://127.0.0.1:{installation.api_port}"
    headers = RAW if kind == "queued" else RAW | {"Content-Type": "application/octet-stream"}
    made = requests.post(f"{api}/v1/images", headers=headers, data=None if kind == "queued" else b"bytes", timeout=30)
    number = requests.get(f"{api}/images", timeout=30).json()["images"][-1]["id"]
    return {"image_id": made.json()["image"]["id"], "number": number, "member": "tenant-a"}


def aim(case: Case, installation: Installation, web: Web, data: st.DataObject) -> None:
    """Have the request meet an image, and be right, more often than chance would; and reach no server but ours."""
    kind = data.draw(st.sampled_from(["as it is", "queued", "active"]))
    if case.path_parameters and kind != "as it is":
        real = image(installation, kind)
        case.path_parameters.update({name: real[name] for name in case.path_parameters})
    for values in (case.headers, case.query):  # of many optional parameters one is nearly always wrong
        if values and data.draw(st.booleans()):
            kept = data.draw(st.sets(st.sampled_from(sorted(values)), max_size=3)) | {"x-image-meta-type"}
            for name in values.keys() - kept:
                del values[name]
    places = [web.url("ranged"), web.url("nothing"), "file:///etc/passwd", "http://169.254.169.254/"]
    for name in sorted(ELSEWHERE & case.headers.keys()):
        case.headers[name] = data.draw(st.sampled_from(places))
    case.headers["Accept"] = data.draw(st.sampled_from(ACCEPTED))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_one_of_those_described(running: Installation, web: Web, name: str) -> None:
    operation = OPERATIONS[name]
    url = url_of(running, name)

    @settings(
        max_examples=EXAMPLES or 20,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode]), st.data())
    def check(case: Case, data: st.DataObject) -> None:
        aim(case, running, web, data)
        response = case.call(base_url=url, allow_redirects=False)
        case.validate_response(response, checks=[not_a_server_error, *FORM])

    check()


def ask(installation: Installation, name: str) -> int:
    """The status that answers a request with which nothing is wrong, once it has the form that is described."""
    operation = OPERATIONS[name]
    parameters = {"number": 1, "image_id": str(uuid.uuid4()), "member": "tenant-a"}
    body = {"memberships": [], "member": {}, "image": {"type": "raw"}}  # fits wherever JSON is taken
    case = operation.Case(
        path_parameters={item.name: parameters[item.name] for item in operation.path_parameters},
        headers={"x-image-meta-type": "raw"} if name == "api POST /images" else {},
        **({"body": body, "media_type": JSON} if JSON in operation.get_request_payload_content_types() else {}),
    )
    response = case.call(base_url=url_of(installation, name), allow_redirects=False)
    case.validate_response(response, checks=FORM)
    return response.status_code


def test_a_registry_that_is_away_is_told_as_described(installation: Installation) -> None:
    installation.start()
    installation.control("registry", "stop")
    answers = {name: ask(installation, name) for name in OPERATIONS if name.startswith("api")}
    alive = {"api GET /versions", "api GET /healthcheck", "api HEAD /healthcheck", "api GET /v1"}
    assert {name for name, status in answers.items() if status != 503} == alive


def test_who_is_not_known_is_told_as_described(installation: Installation) -> None:
    """By glance-api, and by a registry that is not sent its key."""
    tokens(installation)
    installation.start()
    answers = {name: ask(installation, name) for name in OPERATIONS}
    known = {name for name, operation in OPERATIONS.items() if operation.definition.raw.get("security") == [{}]}
    assert {name for name, status in answers.items() if status != 401} == known


@pytest.mark.parametrize("daemon", SCHEMAS)
def test_the_description_is_one(daemon: str) -> None:
    SCHEMAS[daemon].validate()


def test_every_route_is_described_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: dict[str, list[tuple[str, str, object]]] = {"": [], "/v1": []}
    monkeypatch.setattr(classic, "Router", tables[""].extend)
    monkeypatch.setattr(v1, "Router", tables["/v1"].extend)
    service = ImageService(MemoryRegistry(), StoreSet("memory", {}))
    classic.router(service)
    v1.application(service, Paging())
    health = {(method, path) for method in ("GET", "HEAD") for path in (LIVE, READY)}
    routes = {
        (method, prefix + path)
        for prefix, table in tables.items()
        for method, path, handler in table
        if inspect.ismethod(handler)  # the others answer 405
    }
    assert described("api") == routes | health | {("GET", "/versions"), ("GET", "/v1")}
    assert described("registry") == health | {(method, path) for method, path, _ in Images(MemoryRegistry()).routes()}


def described(daemon: str) -> set[tuple[str, str]]:
    return {
        (operation.method.upper(), operation.path)
        for name, operation in OPERATIONS.items()
        if name.startswith(daemon)
    }
