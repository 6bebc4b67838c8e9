# SPDX-License-Identifier: Apache-2.0
"""glance/serve as a process: signals, workers, and the limits in time and number."""

import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glance.serve.listening import listen
from tests.functional.live import PATIENCE, Answer, Live, Wire, post, request, wait_until

pytestmark = pytest.mark.functional


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    started: list[Live] = []

    def start(*options: str) -> Live:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Live(folder, *options))
        return started[-1]

    yield start
    for live in started:
        live.end()


def running(live: Live, target: bytes = b"/patient") -> Wire:
    """A request that the application has begun to read."""
    wire = live.connect()
    wire.send(post(b"Expect: 100-continue", b"Content-Length: 5", target=target))
    assert wire.answer().status == 100
    return wire


def idle(live: Live) -> Wire:
    """A connection that is kept after a request."""
    wire = live.connect()
    wire.send(request())
    assert wire.answer().status == 200
    return wire


def refuses(live: Live) -> bool:
    try:
        live.connect().sock.close()
    except ConnectionError:
        return True
    return False


def assert_listens_no_more(live: Live) -> None:
    """While requests are still running; of several processes, each closes the socket on its own."""
    wait_until(lambda: refuses(live), "connections are refused")


# Signals


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_runs_is_finished_and_nothing_else_is_taken(start, number, workers):
    live = start("--workers", workers)
    with live.connect() as silent, idle(live) as kept, running(live) as wire:
        live.signal(number)
        assert kept.is_closed()
        assert silent.is_closed()
        assert_listens_no_more(live)
        wire.send(b"hello" + request(target=b"/next"))
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"], answer.body) == (200, "close", b"done")
        assert wire.is_closed()
    assert live.process.wait(PATIENCE) == 0
    assert "/next" not in live.log()
    assert "Traceback" not in live.log()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_is_not_finished_in_time_is_broken_off_and_can_clean_up(start, workers):
    live = start("--grace", "0.3", "--workers", workers)
    with running(live) as wire:
        started = time.monotonic()
        live.signal(signal.SIGTERM)
        assert wire.is_closed()
        assert 0.25 < time.monotonic() - started < 3
    assert live.process.wait(PATIENCE) == 0
    assert "cleaned up after GreenletExit" in live.log()


def test_sighup_waits_without_limit_until_sigterm_sets_one(start):
    live = start("--grace", "0.1")
    with running(live) as wire:
        live.signal(signal.SIGHUP)
        wait_until(lambda: "finishing 1 connections" in live.log(), "it drains")
        assert_listens_no_more(live)
        with pytest.raises(subprocess.TimeoutExpired):
            live.process.wait(0.5)
        live.signal(signal.SIGTERM)
        assert live.process.wait(PATIENCE) == 0
        assert wire.is_closed()


def test_a_blocked_native_thread_does_not_keep_the_process(start, tmp_path):
    live = start("--grace", "0.1")
    os.mkfifo(tmp_path / "fifo")
    with live.connect() as wire:
        wire.send(request(target=f"/block?{tmp_path}/fifo".encode()))
        with idle(live):  # until the first request has come, too
            live.signal(signal.SIGTERM)
            assert live.process.wait(PATIENCE) == 0


# Numbers


def test_a_port_is_nobody_elses(start):
    with pytest.raises(OSError, match="Address already in use"):
        listen("127.0.0.1", start().port, backlog=1)


def test_a_connection_too_many_waits_for_its_turn(start):
    live = start("--set", "serve.green.CONNECTIONS=2")
    with running(live) as first, running(live) as second, live.connect() as third:
        third.send(request(b"Connection: close", target=b"/third"))
        for wire in (first, second):
            wire.send(b"hello")
            assert wire.answer().status == 200
            wire.sock.close()
        assert third.answer().status == 200
        assert third.is_closed()
    assert live.log().index("/patient") < live.log().index("/third")


def test_a_connection_that_waits_for_its_turn_goes_before_one_that_is_idle(start):
    live = start("--set", "serve.green.CONNECTIONS=2")
    with running(live) as first, idle(live), live.connect() as third:
        third.send(request())
        assert third.answer().status == 200
        first.send(b"hello")
        assert first.answer().status == 200


