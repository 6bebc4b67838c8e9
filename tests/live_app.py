# SPDX-License-Identifier: Apache-2.0
"""A small WSGI application on glance.serve, as a program: tests/functional talks to it over raw sockets.

It prints its port when it answers, and its log goes to standard error. `--set serve.connection.HEAD_TIMEOUT=1`
changes a constant of a module of glance.
"""

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import logging
import os
import warnings
from pathlib import Path
from urllib.parse import unquote


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--grace", type=float, default=10)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--keepalive-timeout", type=float, default=75)
    parser.add_argument("--client-timeout", type=float, default=60)
    parser.add_argument("--least-rate", type=int, default=0)
    parser.add_argument("--per-address", type=int, default=0)
    parser.add_argument("--trusted-proxies", default="")
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--side", action="store_true", help="serve on a second port as well, which is printed, too")
    parser.add_argument("--tls", metavar="CERT[,CA]")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=r"(?s).*Eventlet is deprecated")
    from glance.serve import green

    green.patch()
    logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s %(message)s")
    for setting in options.set:
        name, _, value = setting.partition("=")
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(f"glance.{module}"), constant, type_of(value))
    from glance.core.networks import Networks
    from glance.serve.listening import listen
    from glance.serve.tls import Tls

    cert, _, ca = (options.tls or "").partition(",")
    cert, ca = Path(cert) if cert else None, Path(ca) if ca else None
    (sock,) = listen("127.0.0.1", 0, backlog=100)
    socks = [sock, *(listen("127.0.0.1", 0, backlog=100) if options.side else ())]
    ports = [sock.getsockname()[1] for sock in socks]
    with contextlib.ExitStack() as stack:
        for opened in socks:
            stack.enter_context(opened)
        green.run(
            app,
            [sock],
            workers=options.workers,
            grace=options.grace,
            limits=green.Limits(
                connections_per_address=options.per_address,
                keepalive_timeout=options.keepalive_timeout,
                client_timeout=options.client_timeout,
                least_rate=options.least_rate,
                trusted_proxies=Networks(options.trusted_proxies),
                rate=options.rate,
                burst=options.burst,
            ),
            tls=Tls(cert, ca=ca) if cert else None,
            side=green.Side(app=app, sockets=socks[1:]) if options.side else None,
            on_ready=lambda: print(*ports, flush=True),
        )


def type_of(value: str) -> float:
    return float(value) if "." in value else int(value)


def app(environ, start_response):
    """The first segment of the path names what is done; the query is its argument, percent-decoded."""
    name = environ["PATH_INFO"].strip("/").partition("/")[0]
    return DEEDS.get(name, echo)(environ, start_response, unquote(environ["QUERY_STRING"]))


def answer(start_response, body: bytes, status: str = "200 OK", headers: tuple = ()):
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return [body]


def echo(environ, start_response, argument):
    """Reads the body to its end and tells what came."""
    digest = hashlib.sha256()
    length = 0
    try:
        while block := environ["wsgi.input"].read(65_536):
            digest.update(block)
            length += len(block)
    except (OSError, ValueError) as error:
        return answer(start_response, f"{type(error).__name__} after {length}: {error}".encode(), "400 Bad Request")
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    told = {"environ": seen, "length": length, "sha256": digest.hexdigest(), "pid": os.getpid()}
    return answer(start_response, json.dumps(told).encode(), headers=(("X-Openstack-Request-Id", "req-echo"),))


def refuse(environ, start_response, argument):
    """Answers without a look at the body."""
    return answer(start_response, b"no", "404 Not Found")


def read(environ, start_response, argument):
    """Reads so many bytes of the body, by one of the methods that PEP 3333 names."""
    how, _, size = argument.partition(",")
    stream = environ["wsgi.input"]
    got = b"|".join(stream) if how == "iter" else getattr(stream, how)(*([int(size)] if size else []))
    return answer(start_response, b"|".join(got) if isinstance(got, list) else got)


def header(environ, start_response, argument):
    name, _, value = argument.partition("=")
    return answer(start_response, b"sent", headers=((name, value),))


def status(environ, start_response, argument):
    return answer(start_response, b"", argument)


def stream(environ, start_response, argument):
    """So many blocks of 1000 bytes, without a length."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"x" * 1000 for _ in range(int(argument)))


def announce(environ, start_response, argument):
    """Announces 10 bytes and gives so many."""
    start_response("200 OK", [("Content-Length", "10")])
    return iter([b"x" * int(argument)])


def counted(environ, start_response, argument):
    """Announces 10 bytes and would give 1000; tells how many blocks were taken."""
    if argument == "tell":
        return answer(start_response, str(len(TAKEN)).encode())
    TAKEN.clear()
    start_response("200 OK", [("Content-Length", "10")])
    return (TAKEN.append(number) or b"x" * 10 for number in range(100))


def fail(environ, start_response, argument):
    if argument == "late":
        write = start_response("200 OK", [("Content-Length", "10")])
        write(b"12345")
    raise RuntimeError("secret")


def written(environ, start_response, argument):
    write = start_response("200 OK", [])
    write(b"by write, ")
    return [b"", b"by iteration"]


def talk(environ, start_response, argument):
    """Answers first and reads the body then."""
    write = start_response("200 OK", [("Content-Length", "10")])
    write(b"first")
    return iter([environ["wsgi.input"].read()])


def file(environ, start_response, argument):
    """path,start,length by wsgi.file_wrapper; "" for the path: a file that is none; no length: none is told."""
    path, start, length = argument.split(",")
    opened = Path(path).open("rb") if path else io.BytesIO(b"0123456789")  # noqa: SIM115 - the wrapper closes it
    opened.seek(int(start))
    start_response("200 OK", [("Content-Length", length)] if length else [])
    return environ["wsgi.file_wrapper"](opened)


def threads(environ, start_response, argument):
    """Hashes the body in a native thread."""
    offered = environ["glance.threads"]
    digest = hashlib.sha256()
    lane = offered.lane(digest.update)
    while block := environ["wsgi.input"].read(1000):
        lane.put(block)
    lane.finish()
    return answer(start_response, digest.hexdigest().encode())


def block(environ, start_response, argument):
    """Blocks a native thread until somebody writes to this FIFO."""
    text = environ["glance.threads"].call(lambda: Path(argument).read_bytes())
    return answer(start_response, text)


def patient(environ, start_response, argument):
    """Reads the body, and tells the log if it is not let."""
    try:
        environ["wsgi.input"].read()
    except BaseException as error:
        logging.info("cleaned up after %s", type(error).__name__)
        raise
    return answer(start_response, b"done")


TAKEN: list[int] = []  # by `counted`
DEEDS = {
    deed.__name__: deed
    for deed in (refuse, read, header, status, stream, announce, counted, fail, written, talk, file, threads, block, patient)
}  # fmt: skip

if __name__ == "__main__":
    main()
