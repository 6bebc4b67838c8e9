# SPDX-License-Identifier: Apache-2.0
"""tests/dialects.py in process."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest
from webob import Request

from glance.core.context import Context
from glance.core.inline import Inline
from glance.wsgi.body import THREADS_KEY
from glance.wsgi.identify import CONTEXT_KEY
from tests.api.conftest import Api
from tests.dialects import PAIRS, SCENARIOS, Answer, Dialect

P = ParamSpec("P")
R = TypeVar("R")


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda dialect: dialect.__name__)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_one_writes_another_reads(
    api: Api, scenario: Callable[[Dialect, Dialect, str], None], one: type[Dialect], other: type[Dialect]
) -> None:
    def ask(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        response = api(method, path, headers, body)
        return Answer(response.status_int, response.headers, response.body)

    scenario(one(ask), other(ask), "image")


@pytest.mark.parametrize("path", ["/images/1", "/v1/images/{id}"])
def test_a_file_is_removed_where_that_holds_up_nobody(api: Api, path: str) -> None:
    """To unlink a large file takes seconds, in which a green server would answer nobody."""
    image = api.add(b"bytes")
    done: list[tuple[list[str], list[str]]] = []

    class Recording(Inline):
        def call(self, work: Callable[P, R], /, *args: P.args, **named: P.kwargs) -> R:
            before = api.stored()
            result = super().call(work, *args, **named)
            done.append((before, api.stored()))
            return result

    uuid = api.registry.get(Context(is_admin=True), str(image["id"])).id
    request = Request.blank(path.format(id=uuid), method="DELETE", environ={THREADS_KEY: Recording()})
    request.environ[CONTEXT_KEY] = Context(is_admin=True)
    assert request.get_response(api.app).status_int == 200
    assert done == [(["1"], [])]
