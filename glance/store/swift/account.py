# SPDX-License-Identifier: Apache-2.0
"""One account of a Swift, over HTTP: connections, retries, and another login when a token ends.

python-swiftclient holds the connections; the few requests of the object API are made here, because its functions
send a body that they cannot measure in chunks, and put URLs and bodies into their errors.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import urllib3

from glance.core.errors import GlanceError, StoreDown, StoreFull
from glance.store import reach
from glance.store.parts import Part
from glance.store.swift import faults
from glance.store.swift.faults import AGAIN, NoAnswer
from glance.store.swift.login import Login

LOG = logging.getLogger(__name__)

TRIES = 4  # of a request that may be sent again
BACKOFF = 0.5  # seconds before the second try; doubles with each further one
CONNECT_TIMEOUT = 10  # seconds
IDLE = 16  # connections that are kept for later


class Body:
    """Bytes of a known number that come once and cannot be sent again."""

    def __init__(self, blocks: Iterable[bytes | memoryview], size: int) -> None:
        self._blocks = blocks
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        return iter(self._blocks)


Payload: TypeAlias = bytes | Part | Body  # of a request


class Answer:
    """An answer whose body is read by read(), to be closed."""

    def __init__(self, response: Any, where: str, done: Callable[[], None]) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.where = where  # for an advice to the operator
        self._response = response
        self._done: Callable[[], None] | None = done

    def read(self, size: int | None = None, /) -> bytes:
        """At most `size` bytes, b"" at the end. Raises StoreDown."""
        with faults.answering(self.where):
            return bytes(self._response.raw.read(size))

    def close(self) -> None:
        """Give the connection back, closed if there is more to read. May be called again."""
        done, self._done = self._done, None
        if done is not None:
            self._response.close()
            done()


class Account:
    """Logs in at the first request, and again when a token ends. `backoff`: seconds before the second try."""

    def __init__(self, login: Login, *, tries: int = TRIES, backoff: float = BACKOFF) -> None:
        self._login = login
        self._tries = tries
        self._backoff = backoff
        self._lock = threading.Lock()
        self._access: tuple[str, str] | None = None  # URL of the account, token
        self._idle: list[tuple[str, Any]] = []  # connections, each with the URL that it was made for
        if login.insecure:
            LOG.warning("swift store: swift_store_auth_insecure is set: the servers' certificates are NOT checked")
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # which would say so at each request

    def told(self) -> str:
        """Who is logged in, and where, in words for an operator. To be asked after a request."""
        login = self._login
        urls = (login.address, self._access[0]) if self._access else (login.address,)
        places = dict.fromkeys(reach.address(url) for url in urls)
        unchecked = ", certificates NOT checked (swift_store_auth_insecure)" if login.insecure else ""
        return f"{login.user} at {', Swift at '.join(places)}{unchecked}"

    def ask(
        self,
        method: str,
        path: str,
        *,
        good: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: Payload = b"",
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of an answer with one of the `good` statuses. Raises as open() does."""
        answer = self.open(method, path, good=good, headers=headers, body=body)
        try:
            return answer.status, answer.headers, answer.read()
        finally:
            answer.close()

    def open(
        self,
        method: str,
        path: str,
        *,
        good: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: Payload = b"",
    ) -> Answer:
        """An answer, its body unread. `path` is what follows the URL of the account, quoted.

        What went wrong is tried again with a growing pause, unless the body is a Body.
        Raises BlobMissing, Duplicate, StoreFull, StoreDown.
        """
        tries = 1 if isinstance(body, Body) else self._tries
        failure: GlanceError = StoreDown("Swift does not answer")
        for attempt in range(tries):
            if attempt:
                time.sleep(self._backoff * 2 ** (attempt - 1))
            try:
                answer = self._once(method, path, headers or {}, body)
            except NoAnswer as error:
                failure = error
                continue
            if answer.status in good:
                return answer
            failure = faults.failure(method, answer.status, answer.headers, answer.where)
            answer.close()
            if answer.status not in AGAIN:
                break
        if isinstance(failure, StoreDown | StoreFull):
            LOG.error("swift store, %s: %s", method, failure)
        raise failure

    def _once(self, method: str, path: str, headers: Mapping[str, str], body: Payload) -> Answer:
        """An answer, after another login if the token has ended. Raises NoAnswer, StoreDown."""
        access = self._enter(None)
        answer = self._exchange(access, method, path, headers, body)
        if answer.status != 401:
            return answer
        answer.close()
        access = self._enter(access)
        if isinstance(body, Body):
            raise StoreDown("Swift ended this server's session during an upload")
        return self._exchange(access, method, path, headers, body)

    def _enter(self, refused: tuple[str, str] | None) -> tuple[str, str]:
        """The URL of the account and a token, other ones than those refused. One thread logs in for all."""
        if not self._lock.acquire(timeout=self._login.timeout):
            raise NoAnswer("Swift does not answer: another request is still logging in")
        try:
            if self._access is None or self._access == refused:
                self._access = None
                with faults.logging_in(self._login.where, self._login.version):
                    self._access = self._login()
            return self._access
        finally:
            self._lock.release()

    def _exchange(
        self, access: tuple[str, str], method: str, path: str, headers: Mapping[str, str], body: Payload
    ) -> Answer:
        url, token = access
        connection = self._connection(url)
        if isinstance(body, Part):
            body = Body(body.views(), len(body)) if body else b""
        where = f"{reach.address(url)} (Swift, as its authentication names it){reach.via(self._login.proxy)}"
        try:
            with faults.answering(where):
                response = connection.request(
                    method, f"{urlsplit(url).path.rstrip('/')}{path}", body, {**headers, "X-Auth-Token": token}
                )
        except BaseException:
            connection.close()
            raise
        return Answer(response, where, lambda: self._keep(url, connection))

    def _keep(self, url: str, connection: Any) -> None:
        if len(self._idle) < IDLE:
            self._idle.append((url, connection))
        else:
            connection.close()

    def _connection(self, url: str) -> Any:
        """A connection for one thread at a time. The latest used comes first: it is the least likely to be stale."""
        while self._idle:
            known, connection = self._idle.pop()
            if known == url:
                return connection
            connection.close()
        return self._login.connect(url, (CONNECT_TIMEOUT, self._login.timeout))
