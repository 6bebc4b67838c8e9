# SPDX-License-Identifier: Apache-2.0
"""Limits on password logins: who is refused after failures, who is not, and what is kept of them."""

import base64
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import eventlet
import pytest
from webob import Request

from glance.core.errors import GlanceError, IdentityUnavailable, Invalid, TooManyAttempts
from glance.core.inline import INLINE
from glance.identity import logins, tokens, users
from glance.identity.logins import BURST, CHECKERS, NAME_FACTOR, PER_MINUTE, WAITING, FailureLimit, PasswordLogins
from glance.identity.tokens import Tokens, UsersFile
from glance.identity.users import User, Users
from glance.serve.threads import Threads
from glance.wsgi.identify import Identify, RequestId
from tests.unit.test_threads import Gate, settle

INTERVAL = 60 / PER_MINUTE
ATTACKER, OTHER = "203.0.113.9", "198.51.100.7"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> FailureLimit:
    return FailureLimit(clock=clock)


def fail(limit: FailureLimit, name: str, address: str, times: int = 1) -> None:
    for _ in range(times):
        limit.begin(limit.examine(name, address))


def log_in(limit: FailureLimit, name: str, address: str) -> None:
    attempt = limit.examine(name, address)
    limit.begin(attempt)
    limit.succeed(attempt)


def test_an_address_may_fail_some_times_at_once_and_then_slowly(limit: FailureLimit, clock: Clock) -> None:
    for number in range(BURST):
        fail(limit, f"user {number}", ATTACKER)
    with pytest.raises(TooManyAttempts, match="try again in 10 s") as refused:
        limit.examine("alice", ATTACKER)
    assert refused.value.retry_after == INTERVAL
    clock.now += INTERVAL
    fail(limit, "alice", ATTACKER)
    with pytest.raises(TooManyAttempts):
        limit.examine("alice", ATTACKER)


def test_a_user_logs_in_from_elsewhere_while_an_attacker_fails_for_the_name(limit: FailureLimit) -> None:
    fail(limit, "alice", ATTACKER, BURST)
    log_in(limit, "alice", OTHER)


def test_a_name_that_many_addresses_fail_for_leaves_each_new_address_one_attempt(limit: FailureLimit) -> None:
    for number in range(NAME_FACTOR):
        fail(limit, "alice", f"203.0.113.{number}", BURST)
    fail(limit, "alice", ATTACKER)
    with pytest.raises(TooManyAttempts):
        limit.examine("alice", ATTACKER)
    log_in(limit, "alice", OTHER)
    fail(limit, "bob", OTHER, BURST)  # another name costs what it always does


def test_a_familiar_name_and_address_do_not_suffer_from_others(limit: FailureLimit) -> None:
    log_in(limit, "alice", OTHER)
    for number in range(BURST):
        fail(limit, f"user {number}", OTHER)  # from the same address
    for number in range(NAME_FACTOR + 1):
        fail(limit, "alice", f"203.0.113.{number}", BURST if number < NAME_FACTOR else 1)
    fail(limit, "alice", OTHER, BURST)
    with pytest.raises(TooManyAttempts):
        limit.examine("alice", OTHER)


def test_what_succeeds_or_is_cancelled_does_not_count(limit: FailureLimit) -> None:
    for number in range(3 * BURST):
        log_in(limit, f"user {number}", ATTACKER)
        attempt = limit.examine("new", ATTACKER)
        limit.begin(attempt)
        limit.cancel(attempt)
    assert len(limit._sources) == len(limit._names) == 0


def test_attempts_count_while_they_are_checked(limit: FailureLimit) -> None:
    attempts = [limit.examine("alice", ATTACKER) for _ in range(BURST)]
    for attempt in attempts:
        limit.begin(attempt)
    with pytest.raises(TooManyAttempts):
        limit.examine("alice", ATTACKER)
    limit.cancel(attempts[0])
    limit.examine("alice", ATTACKER)


def test_without_a_rate_nothing_is_refused(clock: Clock) -> None:
    limit = FailureLimit(1, 0, clock=clock)
    fail(limit, "alice", ATTACKER, 100)


