# SPDX-License-Identifier: Apache-2.0
"""tests/dialects.py over real daemons."""

import http.client
import uuid
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.dialects import PAIRS, SCENARIOS, Answer, Dialect
from tests.functional.daemons import Installation

pytestmark = pytest.mark.functional


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda dialect: dialect.__name__)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_one_writes_another_reads(
    running: Installation,
    scenario: Callable[[Dialect, Dialect, str], None],
    one: type[Dialect],
    other: type[Dialect],
) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", running.api_port, timeout=30)) as connection:

        def ask(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())

        scenario(one(ask), other(ask), str(uuid.uuid4()))
