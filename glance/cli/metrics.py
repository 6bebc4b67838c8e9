# SPDX-License-Identifier: Apache-2.0
"""Figures of a daemon for Prometheus, on a port of their own; of all workers together, whichever answers.

With workers, each writes its figures into files of a folder that prometheus_client reads them all from; the library
learns of the folder by an environment variable, which must be set before it is imported."""

import os
import shutil
import tempfile
from types import TracebackType
from typing import TYPE_CHECKING, Self

from glance.serve.connection import Exchange

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
APIS = ("v1", "v2", "images", "records", "healthcheck")  # first segments of paths that are told apart
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """Collected while this is entered. `app` shows them."""

    def __init__(self, workers: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="glance-metrics-") if workers else None
        os.environ.pop(FOLDER, None)  # a predecessor's
        if self._folder is not None:
            os.environ[FOLDER] = self._folder
        import prometheus_client  # late, for the folder, and because most daemons do not need it
        from prometheus_client import multiprocess

        registry = prometheus_client.REGISTRY
        names = ("api", "method")
        self._requests = prometheus_client.Counter("glance_requests", "Requests answered.", (*names, "status"))
        self._seconds = prometheus_client.Histogram(
            "glance_request_seconds", "Time from a request to the end of its answer.", names, buckets=SECONDS
        )
        self._received = prometheus_client.Counter("glance_received_bytes", "Bytes of request bodies.")
        self._sent = prometheus_client.Counter("glance_sent_bytes", "Bytes of answers' bodies.")
        self._broken = prometheus_client.Counter("glance_broken_answers", "Answers that ended before their end.")
        if self._folder is not None:
            registry = prometheus_client.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        self.app: WSGIApplication = prometheus_client.make_wsgi_app(registry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def observe(self, exchange: Exchange) -> None:
        first = exchange.path.strip("/").partition("/")[0]
        api = first if first in APIS else "other"
        method = exchange.method if exchange.method in METHODS else "other"  # what clients name must not pile up here
        self._requests.labels(api, method, exchange.status or "none").inc()
        self._seconds.labels(api, method).observe(exchange.seconds)
        self._received.inc(exchange.received)
        self._sent.inc(exchange.sent)
        if exchange.broken:
            self._broken.inc()