def test_but_not_before_one_that_has_only_just_come(start):
    """Its request is on its way; in a crowd of new connections it is none of the silent ones."""
    live = start("--set", "serve.green.CONNECTIONS=2", "--set", "serve.green.PATIENCE=60")
    with live.connect() as first, live.connect() as second, live.connect() as third:
        third.send(request())
        third.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            third.answer()
        third.sock.settimeout(PATIENCE)
        for wire in (first, second):
            wire.send(request())
        for wire in (first, second, third):
            assert wire.answer().status == 200


def test_and_before_one_that_becomes_idle(start):
    live = start("--set", "serve.green.CONNECTIONS=2")
    with running(live), running(live) as second, live.connect() as third:
        third.send(request())
        second.send(b"hello")
        assert second.answer().status == 200
        assert third.answer().status == 200


def test_the_last_place_is_a_place(start):
    live = start("--set", "serve.green.CONNECTIONS=2")
    with running(live), live.connect() as last:
        last.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):  # nobody waits for its place, so it is not closed
            last.answer()
        last.send(request())
        assert last.answer().status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_connection_that_waits_for_its_turn_does_not_keep_the_process(start, number):
    live = start("--set", "serve.green.CONNECTIONS=1")
    with running(live) as first, live.connect() as second, live.connect() as third:
        second.send(request())
        third.send(request())
        live.signal(number)
        first.send(b"hello")
        assert first.answer().status == 200
        assert live.process.wait(PATIENCE / 2) == 0


# Time


def test_a_head_that_comes_too_slowly_is_refused_however_steadily(start):
    live = start("--set", "serve.connection.HEAD_TIMEOUT=0.4")
    with live.connect() as wire:
        wire.sock.settimeout(0.1)
        started = time.monotonic()
        wire.send(b"GET /echo HTTP/1.1\r\nX: ")
        while time.monotonic() - started < PATIENCE:
            try:
                answer = wire.answer()
                break
            except TimeoutError:
                wire.send(b"y")
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert b"the head of the request took too long" in answer.body
        assert 0.35 < time.monotonic() - started < 2


def test_a_connection_without_requests_is_closed(start):
    live = start("--keepalive-timeout", "0.2")
    with live.connect() as silent, idle(live) as kept:
        assert silent.is_closed()
        assert kept.is_closed()


def test_a_client_may_be_silent_longer_between_requests_than_in_the_middle_of_one(start):
    live = start("--keepalive-timeout", "60", "--client-timeout", "0.2")
    with live.connect() as wire:
        for _ in range(2):
            time.sleep(0.5)
            wire.send(request())
            assert wire.answer().status == 200
        wire.send(post(b"Content-Length: 5", body=b"he"))
        assert wire.answer().status == 400


def test_and_the_other_way_round(start):
    live = start("--keepalive-timeout", "0.2", "--client-timeout", "60")
    with live.connect() as wire:
        wire.send(post(b"Content-Length: 5", body=b"he"))
        time.sleep(0.5)
        wire.send(b"llo")
        assert wire.answer().status == 200
        assert wire.is_closed()


@pytest.mark.parametrize("body", [b"he", b""])
def test_a_body_that_does_not_come_is_broken_and_the_client_was_silent(start, body):
    live = start("--client-timeout", "0.2")
    with running(live, b"/echo") as wire:
        wire.send(body)
        answer = wire.answer()
        assert answer.status == 400
        assert answer.body == b"TimeoutError after 0: the client sent nothing for 0.2 seconds (client_timeout)"
        assert wire.is_closed()


def test_a_head_that_stops_is_refused_after_the_shorter_of_both_limits(start):
    live = start("--client-timeout", "0.2")
    with live.connect() as wire:
        wire.send(b"GET /echo HTTP/1.1\r\n")
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert b"the client sent nothing for 0.2 seconds" in answer.body


