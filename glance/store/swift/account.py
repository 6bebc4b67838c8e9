# SPDX-License-Identifier: Apache-2.0
"""One account of a Swift, over HTTP: token, connections, retries, and what a failure means.

python-swiftclient logs in and holds the connections; the few requests of the object API are made here, because
its functions send a body that they cannot measure in chunks, and put URLs and bodies into their errors.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import urllib3

from glance.core.errors import GlanceError, StoreDown, StoreFull
from glance.store import reach
from glance.store.parts import Part
from glance.store.swift import faults
from glance.store.swift.faults import AGAIN, NoAnswer

LOG = logging.getLogger(__name__)

TRIES = 4  # of a request that may be sent again
BACKOFF = 0.5  # seconds before the second try; doubles with each further one
CONNECT_TIMEOUT = 10  # seconds
IDLE = 16  # connections that are kept for later
CHATTY = ("swiftclient", "keystoneauth")  # log parts of tokens, and URLs, below WARNING


@dataclass(frozen=True, slots=True)
class Login:
    """How to get a token. `user` is 'tenant:user'; region and domains are for versions 2 and 3 only."""

    address: str
    user: str
    key: str = field(repr=False)
    version: str = "1"
    region: str | None = None
    user_domain: str = "Default"
    project_domain: str = "Default"
    cacert: str | None = None
    insecure: bool = False  # takes any certificate
    timeout: float = 60  # seconds without an answer

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot work."""
        if self.version not in ("1", "2", "3"):
            raise ValueError("the version of Swift's authentication must be 1, 2 or 3")
        if urlsplit(self.address).scheme not in ("http", "https"):
            raise ValueError("Swift's authentication address must be an http:// or https:// URL")
        if not all(self.user.partition(":")):
            raise ValueError("Swift's user must be written as tenant:user")

    def __call__(self) -> tuple[str, str]:
        """The URL of the account, and a token. Raises what the libraries raise."""
        if self.version == "1":
            named: dict[str, Any] = {"cacert": self.cacert, "insecure": self.insecure, "timeout": self.timeout}
        else:
            named = {"session": self._session(), "os_options": {"region_name": self.region}}
        url, token = _client().get_auth(self.address, self.user, self.key, auth_version=self.version, **named)
        if not url or not token:
            raise StoreDown(
                "the authentication of Swift gave no account", advice=f"{self.where} knows of no Swift for this user"
            )
        return str(url), str(token)

    @property
    def where(self) -> str:
        """The server, for an advice to the operator."""
        return f"{reach.address(self.address)} (swift_store_auth_address)"

    def _session(self) -> Any:
        """A session with Keystone. swiftclient's own way to one is deprecated by the library that it uses."""
        from keystoneauth1.identity import V2Password, V3Password
        from keystoneauth1.session import Session

        tenant, _, user = self.user.partition(":")
        path = "v3" if self.version == "3" else "v2.0"
        address = self.address.rstrip("/")
        named: dict[str, Any] = {
            "auth_url": address if address.endswith(f"/{path}") else f"{address}/{path}",
            "username": user,
        }
        named["password"] = self.key
        if self.version == "2":
            auth: Any = V2Password(tenant_name=tenant, **named)
        else:
            domains: dict[str, Any] = {
                "user_domain_name": self.user_domain,
                "project_domain_name": self.project_domain,
            }
            auth = V3Password(project_name=tenant, **domains, **named)
        verify = not self.insecure and (self.cacert or True)
        return Session(auth=auth, verify=verify, timeout=self.timeout, redirect=False)


class Body:
    """Bytes of a known number that come once and cannot be sent again."""

    def __init__(self, blocks: Iterable[bytes | memoryview], size: int) -> None:
        self._blocks = blocks
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        return iter(self._blocks)


def _views(part: Part) -> Iterator[memoryview]:
    """What is to be sent. A green socket would copy the rest of bytes each time that it takes a bit of them."""
    for block in part.blocks:
        yield memoryview(block)
        time.sleep(0)  # others want their turn


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
                with faults.logging_in(self._login.where, self._login.version, self._login.region):
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
            body = Body(_views(body), len(body)) if body else b""
        where = f"{reach.address(url)} (Swift, as its authentication names it)"
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
        login = self._login
        limits = (CONNECT_TIMEOUT, login.timeout)
        connection = _client().HTTPConnection(
            url, cacert=login.cacert, insecure=login.insecure, timeout=limits, default_user_agent="glance"
        )
        connection.requests_args["allow_redirects"] = False  # a token goes to nobody but Swift
        return connection


def _client() -> Any:
    """The library; imported by those who use it only, and kept from telling secrets."""
    import swiftclient.client

    for name in CHATTY:
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:  # also when somebody has set it to DEBUG in the meantime
            logger.setLevel(logging.WARNING)
    return swiftclient.client
