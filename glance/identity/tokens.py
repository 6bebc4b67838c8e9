# SPDX-License-Identifier: Apache-2.0
"""Users of a file of our own: HTTP Basic with name and password, or X-Auth-Token with a token.

[filter:tokens]
paste.filter_factory = glance.identity.tokens:filter_factory
users_file = /etc/glance/users.json
"""

import base64
import binascii
import functools
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from webob import Request

from glance.core.context import Context
from glance.core.errors import IdentityUnavailable, Invalid, NotAuthenticated
from glance.core.paths import expand_path
from glance.core.values import whole_number
from glance.identity import guard, users
from glance.identity.logins import BURST, PER_MINUTE, FailureLimit, PasswordLogins
from glance.identity.users import User, Users
from glance.wsgi.body import threads_of
from glance.wsgi.endpoint import get_client_address
from glance.wsgi.identify import check_single

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)

OPTIONS = ("users_file", "admin_role", "failed_logins_burst", "failed_logins_per_minute")
REMEMBERED = 300.0  # seconds for which a password that was checked need not be checked again
MOST_REMEMBERED = 10_000
LOOK = 1.0  # seconds between two looks at the file
GRACE = 60.0  # seconds for which the users of a file that has become unreadable stay valid
REFUSED = "give the name and password of a user (HTTP Basic), or a token in X-Auth-Token"


@guard.identity_filter
def filter_factory(global_conf: dict[str, str], **local_conf: str) -> "Callable[[WSGIApplication], WSGIApplication]":
    """Raises Invalid for options and files that cannot be used."""
    guard.check_options("tokens", local_conf, OPTIONS)
    guard.check_key("tokens", global_conf)
    if not local_conf.get("users_file"):
        raise Invalid("the filter tokens needs a users_file: glance-manage user add makes one")
    try:
        path = Path(expand_path(local_conf["users_file"]))
    except ValueError as error:
        raise Invalid(f"users_file: {error}") from None
    limit = FailureLimit(
        whole_number("failed_logins_burst", local_conf.get("failed_logins_burst", BURST), least=1, most=10**6),
        whole_number("failed_logins_per_minute", local_conf.get("failed_logins_per_minute", PER_MINUTE), most=10**6),
    )
    file = UsersFile(path)
    tokens = Tokens(file, local_conf.get("admin_role", guard.ADMIN_ROLE), PasswordLogins(limit))

    def add_filter(app: "WSGIApplication") -> "WSGIApplication":
        guard.add_check(app, "users", lambda threads: file.check())
        return guard.guarded(app, tokens, challenge='Basic realm="glance", charset="UTF-8"')

    return add_filter


class Tokens:
    """Called with a request, returns its Context."""

    def __init__(self, file: "UsersFile", admin_role: str, logins: PasswordLogins) -> None:
        self._admin_role = admin_role
        self._file = file
        self._logins = logins
        self._key = secrets.token_bytes(32)  # of this process, so that what is remembered is of no use elsewhere
        self._known: dict[bytes, tuple[User, float]] = {}

    def __call__(self, request: Request) -> Context:
        """Raises NotAuthenticated, TooManyAttempts, IdentityUnavailable, Invalid."""
        check_single(request.environ, "X-Auth-Token")
        found = self._file.read()
        token = request.headers.get("X-Auth-Token")
        user = self._with_password(request, found) if token is None else found.with_token(token)
        if user is None:
            raise NotAuthenticated(f"the token, or the name and password, are not valid: {REFUSED}")
        return guard.context(
            request, user=user.name, tenant=user.tenant, roles=user.roles, admin_role=self._admin_role
        )

    def _with_password(self, request: Request, found: Users) -> User | None:
        name, password = _basic(request.headers.get("Authorization", ""))
        user = found.by_name.get(name)
        mark = hmac.digest(self._key, f"{len(name)} {name} {password}".encode("utf-8", "surrogateescape"), "sha256")
        known = self._known.get(mark)
        if known is not None and known[0] == user and known[1] > time.monotonic():
            return user
        address = get_client_address(request.environ)
        matches = self._logins.check(
            mark, name, address, threads_of(request), functools.partial(users.verify, user, password)
        )
        if user is None or not matches:
            return None
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[mark] = (user, time.monotonic() + REMEMBERED)
        return user


class UsersFile:
    """The file of users, read again when it has changed.

    If it cannot be read any more, its last users stay valid for GRACE seconds after it was last seen in order.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises Invalid if the file cannot be used."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._version = self._look()
        self._users = users.load(path)
        self._next_look = clock() + LOOK
        self._valid_until = clock() + GRACE
        self._failure = ""  # why it cannot be read; empty if it can

    def read(self) -> Users:
        """Return the users. Raises IdentityUnavailable if the file could last be read GRACE seconds ago."""
        with self._lock:
            now = self._clock()
            if now >= self._next_look:
                self._next_look = now + LOOK
                version = self._look()
                if version != self._version or self._failure:
                    self._version = version
                    self._renew()
                if not self._failure:
                    self._valid_until = now + GRACE
            if self._failure and now >= self._valid_until:
                raise _unavailable()
            return self._users

    def check(self) -> None:
        """Raises IdentityUnavailable if the file cannot be read now."""
        self.read()
        if self._failure:
            raise _unavailable()

    def _renew(self) -> None:
        try:
            self._users = users.load(self._path)
        except Invalid as error:
            if str(error) != self._failure:
                self._failure = str(error)
                LOG.error("%s: all requests are refused %d s after the file could last be read", error, GRACE)
        else:
            self._failure = ""
            LOG.info("read the users again")

    def _look(self) -> tuple[int, ...] | None:
        """Return what changes when the file does: its content, its owner, its mode, or the file itself."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_mode


def _unavailable() -> IdentityUnavailable:
    return IdentityUnavailable("the server cannot read its users; its log says why")


def _basic(header: str) -> tuple[str, str]:
    """Name and password (RFC 7617). Raises NotAuthenticated."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise NotAuthenticated(f"authentication required: {REFUSED}")
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeError):
        colon = ""
    if not colon:
        raise NotAuthenticated(f"the header Authorization cannot be read: {REFUSED}")
    return name, password
