# SPDX-License-Identifier: Apache-2.0
"""docs/openapi.yaml and docs/openapi-registry.yaml tell what the daemons do: schemathesis asks them whatever the pages allow,
and what they do not allow, and no answer may be one that is not told there. A 5xx never may."""

import re
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from glance.registry.classic import Images
from glance.registry.handlers import Records
from tests.fakes.registry import MemoryRegistry
from tests.functional.daemons import Installation

pytestmark = [pytest.mark.functional, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs"
API, REGISTRY = DOCS / "openapi.yaml", DOCS / "openapi-registry.yaml"
EXAMPLES = 20  # requests of each operation, with values that are allowed and values that are not
FORMATS = {"x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}

load_all_checks()
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
thoroughly = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
api = schemathesis.openapi.from_path(API)
registry = schemathesis.openapi.from_path(REGISTRY)


def test_every_route_of_the_registry_is_told() -> None:
    told = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, item in yaml.safe_load(REGISTRY.read_text())["paths"].items()
        for method in item.keys() - {"parameters"}
        if not path.startswith("/healthcheck")
    }
    routes = [*Images(MemoryRegistry()).routes(), *Records(MemoryRegistry()).routes()]
    assert told == {(method, re.sub(r"\{\w+\}", "{}", path.rstrip("/") or "/")) for method, path, _ in routes}


class There:
    """Images that are there, so that not all that is asked for is missing."""

    def __init__(self, installation: Installation) -> None:
        self.url = f"http://127.0.0.1:{installation.api_port}"
        self._names: dict[str, str] = {}
        self._turn = 0

    def put_into(self, case: Any) -> None:
        """Have every second request be for one of them."""
        self._turn += 1
        parameters = case.path_parameters
        if not parameters or self._turn % 2:
            return
        if requests.head(f"{self.url}/v1/images/{self._names.get('id')}", timeout=10).status_code != 200:
            octets = {**FORMATS, "Content-Type": "application/octet-stream", "x-image-meta-is_public": "true"}
            image = requests.post(f"{self.url}/v1/images", b"bytes", headers=octets, timeout=10).json()["image"]
            number = requests.get(f"{self.url}/images", timeout=10).json()["images"][-1]["id"]
            self._names = {"id": image["id"], "image": image["id"], "number": number}
        for name in self._names.keys() & parameters.keys():
            parameters[name] = self._names[name]


@pytest.fixture(scope="module")
def there(running: Installation) -> There:
    return There(running)


@api.parametrize()
@thoroughly
def test_glance_api_answers_as_it_is_told(case, running, there):
    there.put_into(case)
    case.call_and_validate(base_url=there.url, checks=CHECKS, timeout=30)


@registry.parametrize()
@thoroughly
def test_glance_registry_answers_as_it_is_told(case, running, there):
    there.put_into(case)
    case.call_and_validate(base_url=f"http://127.0.0.1:{running.registry_port}", checks=CHECKS, timeout=30)
