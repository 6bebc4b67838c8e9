# SPDX-License-Identifier: Apache-2.0
import warnings

import pytest
from webob import Request, Response

from glance.core.errors import Invalid, NotFound
from glance.wsgi.router import Router


def handler(name: str):
    return lambda request, **params: Response(json=[name, params])


ROUTES = [
    ("GET", "/", handler("root")),
    ("GET", "/images/detail/", handler("detail")),
    ("GET", "/images/{number}", handler("show")),
    ("PUT", "/images/{number}", handler("update")),
    ("PUT", "/images/{number}/members", handler("members")),
    ("GET", "/images/{number}/members/{member}", handler("member")),
]


def ask(method: str, path: str) -> list:
    request = Request.blank("/", method=method)
    request.environ["PATH_INFO"] = path
    return request.get_response(Router(ROUTES)).json


@pytest.mark.parametrize(("method", "path", "answer"), [
    ("GET", "", ["root", {}]), ("GET", "/", ["root", {}]), ("GET", "/images/detail/", ["detail", {}]),
    ("GET", "//", ["root", {}]), ("GET", "//images/7", ["show", {"number": "7"}]),
    ("GET", "/images/detail", ["detail", {}]), ("GET", "/images/7", ["show", {"number": "7"}]),
    ("PUT", "/images/7/members", ["members", {"number": "7"}]),
    ("GET", "/images/1/members/b", ["member", {"number": "1", "member": "b"}]),
    ("GET", "/images/..", ["show", {"number": ".."}]), ("GET", "/images/{number}", ["show", {"number": "{number}"}]),
    ("GET", "/images/%2e%2e", ["show", {"number": "%2e%2e"}]), ("GET", "/images/\xc3\xbc", ["show", {"number": "ü"}]),
])  # fmt: skip
def test_found(method, path, answer):
    assert ask(method, path) == answer


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/images"), ("GET", "/images//7"), ("GET", "/images/7/x"), ("GET", "/images/7/members"), ("GET", "/Images/7"),
    ("GET", "/images/7/"), ("PUT", "/images/7/members/"), ("GET", "/images/detail//"),
    ("GET", "images/7/"), ("GET", "/images/"), ("GET", "/images//members/b"), ("GET", "/images/7/members/b/"), ("OPTIONS", "*/"),
    ("PUT", "/images/detail"), ("OPTIONS", "/images/7/"), ("OPTIONS", "/images"), ("GET", "*"), ("HEAD", "/images/7/members"),
    ("POST", "/images/7"), ("get", "/images/7"), ("head", "/images/7"), ("DELETE", "/"), ("TRACE", "/images/7"), ("GET", "/images/7\0/x"),
])  # fmt: skip
def test_not_found(method, path):
    with pytest.raises(NotFound):
        ask(method, path)


@pytest.mark.parametrize("path", ["/images/\xff", "/images/\xed\xb2\x80", "/\xc3"], ids=ascii)
def test_a_path_that_is_not_utf_8(path):
    with pytest.raises(Invalid, match="UTF-8"):
        ask("GET", path)


@pytest.mark.parametrize("variable", ["REQUEST_URI", "RAW_URI"])
@pytest.mark.parametrize(
    "target", ["/images%2F7", "/images/7%2f", "/images/7%2fmembers/b", "/images/1/members%2Fb?x=%20"]
)
def test_an_encoded_slash_separates_nothing(variable: str, target: str) -> None:
    request = Request.blank(target)  # its PATH_INFO is decoded
    request.environ[variable] = target
    with pytest.raises(NotFound):
        request.get_response(Router(ROUTES))


def test_an_encoded_slash_in_a_query() -> None:
    request = Request.blank("/images/7?x=%2F")
    request.environ["REQUEST_URI"] = "/images/7?x=%2F"
    assert request.get_response(Router(ROUTES)).json == ["show", {"number": "7"}]


@pytest.mark.parametrize(("method", "path", "allowed"), [
    ("OPTIONS", "/", "GET, HEAD"), ("OPTIONS", "/images/detail", "GET, HEAD"), ("OPTIONS", "/images/detail/", "GET, HEAD"), ("OPTIONS", "/images/7", "GET, HEAD, PUT"),
    ("OPTIONS", "/images/7/members", "PUT"), ("OPTIONS", "*", "GET, HEAD, PUT"),
])  # fmt: skip
def test_options(method, path, allowed):
    request = Request.blank("/", method=method)
    request.environ["PATH_INFO"] = path
    response = request.get_response(Router(ROUTES))
    assert (response.status_int, response.headers["Allow"], response.body) == (204, allowed, b"")
    assert "Content-Type" not in response.headers


def test_head_is_get_without_the_body():
    get, head = (Request.blank("/images/7", method=method).get_response(Router(ROUTES)) for method in ("GET", "HEAD"))
    assert (head.status, head.headerlist, head.body) == (get.status, get.headerlist, b"")
    assert int(head.headers["Content-Length"]) == len(get.body)


def test_a_head_of_its_own_and_options_of_its_own_win():
    routes = [("GET", "/", handler("get")), ("HEAD", "/", lambda _: Response(headerlist=[("X-Own", "1")])), ("OPTIONS", "/", handler("options"))]  # fmt: skip
    assert Request.blank("/", method="HEAD").get_response(Router(routes)).headers["X-Own"] == "1"
    assert Request.blank("/", method="OPTIONS").get_response(Router(routes)).json == ["options", {}]


@pytest.mark.parametrize(("method", "path", "status", "allowed"), [
    ("POST", "/", 405, "GET, HEAD"), ("PUT", "/images/detail", 405, "GET, HEAD"), ("DELETE", "/images/7", 405, "GET, HEAD, PUT"),
    ("GET", "/images/7/members", 405, "PUT"), ("TRACE", "/images/7", 405, "GET, HEAD, PUT"), ("BREW", "/images/7", 501, None), ("get", "/images/7", 501, None),
])  # fmt: skip
def test_methods_may_be_refused(method, path, status, allowed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the validator's, about methods that HTTP does not know
        response = Request.blank(path, method=method).get_response(Router(ROUTES, refuse_methods=True))
    assert (response.status_int, response.headers.get("Allow")) == (status, allowed)


@pytest.mark.parametrize(("method", "path"), [("PUT", "/images/detail/"), ("DELETE", "/images/7/"), ("DELETE", "/x")])
def test_but_not_what_only_looks_like_a_resource(method, path):
    with pytest.raises(NotFound):
        Request.blank(path, method=method).get_response(Router(ROUTES, refuse_methods=True))


def test_the_method_is_the_methods_alone():
    request = Request.blank("/images/7", headers={"X-HTTP-Method-Override": "PUT"})
    assert request.get_response(Router(ROUTES)).json[0] == "show"
