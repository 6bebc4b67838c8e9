# SPDX-License-Identifier: Apache-2.0
import logging

import pytest
from webob import Request, Response

from glance.core import errors
from glance.wsgi.faults import Faults


def answer(error: BaseException, **headers: str) -> Response:
    def app(environ, start_response):
        raise error

    return Request.blank("/images/7", headers=headers).get_response(Faults(app))


def test_what_works_is_left_alone():
    response = Request.blank("/").get_response(Faults(Response("fine")))
    assert (response.status_int, response.text) == (200, "fine")


@pytest.mark.parametrize(("error", "status", "reason"), [
    (errors.Invalid("text"), 400, "invalid"), (errors.NotActive("text"), 404, "not-active"), (errors.WrongState("text"), 409, "wrong-state"),
    (errors.StoreFull("text"), 413, "store-full"), (errors.StoreDown("text"), 503, "store-down"), (errors.GlanceError("text"), 500, "error"),
])  # fmt: skip
def test_an_error_of_the_family(error, status, reason):
    response = answer(error)
    assert (response.status_int, response.headers["X-Glance-Reason"]) == (status, reason)
    assert response.text == f"{response.status}\n\ntext\n"
    assert response.content_type == "text/plain"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("kind", [errors.StoreDown, errors.RegistryDown])
def test_503_says_when_to_come_back(kind):
    assert int(answer(kind("text")).headers["Retry-After"]) > 0


def test_other_errors_do_not_ask_to_come_back():
    assert "Retry-After" not in answer(errors.Invalid("text")).headers


def test_416_says_how_much_there_is():
    assert answer(errors.RangeNotSatisfiable("text", 7)).headers["Content-Range"] == "bytes */7"


def test_500_hides_its_cause_from_the_client_and_not_from_the_log(caplog):
    with caplog.at_level(logging.ERROR):
        response = answer(RuntimeError("secret: /var/lib/glance"))
    assert response.status_int == 500
    for word in ("secret", "/var/lib", "RuntimeError", "Traceback", ".py"):
        assert word not in response.text
        assert word not in str(response.headers)
    assert "secret" in caplog.text
    assert "Traceback" in caplog.text


def test_a_log_line_stays_one_line(caplog):
    request = Request.blank("/")
    request.environ["PATH_INFO"] = "/\n2011 forged"

    def app(environ, start_response):
        raise RuntimeError

    assert request.get_response(Faults(app)).status_int == 500
    assert "\n2011 forged" not in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_what_ends_the_process_is_let_through(error):
    with pytest.raises(type(error)):
        answer(error)


@pytest.mark.parametrize("accept", ["text/html", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"])
def test_html_is_for_browsers_and_escaped(accept):
    response = answer(errors.NotFound("<script>alert('1')</script> & \""), Accept=accept)
    assert response.content_type == "text/html"
    assert "<h1>404 Not Found</h1>" in response.text
    assert "&lt;script&gt;" in response.text
    assert "<script" not in response.text
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("accept", [None, "", "*/*", "text/*", "application/json", "application/octet-stream"])
def test_plain_text_is_for_everybody_else(accept):
    response = answer(errors.NotFound("<b>漢字"), **({} if accept is None else {"Accept": accept}))
    assert response.content_type == "text/plain"
    assert response.charset == "UTF-8"
    assert "<b>漢字" in response.text
