# SPDX-License-Identifier: Apache-2.0
"""Green threads resolve names with the system's resolver, while the others go on.

Each script runs in a process of its own, because eventlet patches the whole of it. The system's resolver is one that
waits until another green thread has run: it would never answer if it were called in the thread of the hub.
"""

import subprocess
import sys
import textwrap

import pytest

HEAD = """
import warnings
warnings.filterwarnings("ignore", message=r"(?s).*Eventlet is deprecated")
from glance.serve import green
from eventlet import patcher

system, threading, time = (patcher.original(name) for name in ("socket", "threading", "time"))
may_answer = threading.Event()
main, asked = threading.get_ident(), []
known, real = {}, system.getaddrinfo

def getaddrinfo(host, port, *rest, **options):
    asked.append((host, threading.get_ident() == main))
    if host in known:
        assert may_answer.wait(20), "the hub is blocked"
        return [entry for each in known[host] for entry in real(each, port, *rest, **options)]
    return real(host, port, *rest, **options)

system.getaddrinfo = getaddrinfo
green.patch()

import eventlet, socket, sys
def do(function, *arguments):
    thread = eventlet.spawn(function, *arguments)
    eventlet.spawn(may_answer.set)
    return thread.wait()

"""


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_order_of_the_system_is_kept_and_the_hub_goes_on() -> None:
    run("""
        known["many.example"] = ["127.0.0.2", "::1", "127.0.0.1"]
        found = do(socket.getaddrinfo, "many.example", 80, 0, socket.SOCK_STREAM)
        assert [entry[4][0] for entry in found] == known["many.example"], found
        assert asked == [("many.example", False)], asked
        assert not any(name.partition(".")[0] == "dns" for name in sys.modules)
    """)


def test_addresses_and_the_main_thread_need_no_other_thread() -> None:
    run("""
        for host in ("127.0.0.1", "::1", None):
            do(socket.getaddrinfo, host, 80)
        socket.getaddrinfo("localhost", 80)
        assert len(asked) == 4 and all(here for _, here in asked), asked
    """)


def test_errors_are_those_of_the_system() -> None:
    run("""
        try:
            do(socket.getaddrinfo, "a" * 64 + ".invalid", 80)
        except (socket.gaierror, UnicodeError):
            pass
        else:
            raise AssertionError
    """)


@pytest.mark.parametrize(
    "connect",
    [
        "socket.create_connection(('many.example', port), 5)",
        "http.client.HTTPConnection('many.example', port, timeout=5).connect()",
        "requests.get(f'http://many.example:{port}/', timeout=5)",
        "keystoneauth1.session.Session(timeout=5).get(f'http://many.example:{port}/', authenticated=False)",
        "swiftclient.client.HTTPConnection(f'http://many.example:{port}/', timeout=5).request('GET', '/')",
        "botocore.httpsession.URLLib3Session(timeout=5).send(botocore.awsrequest.AWSRequest('GET', "
        "f'http://many.example:{port}/').prepare())",
    ],
)
def test_clients_resolve_in_this_way_and_try_all_addresses(connect: str) -> None:
    run(f"""
        import http.client, requests, keystoneauth1.session, swiftclient.client, botocore.httpsession, botocore.awsrequest
        known["many.example"] = ["127.0.0.2", "127.0.0.1"]
        server = socket.create_server(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def answer():
            sock, _ = server.accept()
            sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")

        eventlet.spawn(answer)
        do(lambda: {connect})
        assert ("many.example", False) in asked, asked
    """)


def test_workers_resolve_after_a_fork() -> None:
    run("""
        import os
        known["many.example"] = ["127.0.0.1"]
        do(socket.getaddrinfo, "many.example", 80)
        pid = os.fork()
        if not pid:
            from eventlet import hubs
            hubs.use_hub()
            found = eventlet.spawn(socket.getaddrinfo, "many.example", 80).wait()
            os._exit(0 if found else 1)
        assert os.waitpid(pid, 0)[1] == 0
    """)
