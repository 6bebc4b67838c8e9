# SPDX-License-Identifier: Apache-2.0
"""The file of users, for people without Keystone: names, tenants, roles, and what is needed to check secrets.

It is JSON, written by `glance-manage user` and read by the filter tokens. A password is kept as scrypt has it
(RFC 7914), slow to try; a token is made by us of 256 random bits, so its SHA-256 is enough.
"""

import errno
import fcntl
import hashlib
import hmac
import json
import os
import pwd
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from glance.core import values
from glance.core.errors import Duplicate, Invalid, NotFound

LEAST_PASSWORD = 8  # characters
_COST, _BLOCK, _PARALLEL = 2**14, 8, 1  # of scrypt: 16 MiB, some tens of milliseconds
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    name: str
    tenant: str
    roles: tuple[str, ...] = ()
    password: str | None = None  # scrypt$salt$key in hex; None: has none
    token: str | None = None  # SHA-256 in hex


class Users:
    """The users of a file, as it was when it was read."""

    def __init__(self, users: Iterable[User]) -> None:
        self.by_name = {user.name: user for user in users}
        self._by_token = {user.token: user for user in self.by_name.values() if user.token is not None}

    def with_token(self, token: str) -> User | None:
        return self._by_token.get(digest_of(token))

    def added(self, user: User) -> "Users":
        """Raises Duplicate, Invalid."""
        if user.name in self.by_name:
            raise Duplicate(f"there is a user {values.shown(user.name)} already")
        return Users([*self.by_name.values(), _checked(asdict(user))])

    def removed(self, name: str) -> "Users":
        """Raises NotFound."""
        if name not in self.by_name:
            raise NotFound(f"there is no user {values.shown(name)}")
        return Users(user for user in self.by_name.values() if user.name != name)


def load(path: Path) -> Users:
    """Raises Invalid for a file that cannot be used, or that others may read."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise Invalid(f"{path} holds secrets, and others may read it: chmod 600 {path}")
            found = json.load(file)
    except PermissionError as error:
        raise Invalid(f"{path}: {error.strerror} for the user {user_name(os.geteuid())}") from error
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Invalid(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("version") != _VERSION or not isinstance(found.get("users"), list):
        raise Invalid(f"{path} is not a file of users of version {_VERSION}")
    users = Users(_checked(item) for item in found["users"])
    if len(users.by_name) != len(found["users"]):
        raise Invalid(f"{path} has a user twice")
    return users


def update(
    path: Path, change: Callable[[Users], Users], *, create: bool = False, owner: tuple[int, int] | None = None
) -> None:
    """Replace the users of the file by `change(users)` in one step. With `create`, a missing file has no users.

    Other calls for a file of the same directory wait meanwhile. `owner` is a user id and a group id. Without it an
    existing file keeps its owner and group, and a new one gets those of its directory if the process may give files
    away. The mode is kept, that of a new file is 0600. Raises Invalid, also for a file that is a mount point;
    OSError, and what `change` raises.
    """
    path = path.resolve()  # replace the file, not a link to it
    with _locked(path.parent) as directory:
        known = Users([]) if create and not path.exists() else load(path)
        _replace(path, change(known), owner)
        with suppress(OSError):  # some file systems cannot; the file is complete in either case
            os.fsync(directory)


@contextmanager
def _locked(directory: Path) -> Iterator[int]:
    """Hold an exclusive lock on a directory: the file itself is replaced, so a lock on it would not be seen."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            text = f"cannot lock the directory: {error.strerror}; keep the file on a file system with locks"
            raise OSError(error.errno, text, str(directory)) from None
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(path: Path, users: Users, owner: tuple[int, int] | None) -> None:
    listed = [asdict(user) for user in sorted(users.by_name.values(), key=lambda user: user.name)]
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"version": _VERSION, "users": listed}, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            _set_owner(file.fileno(), path, owner)
            os.fsync(file.fileno())
        try:
            Path(made).replace(path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise Invalid(
                f"{path} cannot be replaced, since it is mounted there as a file: mount its directory instead, or "
                "change the file that is mounted"
            ) from error
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise


def _set_owner(descriptor: int, path: Path, owner: tuple[int, int] | None) -> None:
    """Give the file that will be `path` its owner, group and mode. Raises OSError."""
    is_new = not path.exists()
    model = path.parent.stat() if is_new else path.stat()
    uid, gid = owner or (model.st_uid, model.st_gid)
    made = os.fstat(descriptor)
    try:
        if (made.st_uid, made.st_gid) != (uid, gid):
            os.fchown(descriptor, uid, gid)
    except OSError as error:
        if owner is not None or not is_new:
            raise OSError(error.errno, f"cannot make {uid}:{gid} its owner: {error.strerror}", str(path)) from None
    if not is_new:
        os.fchmod(descriptor, stat.S_IMODE(model.st_mode))


def with_password(user: User, password: str) -> User:
    """Raises Invalid for a password that is too short."""
    if len(password) < LEAST_PASSWORD:
        raise Invalid(f"a password must have at least {LEAST_PASSWORD} characters")
    salt = secrets.token_bytes(16)
    return replace(user, password=f"scrypt${salt.hex()}${_scrypt(password, salt).hex()}")


def with_new_token(user: User) -> tuple[User, str]:
    """The user, and the token itself, which is not kept."""
    token = secrets.token_hex(32)  # in digits and letters: no shell and no option parser takes it for something else
    return replace(user, token=digest_of(token)), token


def verify(user: User | None, password: str) -> bool:
    """Takes as long for a user that there is not, so that nobody learns who there is."""
    kept = user.password if user is not None else None
    _, salt, key = (kept or NOBODY).split("$")
    matches = hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), bytes.fromhex(key))
    return matches and kept is not None


def user_name(uid: int) -> str:
    """Return the name of a user of this machine, or the number if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _scrypt(password: str, salt: bytes) -> bytes:
    data = password.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(data, salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, maxmem=64 * 1024 * 1024)


def _checked(item: object) -> User:
    if not isinstance(item, Mapping) or not item.keys() <= {"name", "tenant", "roles", "password", "token"}:
        raise Invalid(f"not a user: {values.shown(item)}")
    roles = item.get("roles", ())
    if not isinstance(roles, list | tuple):
        raise Invalid(f"the roles of a user must be a list, not {values.shown(roles)}")
    name = values.line("the name of a user", item.get("name"), least=1)
    if ":" in name:
        raise Invalid(f"the name of a user must not contain a colon, as {values.shown(name)} does")
    return User(
        name=name,
        tenant=values.line("the tenant of a user", item.get("tenant"), least=1),
        roles=tuple(values.line("a role", role, least=1) for role in roles),
        password=_secret(item.get("password"), "password"),
        token=_secret(item.get("token"), "token"),
    )


def _secret(value: object, what: str) -> str | None:
    return None if value is None else values.line(f"the {what} of a user", value)


NOBODY = f"scrypt${'00' * 16}${'00' * 64}"  # a password that nobody has