def test_memory_is_bounded_in_number_and_in_size(limit: FailureLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "REMEMBERED", 50)
    for number in range(200):
        fail(limit, "x" * 10_000 + str(number), f"10.0.0.{number}")
        log_in(limit, "y" * 10_000 + str(number), f"10.0.1.{number}")
    for table in (limit._sources._full_at, limit._names._full_at, limit._familiar):
        assert 0 < len(table) <= 50
        assert {len(key) for key in table} == {16}


# Checks


@pytest.fixture
def checks(limit: FailureLimit) -> PasswordLogins:
    return PasswordLogins(limit)


@pytest.fixture
def in_time() -> Iterator[None]:
    with eventlet.Timeout(5):
        yield


def check(checks: PasswordLogins, number: int, threads: object, verify: Callable[[], bool]) -> object:
    """Return what comes of the login of one of many users at one of many addresses, or the reason of an error."""
    try:
        return checks.check(b"%d" % number, f"user {number}", f"10.0.0.{number}", threads, verify)
    except GlanceError as error:
        return error.reason


def test_uploads_go_on_while_all_checks_are_blocked(checks: PasswordLogins, in_time: None) -> None:
    uploads, gate = Threads(1), Gate()
    running = [
        eventlet.spawn(check, checks, number, uploads, lambda: gate(b"checked") is None)
        for number in range(CHECKERS + WAITING)
    ]
    settle()
    for _ in range(CHECKERS):
        assert gate.entered.acquire(timeout=5)
    hashed: list[bytes] = []
    lane = uploads.lane(hashed.append)
    for _ in range(100):
        lane.put(b"block")
    lane.finish()
    assert (len(hashed), gate.seen) == (100, [])
    assert check(checks, 999, uploads, lambda: True) == IdentityUnavailable.reason  # the queue is full
    gate.open()
    assert [one.wait() for one in running] == [True] * (CHECKERS + WAITING)
    assert check(checks, 999, uploads, lambda: True) is True  # what was turned away did not count as failed


def test_equal_logins_are_checked_once(checks: PasswordLogins) -> None:
    gate = Gate()
    with ThreadPoolExecutor(10) as pool:
        running = [pool.submit(check, checks, 1, INLINE, lambda: gate(b"checked") is None) for _ in range(10)]
        assert gate.entered.acquire(timeout=5)
        gate.open()
        assert [one.result(5) for one in running] == [True] * 10
    assert 1 <= len(gate.seen) < 10  # a thread that comes late checks again


def test_right_passwords_count_for_nothing(checks: PasswordLogins) -> None:
    for number in range(2 * BURST):
        assert checks.check(b"%d" % number, f"user {number}", ATTACKER, INLINE, lambda: True)


def test_familiar_callers_find_a_place_when_strangers_fill_the_queue(checks: PasswordLogins, in_time: None) -> None:
    uploads, gate = Threads(1), Gate()
    assert check(checks, 1, uploads, lambda: True) is True
    strangers = [
        eventlet.spawn(check, checks, number, uploads, lambda: gate(b"checked") is None)
        for number in range(100, 100 + CHECKERS + WAITING)
    ]
    settle()
    assert check(checks, 2, uploads, lambda: True) == IdentityUnavailable.reason
    familiar = eventlet.spawn(check, checks, 1, uploads, lambda: True)
    settle()
    gate.open()
    assert familiar.wait() is True
    assert [stranger.wait() for stranger in strangers] == [True] * (CHECKERS + WAITING)


