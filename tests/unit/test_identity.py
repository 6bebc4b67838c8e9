# SPDX-License-Identifier: Apache-2.0
"""The identity filters in process: which requests get a Context, and what the others are told."""

from collections.abc import Callable
from pathlib import Path

import pytest
from webob import Request, Response

from glance.core.context import Context
from glance.core.errors import Invalid, NotAuthenticated
from glance.identity import keystone, proxy, tokens, users
from glance.identity.users import User
from glance.wire.identity import KEY_HEADER, SINGLE_HEADERS, headers_for
from glance.wsgi.identify import SINGLE_HEADERS_KEY, Identify, KeyHolders, RequestId, anybody, context_of

KEY = {"registry_key": "key"}
CONFIRMED = {"X-Identity-Status": "Confirmed", "X-User-Id": "alice", "X-Project-Id": "a", "X-Roles": "member"}

Ask = Callable[..., Response]


def application(environ, start_response):
    """Answers with the Context of the request."""
    ctx = context_of(Request(environ))
    return Response(json_body=[ctx.user, ctx.tenant, sorted(ctx.roles), ctx.is_admin])(environ, start_response)


INNER = Identify(application, anybody)


@pytest.fixture(params=["proxy", "keystone"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Sends headers through the filter, from its trusted source."""
    if request.param == "proxy":
        app, environ = proxy.filter_factory(KEY, addresses="10.0.0.1")(INNER), {"REMOTE_ADDR": "10.0.0.1"}
    else:
        app, environ = keystone.filter_factory(KEY)(INNER), {"keystone.token_auth": object()}
    environ[SINGLE_HEADERS_KEY] = True

    def ask(**headers: str | None) -> Response:
        given = {**CONFIRMED, **{name.replace("_", "-"): value for name, value in headers.items()}}
        left = {name: value for name, value in given.items() if value is not None}
        return Request.blank("/", headers=left, environ=environ).get_response(app)

    return ask


def test_a_confirmed_caller(ask: Ask) -> None:
    assert ask().json == ["alice", "a", ["member"], False]
    assert ask(X_Roles="member, admin,,").json == ["alice", "a", ["admin", "member"], True]
    assert ask(X_Project_Id=None, X_Tenant_Id="t", X_User_Id=None, X_Roles=None).json == [None, "t", [], False]


@pytest.mark.parametrize("status", [None, "", "Invalid", "confirmed", "Confirmed,Confirmed"])
def test_an_identity_that_is_not_confirmed_is_none(ask: Ask, status: str | None) -> None:
    assert ask(X_Identity_Status=status, X_Roles="admin").status_int == 401


@pytest.mark.parametrize("project", [None, ""])
def test_a_caller_without_a_project_is_refused(ask: Ask, project: str | None) -> None:
    answer = ask(X_Project_Id=project, X_Roles="admin")
    assert (answer.status_int, "has no project" in answer.text) == (401, True)


@pytest.mark.parametrize("roles", ["Admin", "administrator", "not-admin", "ad min", "admin;", "member,adm in"])
def test_only_the_role_itself_makes_an_admin(ask: Ask, roles: str) -> None:
    assert ask(X_Roles=roles).json[3] is False


@pytest.mark.parametrize("header", ["X_User_Id", "X_Project_Id", "X_Roles"])
def test_names_with_control_characters_are_refused(ask: Ask, header: str) -> None:
    assert ask(**{header: "a\tb"}).status_int == 401


@pytest.mark.parametrize(("addresses", "remote", "trusted"), [
    ("10.0.0.0/8", "10.1.2.3", True), ("10.0.0.0/8", "11.0.0.1", False), ("10.0.0.1", "10.0.0.1", True), ("10.0.0.1", "10.0.0.10", False),
    ("10.0.0.1", "::ffff:10.0.0.1", True), ("10.0.0.1", "::ffff:10.0.0.2", False), ("fd00::/8", "fd00::1", True), ("::1, 10.0.0.1", "10.0.0.1", True),
    ("10.0.0.1", "", False), ("10.0.0.1", "unix:", False), ("10.0.0.1", "10.0.0.1, 10.0.0.1", False), ("0.0.0.0/0", "fe80::1", False),
])  # fmt: skip
def test_the_proxy_is_trusted_at_its_addresses(addresses: str, remote: str, trusted: bool) -> None:
    app = proxy.filter_factory(KEY, addresses=addresses)(INNER)
    answer = Request.blank("/", headers=CONFIRMED, environ={"REMOTE_ADDR": remote}).get_response(app)
    assert answer.status_int == (200 if trusted else 401)


def test_keystone_needs_a_checked_token() -> None:
    answer = Request.blank("/", headers=CONFIRMED).get_response(keystone.filter_factory(KEY)(INNER))
    assert (answer.status_int, "authtoken must stand before" in answer.text) == (401, True)


@pytest.mark.parametrize(("make", "options", "told"), [
    (proxy.filter_factory, {}, "needs addresses"), (proxy.filter_factory, {"addresses": " , "}, "needs addresses"),
    (proxy.filter_factory, {"addresses": "10.0.0.1/8"}, "not an address or a network"), (proxy.filter_factory, {"adresses": "x"}, "did you mean addresses"),
    (proxy.filter_factory, {"addresses": "10.0.0.1", "roles_separator": ""}, "roles_separator must be one character"),
    (proxy.filter_factory, {"addresses": "10.0.0.1", "roles_separator": "x"}, "roles_separator must be one character"),
    (keystone.filter_factory, {"admin": "x"}, "did you mean admin_role"), (tokens.filter_factory, {}, "needs a users_file"),
])  # fmt: skip
def test_options_that_cannot_be_used(make: Callable[..., object], options: dict[str, str], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        make(KEY, **options)


@pytest.mark.parametrize("make", [proxy.filter_factory, keystone.filter_factory, tokens.filter_factory])
@pytest.mark.parametrize("global_conf", [{}, {"registry_key": " "}])
def test_a_filter_needs_the_registry_key(make: Callable[..., object], global_conf: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="set registry_key"):
        make(global_conf)


# Other servers join repeated headers


@pytest.mark.parametrize("name", ["X-Identity-Status", "X-User-Id", "X-Project-Id", "X-Tenant-Id", "X-Roles"])
def test_a_comma_is_refused_where_headers_may_be_joined(name: str) -> None:
    headers = {**CONFIRMED, "X-Tenant-Id": "a", name: f"{CONFIRMED.get(name, 'a')},b"}
    app = proxy.filter_factory(KEY, addresses="10.0.0.1")(INNER)
    answer = Request.blank("/", headers=headers, environ={"REMOTE_ADDR": "10.0.0.1"}).get_response(app)
    assert answer.status_int == 400


def test_a_joined_token_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    user, token = users.with_new_token(User(name="alice", tenant="a"))
    users.update(path, lambda known: known.added(user), create=True)
    app = tokens.filter_factory(KEY, users_file=str(path))(INNER)
    assert Request.blank("/", headers={"X-Auth-Token": token}).get_response(app).json == ["alice", "a", [], False]
    assert Request.blank("/", headers={"X-Auth-Token": f"{token},{token}"}).get_response(app).status_int == 400


# The registry


@pytest.fixture
def context() -> Callable[..., Context]:
    """The Context that a registry with a key makes of headers."""
    found: list[Context] = []

    def inner(environ, start_response):
        found.append(context_of(Request(environ)))
        return []

    app = RequestId(Identify(inner, KeyHolders("key")))

    def context(headers: dict[str, str]) -> Context:
        app(Request.blank("/", headers=headers).environ, lambda *_: None)
        return found.pop()

    return context


@pytest.mark.parametrize("ctx", [
    Context(user="ünï, 漢", tenant="a,b/%2C", roles=frozenset({"x,y", "z"}), is_admin=True), Context(tenant="a"), Context(is_admin=True),
])  # fmt: skip
def test_a_context_crosses_whole(context: Callable[..., Context], ctx: Context) -> None:
    assert context({**headers_for(ctx), KEY_HEADER: "key"}) == ctx


@pytest.mark.parametrize("key", [None, "", "ke", "keys", "KEY", "key,key", "k\xe9y"])
def test_another_key_is_refused(context: Callable[..., Context], key: str | None) -> None:
    with pytest.raises(NotAuthenticated):
        context({} if key is None else {KEY_HEADER: key})


@pytest.mark.parametrize("name", SINGLE_HEADERS)
def test_the_registry_refuses_joined_headers(context: Callable[..., Context], name: str) -> None:
    headers = headers_for(Context(user="u", tenant="a"))
    with pytest.raises(Invalid, match=name):
        context({**headers, KEY_HEADER: "key", name: f"{headers[name]},b"})


@pytest.mark.parametrize("name", ["X-User-Id", "X-Tenant-Id", "X-Roles"])
def test_what_is_not_utf_8_is_not_replaced(context: Callable[..., Context], name: str) -> None:
    with pytest.raises(Invalid, match=name):
        context({KEY_HEADER: "key", name: "%ff"})


@pytest.mark.parametrize("admin", [None, "", "true", "1", "False", "True ,"])
def test_only_one_word_makes_an_admin(context: Callable[..., Context], admin: str | None) -> None:
    headers = {KEY_HEADER: "key", **({} if admin is None else {"X-Glance-Admin": admin})}
    if admin and "," in admin:
        with pytest.raises(Invalid):
            context(headers)
    else:
        assert context(headers).is_admin is False


def test_without_a_key_nothing_is_believed() -> None:
    open_to_all = KeyHolders("")
    app = RequestId(Identify(lambda environ, start_response: [context_of(Request(environ))], open_to_all))
    (ctx,) = app(Request.blank("/", headers={"X-Tenant-Id": "a", "X-Glance-Admin": "False"}).environ, None)
    assert (ctx.tenant, ctx.is_admin) == (None, True)
    with pytest.raises(NotAuthenticated, match="no registry_key"):
        app(Request.blank("/", headers={KEY_HEADER: "key"}).environ, None)
