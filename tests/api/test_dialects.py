# SPDX-License-Identifier: Apache-2.0
"""tests/dialects.py in process."""

from collections.abc import Callable

import pytest

from tests.api.conftest import Api
from tests.dialects import PAIRS, SCENARIOS, Answer, Dialect


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda dialect: dialect.__name__)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_one_writes_another_reads(
    api: Api, scenario: Callable[[Dialect, Dialect, str], None], one: type[Dialect], other: type[Dialect]
) -> None:
    def ask(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        response = api(method, path, headers, body)
        return Answer(response.status_int, response.headers, response.body)

    scenario(one(ask), other(ask), "image")