def test_an_error_of_a_check_is_no_failed_login(checks: PasswordLogins) -> None:
    for _ in range(2 * BURST):
        with pytest.raises(ZeroDivisionError):
            checks.check(b"key", "alice", ATTACKER, INLINE, lambda: 1 // 0 == 0)
    assert checks.check(b"key", "alice", ATTACKER, INLINE, lambda: True)


@pytest.mark.parametrize("address", ["", "unix:", "fe80::1%eth0", "::ffff:10.0.0.1"])
def test_addresses_of_every_server(checks: PasswordLogins, address: str) -> None:
    assert checks.check(b"key", "alice", address, INLINE, lambda: True)


def test_an_ipv6_client_is_its_network(checks: PasswordLogins) -> None:
    for number in range(BURST):
        assert not checks.check(b"key", "alice", f"2001:db8::{number:x}", INLINE, lambda: False)
    with pytest.raises(TooManyAttempts):
        checks.check(b"key", "alice", "2001:db8::ffff", INLINE, lambda: True)
    assert checks.check(b"key", "alice", "2001:db8:0:1::1", INLINE, lambda: True)


# The file of users


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "users.json"
    users.update(path, lambda known: known.added(User(name="alice", tenant="a", token="1" * 64)), create=True)
    return path


@pytest.fixture
def file(path, clock: Clock) -> UsersFile:
    return UsersFile(path, clock)


def spoil(path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "open to others":
        path.chmod(0o644)
    else:
        path.write_text("not JSON")


@pytest.mark.parametrize("how", ["missing", "open to others", "damaged"])
def test_users_of_an_unreadable_file_stay_valid_for_a_minute(file: UsersFile, path, clock: Clock, how: str) -> None:
    good = path.read_text()
    spoil(path, how)
    for moment in (tokens.LOOK, tokens.GRACE - tokens.LOOK):
        clock.now = 1000 + moment
        assert "alice" in file.read().by_name
        with pytest.raises(IdentityUnavailable):
            file.check()
    clock.now = 1000 + tokens.GRACE
    with pytest.raises(IdentityUnavailable):
        file.read()
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(good)
    clock.now += tokens.LOOK
    assert "alice" in file.read().by_name
    file.check()


def test_the_minute_begins_when_the_file_was_last_seen_in_order(file: UsersFile, path, clock: Clock) -> None:
    clock.now += 10 * tokens.GRACE
    file.read()
    path.unlink()
    clock.now += tokens.GRACE - tokens.LOOK
    assert "alice" in file.read().by_name
    clock.now += tokens.LOOK
    with pytest.raises(IdentityUnavailable):
        file.read()


def test_a_file_is_tried_again_though_it_has_not_changed(
    file: UsersFile, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory may have been closed, or the disk may have failed for a moment."""

    def fail(path: Path) -> Users:
        raise Invalid("Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(users, "load", fail)
        file._version = None
        clock.now += tokens.LOOK
        with pytest.raises(IdentityUnavailable):
            file.check()
    clock.now += tokens.LOOK
    file.check()


def test_a_changed_mode_alone_is_noticed(file: UsersFile, path, clock: Clock) -> None:
    path.chmod(0o644)
    clock.now += tokens.LOOK
    with pytest.raises(IdentityUnavailable):
        file.check()
    path.chmod(0o600)
    clock.now += tokens.LOOK
    file.check()


def test_a_file_of_the_same_time_is_read_again(file: UsersFile, path, clock: Clock) -> None:
    """A copy that keeps the time of the last change, as `cp -p` and rsync do, into the same file."""
    before = path.stat()
    with path.open("r+") as opened:
        text = opened.read().replace("alice", "carol")
        opened.seek(0)
        opened.write(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.now += tokens.LOOK
    assert set(file.read().by_name) == {"carol"}


def test_a_changed_password_is_checked_anew(
    file: UsersFile, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of a password ends with it."""
    login = Tokens(file, "admin", PasswordLogins(FailureLimit(clock=clock)))
    app = RequestId(Identify(lambda environ, start_response: [], login))

    def ask(password: str) -> bool:
        credentials = base64.b64encode(f"dora:{password}".encode()).decode()
        request = Request.blank("/", headers={"Authorization": f"Basic {credentials}"}, remote_addr=OTHER)
        try:
            list(app(request.environ, lambda *_: None))
        except GlanceError:
            return False
        return True

    def change(known: Users) -> Users:
        left = [user for user in known.by_name.values() if user.name != "dora"]
        return Users(left).added(users.with_password(User(name="dora", tenant="d"), "second password"))

    first = users.with_password(User(name="dora", tenant="d"), "first password")
    users.update(path, lambda known: known.added(first))
    clock.now += tokens.LOOK
    assert (ask("first password"), ask("second password")) == (True, False)
    with monkeypatch.context() as patched:  # it is remembered, and not checked again
        patched.setattr(users, "verify", lambda user, password: False)
        assert ask("first password")
    users.update(path, change)
    clock.now += tokens.LOOK
    assert (ask("first password"), ask("second password")) == (False, True)
