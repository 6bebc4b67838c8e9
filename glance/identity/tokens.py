# SPDX-License-Identifier: Apache-2.0
"""Users of a file of our own: HTTP Basic with name and password, or X-Auth-Token with a token.

[filter:tokens]
paste.filter_factory = glance.identity.tokens:filter_factory
users_file = /etc/glance/users.json
"""

import base64
import binascii
import hmac
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from webob import Request

from glance.core.context import Context
from glance.core.errors import Invalid, NotAuthenticated
from glance.core.inline import INLINE
from glance.core.ports import Threads
from glance.identity import guard, users
from glance.identity.users import User, Users
from glance.wsgi.body import THREADS_KEY

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)

OPTIONS = ("users_file", "admin_role")
REMEMBERED = 300.0  # seconds for which a password that was checked need not be checked again
MOST_REMEMBERED = 10_000
LOOK = 1.0  # seconds between two looks whether the file has changed
REFUSED = "give the name and password of a user (HTTP Basic), or a token in X-Auth-Token"


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> "Callable[[WSGIApplication], WSGIApplication]":
    """Raises Invalid for options and files that cannot be used."""
    guard.check_options("tokens", local_conf, OPTIONS)
    guard.check_key("tokens", global_conf)
    if not local_conf.get("users_file"):
        raise Invalid("the filter tokens needs a users_file: glance-manage user add makes one")
    tokens = Tokens(Path(local_conf["users_file"]).expanduser(), local_conf.get("admin_role", guard.ADMIN_ROLE))
    return lambda app: guard.guarded(app, tokens, challenge='Basic realm="glance", charset="UTF-8"')


class Tokens:
    """Called with a request, tells whose it is."""

    def __init__(self, path: Path, admin_role: str) -> None:
        self._admin_role = admin_role
        self._file = _File(path)
        self._key = secrets.token_bytes(32)  # of this process, so that what is remembered is of no use elsewhere
        self._known: dict[bytes, tuple[User, float]] = {}

    def __call__(self, request: Request) -> Context:
        """Raises NotAuthenticated."""
        found = self._file.users()
        token = request.headers.get("X-Auth-Token")
        user = self._with_password(request, found) if token is None else found.with_token(token)
        if user is None:
            raise NotAuthenticated(f"who asks is not known: {REFUSED}")
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
        threads = cast(Threads, request.environ.get(THREADS_KEY, INLINE))
        if not threads.call(users.verify, user, password):
            return None
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        assert user is not None
        self._known[mark] = (user, time.monotonic() + REMEMBERED)
        return user


class _File:
    """The file of users, read again when it has changed. One that cannot be read leaves those that were known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version = self._look()
        self._users = users.load(path)
        self._next_look = time.monotonic() + LOOK

    def users(self) -> Users:
        with self._lock:
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + LOOK
                version = self._look()
                if version != self._version:
                    self._version = version
                    self._renew()
            return self._users

    def _renew(self) -> None:
        try:
            self._users = users.load(self._path)
        except Invalid as error:
            LOG.error("the users are not read again: %s", error)
        else:
            LOG.info("the users were read again")

    def _look(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns


def _basic(header: str) -> tuple[str, str]:
    """Name and password (RFC 7617). Raises NotAuthenticated."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise NotAuthenticated(f"who asks is not told: {REFUSED}")
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeError):
        colon = ""
    if not colon:
        raise NotAuthenticated(f"the header Authorization cannot be read: {REFUSED}")
    return name, password