@pytest.mark.parametrize("target", ["/stream?200000", "/file?{},0,200000000"])
def test_a_reader_that_reads_nothing_is_given_up(start, tmp_path, target):
    live = start("--client-timeout", "0.3")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(200_000_000)
    with live.connect() as wire:
        wire.send(request(target=target.format(tmp_path / "large").encode()))
        wait_until(lambda: re.search(r"200 \d+ \d\.\d{3} - broken off\n", live.log()), "it is broken off")
    assert "is broken off: the client took nothing for 0.3 seconds (client_timeout)" in live.log()


@pytest.mark.parametrize("target", [b"/echo", b"/patient"])
def test_who_sends_a_body_byte_by_byte_is_given_up(start, target):
    live = start("--least-rate", "1000", "--set", "core.pace.WINDOW=0.3")
    with live.connect() as wire:
        wire.send(post(b"Content-Length: 1000", target=target))
        wire.sock.settimeout(0.02)
        started = time.monotonic()
        while time.monotonic() - started < PATIENCE:
            try:
                assert wire.answer().status in (400, 500)
                break
            except TimeoutError:
                wire.send(b"x")
        assert time.monotonic() - started < PATIENCE


def test_who_is_slow_for_a_while_and_makes_up_for_it_is_not(start):
    live = start("--least-rate", "1000", "--set", "core.pace.WINDOW=1.0")
    with live.connect() as wire:
        wire.send(post(b"Content-Length: 100003"))
        for _ in range(3):
            time.sleep(0.1)
            wire.send(b"x")
        wire.send(b"y" * 100_000)
        assert wire.answer().status == 200


def test_who_takes_an_answer_byte_by_byte_is_given_up(start, tmp_path):
    live = start("--least-rate", "100000000", "--set", "core.pace.WINDOW=0.3")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(200_000_000)
    with live.connect() as wire:
        wire.send(request(target=f"/file?{tmp_path}/large,0,200000000".encode()))
        started = time.monotonic()
        while "broken off" not in live.log():
            assert time.monotonic() - started < PATIENCE
            assert wire.sock.recv(20_000)
            time.sleep(0.002)


def test_a_client_that_thinks_between_requests_may_do_so(start):
    live = start("--least-rate", "100000", "--set", "core.pace.WINDOW=0.2")
    with live.connect() as wire:
        for _ in range(4):
            wire.send(request())
            assert wire.answer().status == 200
            time.sleep(0.15)


def test_one_address_has_so_many_connections_and_no_more(start):
    live = start("--per-address", "2")
    with running(live) as first, idle(live):
        answer = live.ask(request())
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert b"2 connections" in answer.body
        first.send(b"hello")
        assert first.answer().status == 200
        first.sock.close()
        wait_until(lambda: live.ask(request()).status == 200, "there is room again")


def test_who_asks_too_often_is_told_when_to_come_back_and_nobody_else_is(start):
    live = start("--rate", "1", "--burst", "3")
    with live.connect() as wire:
        wire.send(request() * 60)  # in less than a minute
        answers = [wire.answer()]
        while answers[-1].status == 200:
            answers.append(wire.answer())
    assert len(answers) > 3
    assert (answers[-1].status, answers[-1].headers["connection"]) == (429, "close")
    assert answers[-1].headers["retry-after"] == "1"
    assert b"try again in 1 s" in answers[-1].body
    with socket.create_connection(("127.0.0.1", live.port), timeout=10, source_address=("127.0.0.2", 0)) as sock:
        other = Wire(sock)
        other.send(request())
        assert other.answer().status == 200
    wait_until(lambda: live.ask(request()).status == 200, "he is served again")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n", b"GET / HTTP/2\n", b"\x16\x03\x01"], ids=["header", "line", "tls"])  # fmt: skip
def test_refused_heads_count_for_the_rate(start, data):
    live = start("--rate", "1", "--burst", "3")
    statuses = [live.ask(data).status for _ in range(3)]
    assert statuses == [400, 400, 400]
    wait_until(lambda: 429 in [live.ask(data).status for _ in range(4)], "refused heads are refused for their number")
    wait_until(lambda: [live.ask(data).status for _ in range(4)] and live.ask(request()).status == 429, "so is the next request")  # fmt: skip


