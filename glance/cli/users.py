# SPDX-License-Identifier: Apache-2.0
"""glance-manage user: who may use glance-api where there is no Keystone (glance/identity/tokens.py)."""

import argparse
import getpass
import os
import pwd
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from glance.cli import settings
from glance.cli.arguments import absolute_path
from glance.cli.process import describe
from glance.cli.startup import get_standard_input
from glance.config import ConfigError, filter_option
from glance.core import values
from glance.core.errors import Invalid
from glance.core.paths import make_absolute
from glance.identity import users
from glance.identity.users import User, Users

FACTORY = "glance.identity.tokens:filter_factory"


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--users-file", type=absolute_path, metavar="PATH", help="otherwise the users_file of the configuration"
    )
    deeds = parser.add_subparsers(required=True, metavar="DEED", title="deeds")
    add = deeds.add_parser("add", help="add a user with a password, a token, or both")
    add.add_argument("name")
    add.add_argument("--tenant", required=True, help="whose images are his, and who pays for them")
    add.add_argument(
        "--role", action="append", default=[], metavar="ROLE", help="may be given again; admin may everything"
    )
    add.add_argument("--token", action="store_true", help="make a token, print it, and ask for no password")
    add.add_argument(
        "--owner",
        metavar="USER",
        help="user to give the file to; otherwise a new file belongs to the owner of its directory",
    )
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    remove = deeds.add_parser("remove", help="remove a user; his images stay")
    remove.add_argument("name")
    listed = deeds.add_parser("list", help="list the users, without what is secret")
    for deed, run_it in ((add, _add), (remove, _remove), (listed, _list)):
        deed.set_defaults(deed=run_it)


def run(options: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError, GlanceError."""
    deed: Callable[[argparse.Namespace, Path], None] = options.deed
    try:
        deed(options, _path(options))
    except OSError as error:
        raise Invalid(describe(error)) from error
    return 0


def _path(options: argparse.Namespace) -> Path:
    if options.users_file:
        return Path(options.users_file)
    found = None if options.path is None else filter_option(options.path, FACTORY, "users_file")
    if found is None:
        raise ConfigError(
            f"no users_file is configured: name one with --users-file, or in a filter section with "
            f"paste.filter_factory = {FACTORY}"
        )
    try:
        return make_absolute(found)
    except ValueError as error:
        raise ConfigError(f"users_file: {error}") from None


def _add(options: argparse.Namespace, path: Path) -> None:
    owner = None if options.owner is None else _owner(options.owner)
    user = User(name=options.name, tenant=options.tenant, roles=tuple(dict.fromkeys(options.role)))
    known = users.load(path) if path.exists() else Users([])
    known.added(user)  # refuse it before a secret is asked for; the file may have changed when the answer comes
    token = None
    if options.token:
        user, token = users.with_new_token(user)
    if options.password_stdin or not options.token:
        user = users.with_password(user, _password(options.password_stdin))
    users.update(path, lambda known: known.added(user), create=True, owner=owner)
    print(f"Added {user.name} of tenant {user.tenant} to {path}")
    if token is not None:
        print(f"Token, shown this once: {token}")
    _warn_if_unreadable(options, path)


def _remove(options: argparse.Namespace, path: Path) -> None:
    users.update(path, lambda known: known.removed(options.name))
    print(f"Removed {options.name} from {path}")
    _warn_if_unreadable(options, path)


def _list(options: argparse.Namespace, path: Path) -> None:
    print(f"{'NAME':<20} {'TENANT':<20} {'ROLES':<20} CREDENTIALS")
    for user in users.load(path).by_name.values():
        has = [what for what, secret in (("password", user.password), ("token", user.token)) if secret]
        print(f"{user.name:<20} {user.tenant:<20} {','.join(user.roles) or '-':<20} {', '.join(has) or '-'}")


def _owner(name: str) -> tuple[int, int]:
    """Return the user id and the group id of a user of this machine. Raises Invalid."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise Invalid(f"--owner must be a user of this machine, not {values.shown(name)}") from None
    return found.pw_uid, found.pw_gid


def _warn_if_unreadable(options: argparse.Namespace, path: Path) -> None:
    uid = _find_daemon_user(options)
    if uid is None or _can_read(path.resolve(), uid):
        return
    name = users.user_name(uid)
    print(
        f"WARNING: glance-api, which seems to run as {name}, cannot read {path}, owned by "
        f"{users.user_name(path.stat().st_uid)}: chown {name} {path}, and let {name} enter its directory",
        file=sys.stderr,
    )


def _find_daemon_user(options: argparse.Namespace) -> int | None:
    """Return the id of the user that glance-api seems to run as: the owner of its images, or for root the user
    glance. None if neither exists."""
    if options.path is not None:
        with suppress(ConfigError, OSError):
            return Path(settings.of_api(options).filesystem_store_datadir).stat().st_uid
    if os.geteuid() == 0:
        with suppress(KeyError):
            return pwd.getpwnam("glance").pw_uid
    return None


def _can_read(path: Path, uid: int) -> bool:
    """Return True if the modes of the file and of its directories let the user read it."""
    try:
        found = pwd.getpwuid(uid)
        groups = os.getgrouplist(found.pw_name, found.pw_gid)
    except KeyError:
        groups = []

    def may(place: Path, right: int) -> bool:
        status = place.stat()
        shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
        return bool(status.st_mode >> shift & right)

    return uid == 0 or (may(path, 0o4) and all(may(directory, 0o1) for directory in path.parents))


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return get_standard_input().readline().rstrip("\n")
    try:
        get_standard_input()  # where getpass reads without a terminal
        password = getpass.getpass("Password: ")
        repeated = getpass.getpass("Once more: ")
    except (EOFError, OSError):
        raise Invalid("there is no terminal to ask for the password: use --password-stdin or --token") from None
    if repeated != password:
        raise Invalid("the two passwords are not the same")
    return password