def test_refused_heads_behind_a_trusted_proxy_do_not_count_for_the_proxy(start):
    live = start("--rate", "1", "--burst", "1", "--trusted-proxies", "127.0.0.1")
    broken = b"GET / HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n"
    assert [live.ask(broken).status for _ in range(10)] == [400] * 10
    assert live.ask(request()).status == 200


def test_a_body_of_who_asks_too_often_is_not_asked_for(start):
    live = start("--rate", "1", "--burst", "1")
    late = post(b"Content-Length: 1000000", b"Expect: 100-continue")

    def ask() -> Answer:
        with live.connect() as wire:
            wire.send(late)
            return wire.answer()

    wait_until(lambda: ask().status == 429, "it is too often")


# Proxies


def through_proxy(forwarded_for: bytes, **more: bytes) -> bytes:
    return request(b"X-Forwarded-For: " + forwarded_for, **more)


def test_the_access_log_names_the_clients_of_a_trusted_proxy(start):
    live = start("--trusted-proxies", "127.0.0.1, 10.0.0.0/8")
    with live.connect() as proxy:
        for forwarded_for in (b"198.51.100.7", b"203.0.113.9, 2001:db8::7, 10.1.2.3", b"unknown"):
            proxy.send(through_proxy(forwarded_for))
            body = proxy.answer().body
            assert b'"REMOTE_ADDR": "127.0.0.1"' in body  # filters judge the proxy by it
            assert (b'"glance.client_address": "198.51.100.7"' in body) == (forwarded_for == b"198.51.100.7")
        proxy.send(request(b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-For: 198.51.100.8"))
        assert proxy.answer().status == 200
        proxy.send(b"garbage\r\n\r\n")
        assert proxy.answer().status == 400
    with socket.create_connection(("127.0.0.1", live.port), timeout=10, source_address=("127.0.0.2", 0)) as sock:
        Wire(sock).send(through_proxy(b"198.51.100.7"))
        assert Wire(sock).answer().status == 200
    expected = ["198.51.100.7", "2001:db8::7", "127.0.0.1", "198.51.100.8", "127.0.0.1", "127.0.0.2"]
    wait_until(lambda: re.findall(r"glance\.access (\S+)", live.log()) == expected, f"the log names {expected}")


def test_without_trusted_proxies_nobody_is_believed(start):
    live = start("--rate", "1", "--burst", "1")
    answers = [live.ask(through_proxy(b"198.51.100.%d" % number)) for number in range(20)]
    assert 429 in [answer.status for answer in answers]
    assert "198.51.100" not in live.log()


def test_the_rate_is_of_each_client_behind_a_trusted_proxy(start):
    live = start("--rate", "1", "--burst", "1", "--trusted-proxies", "127.0.0.1")
    for number in range(10):
        assert live.ask(through_proxy(b"198.51.100.%d" % number)).status == 200
    spoofed = [live.ask(through_proxy(b"203.0.113.%d, 198.51.100.99" % number)).status for number in range(10)]
    assert 429 in spoofed


def test_a_client_behind_a_trusted_proxy_has_so_many_requests_at_a_time(start):
    live = start("--per-address", "2", "--trusted-proxies", "127.0.0.1")

    def upload(forwarded_for: bytes) -> Wire:
        wire = live.connect()
        lines = (b"X-Forwarded-For: " + forwarded_for, b"Expect: 100-continue", b"Content-Length: 5")
        wire.send(post(*lines, target=b"/patient"))
        return wire

    first, second = upload(b"198.51.100.7"), upload(b"203.0.113.9, 198.51.100.7")
    assert (first.answer().status, second.answer().status) == (100, 100)
    answer = upload(b"198.51.100.7").answer()
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert b"more than 2 requests at a time from your address" in answer.body
    others = [upload(b"198.51.100.8") for _ in range(2)]
    assert [other.answer().status for other in others] == [100, 100]  # of one proxy these are four connections
    first.send(b"hello")
    assert first.answer().status == 200
    wait_until(lambda: upload(b"198.51.100.7").answer().status == 100, "there is room again")


# The second port, such as metrics_port


def count_sockets(live: Live) -> int:
    descriptors = Path(f"/proc/{live.process.pid}/fd").iterdir()
    return sum(str(descriptor.readlink()).startswith("socket:") for descriptor in descriptors)


def test_the_second_port_accepts_only_what_it_can_serve(start):
    live = start("--side", "--set", "serve.green.SIDE_CONNECTIONS=3")
    before = count_sockets(live)
    silent = [live.connect(live.side_ports[0]) for _ in range(20)]
    wait_until(lambda: count_sockets(live) == before + 3, "three connections are accepted")
    time.sleep(0.3)
    assert count_sockets(live) == before + 3
    with live.connect(live.side_ports[0]) as wire:  # the silent ones have to go, one after the other
        live.ask(request())
        for other in silent[4:]:
            other.sock.close()
        wire.send(request())
        assert wire.answer().status == 200


@pytest.mark.parametrize("second", [False, True], ids=["first", "second"])
def test_a_port_waits_when_there_are_no_descriptors(start, second):
    live = start("--side")
    port = live.side_ports[0] if second else live.port
    soft, hard = resource.prlimit(live.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(live.process.pid, resource.RLIMIT_NOFILE, (3, hard))  # those that are open stay open
    with live.connect(port) as wire:
        wire.send(request())
        wait_until(lambda: "cannot accept a connection" in live.log(), "the log says so")
        started = processor_seconds(live)
        time.sleep(1)
        assert processor_seconds(live) - started < 0.5
        resource.prlimit(live.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert wire.answer().status == 200


def processor_seconds(live: Live) -> float:
    fields = Path(f"/proc/{live.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_second_port_has_the_timeouts_of_the_first(start):
    live = start("--side", "--client-timeout", "1", "--keepalive-timeout", "2")
    with live.connect(live.side_ports[0]) as wire, live.connect(live.side_ports[0]) as silent:
        wire.send(b"GET / HTTP/1.1\r\n")
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert b"1 seconds (client_timeout)" in answer.body
        assert silent.is_closed()


# Workers


def workers_of(live: Live) -> set[int]:
    return {
        int(pid) for pid in Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children").read_text().split()
    }


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def serving(live: Live) -> int:
    """The process that answers."""
    return int(re.search(rb'"pid": (\d+)', live.ask(request()).body)[1])


def test_workers_serve_and_their_parent_does_not(start):
    live = start("--workers", "2")
    assert len(workers_of(live)) == 2
    assert serving(live) in workers_of(live)


def test_a_dead_worker_is_replaced(start):
    live = start("--workers", "2", "--set", "serve.workers.RESPAWN_PAUSE=0.1")
    before = workers_of(live)
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(workers_of(live) | before) == 3 and len(workers_of(live)) == 2, "there are two again")
    (new,) = workers_of(live) - before
    os.kill(max(before), signal.SIGKILL)
    wait_until(lambda: serving(live) == new, "the new one serves")
    live.signal(signal.SIGTERM)
    assert live.process.wait(PATIENCE) == 0
    assert has_ended(new)


def test_workers_end_with_their_parent_and_finish_what_runs(start):
    live = start("--workers", "2")
    pids = workers_of(live)
    with running(live) as wire:
        os.kill(live.process.pid, signal.SIGKILL)
        live.process.wait(PATIENCE)
        wait_until(lambda: sum(map(has_ended, pids)) == 1, "the idle one ends")
        wire.send(b"hello")
        assert wire.answer().body == b"done"
    wait_until(lambda: all(map(has_ended, pids)), "the other ends")


def test_a_second_signal_reaches_the_workers_too(start):
    live = start("--workers", "1", "--grace", "0.1")
    with running(live) as wire:
        live.signal(signal.SIGHUP)
        wait_until(lambda: "finishing" in live.log(), "it drains")
        live.signal(signal.SIGTERM)
        assert wire.is_closed()
    assert live.process.wait(PATIENCE) == 0
