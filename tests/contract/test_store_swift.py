# SPDX-License-Identifier: Apache-2.0
"""What every Store promises, of Swift; then what Swift adds: segments, tokens, retries, secrets."""

import dataclasses
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from glance.core.errors import BlobMissing, BrokenUpload, Duplicate, Mismatch, OutsideStore, StoreDown, StoreFull
from glance.core.inline import INLINE
from glance.core.ports import Source, Store
from glance.store.swift import Account, Login, SwiftStore
from tests.contract.test_store import (  # noqa: F401 - the suite of all stores runs here, too
    DATA,
    put,
    read,
    test_a_check_leaves_nothing,
    test_a_location_is_a_url_of_the_stores_own_schemes,
    test_a_name_that_might_mean_a_path_is_refused,
    test_a_source_that_raises_leaves_nothing_and_keeps_its_error,
    test_all_that_lies_there_is_told,
    test_any_number_of_bytes,
    test_deleting_what_is_gone_is_no_error,
    test_names_do_not_mix,
    test_nothing_is_overwritten,
    test_nothing_is_visible_before_the_end,
    test_of_two_puts_at_once_one_wins,
    test_parts,
    test_parts_that_end_with_the_whole_or_are_empty,
    test_what_is_deleted_is_gone,
    test_what_is_put_is_read,
    test_whatever_ends_a_put_leaves_nothing,
)
from tests.fakes.store import BytesSource
from tests.servers.interceptor import CORRUPT, CUT, LOST, RESET, Interceptor, intercepting
from tests.servers.swift import Swift

SEGMENTS = {"large_object_size": 3000, "small": 0}
STREAMED = {"small": 0}


class Announcing(SwiftStore):
    """Puts with the size that the source will have; one that will be cut announces more."""

    def put(self, name: str, source: Source, *, size: int | None) -> str:
        if isinstance(source, BytesSource):
            size = source._stream.getbuffer().nbytes + (1 if source._cut else 0)
        return super().put(name, source, size=size)


def login_to(swift: Swift, port: int | None = None, **changed: Any) -> Login:
    address = f"http://127.0.0.1:{port or swift.port}/auth/v1.0"
    return dataclasses.replace(Login(address=address, user=swift.user, key=swift.key, timeout=20), **changed)


def make(swift: Swift, port: int | None = None, kind: type[SwiftStore] = SwiftStore, **changed: Any) -> SwiftStore:
    """A store on a container of its own."""
    account = changed.pop("account", None) or Account(login_to(swift, port), backoff=0.01)
    named = {"container": f"images-{uuid.uuid4()}", "create_container_on_put": True, **changed}
    return kind(account, **named)


def objects(store: SwiftStore) -> list[str]:
    return sorted(store._container.listed(""))


@pytest.fixture(params=["whole", "streamed", "segments", "nested"])
def store(request: pytest.FixtureRequest, swift: Swift) -> Store:
    if request.param == "streamed":
        return make(swift, kind=Announcing, **STREAMED)
    if request.param == "whole":
        return make(swift)
    size = 200_000 if "any_number" in request.node.name else 3000  # that test takes much more than the others
    return make(swift, large_object_size=size, small=0, manifest=1000 if request.param == "segments" else 2)


@pytest.fixture
def held(store: SwiftStore) -> Callable[[], list[str]]:
    """The images, and every segment that belongs to none."""

    def names() -> list[str]:
        found = objects(store)
        images = [name for name in found if "/" not in name]
        return images + [name for name in found if "/" in name and name.partition("/")[0] not in images]

    return names


@pytest.fixture
def between(swift: Swift) -> Iterator[Interceptor]:
    with intercepting(swift.port) as server:
        yield server


# Segments


def test_segments_lie_under_the_image_and_the_manifest_names_no_host(swift):
    store = make(swift, **SEGMENTS)
    location = put(store)
    found = objects(store)
    assert found[0] == "1"
    assert [name.rpartition("/")[2] for name in found[1:]] == [f"{number:08d}" for number in range(1, 5)]
    assert location == f"swift://{store._container.name}/1"
    assert read(store, location) == DATA


def test_a_manifest_of_manifests_is_deleted_with_all_its_segments(swift):
    store = make(swift, **SEGMENTS, manifest=2)
    location = put(store)
    assert len(objects(store)) == 1 + 4 + 2
    store._container.listed = lambda prefix: iter(())  # a listing that lags behind
    assert len(store._container.segments("1")) == 6
    store.delete(location)
    del store._container.listed
    assert objects(store) == []


def test_segments_of_a_crashed_upload_go_with_the_image(swift):
    store = make(swift)
    location = put(store)
    store._container.put("1/crashed/00000001", b"left", {})
    store._container.put("10/other/00000001", b"another image's", {})
    store.delete(location)
    assert objects(store) == ["10/other/00000001"]


def test_segments_are_told_as_parts_of_their_image(swift):
    store = make(swift, manifest=2, **SEGMENTS)
    location = put(store)
    store._container.put("another/program/0001", b"x", {})
    own, others = [], []
    for held in store.held():
        (own if held.location == location else others).append(held)
    assert [(held.name, held.size, held.whole) for held in own if held.whole] == [("1", len(DATA), True)]
    parts = [held for held in own if not held.whole]
    assert {held.name for held in parts} == {"1"}
    assert sum(held.size for held in parts) == len(DATA)
    assert [(held.name, held.whole) for held in others] == [("another/program/0001", True)]


def test_a_container_without_leave_to_make_it_is_missing_before_a_byte_is_read(swift):
    class Unread(BytesSource):
        def read(self, size: int, /) -> bytes:
            raise AssertionError("read")

    store = make(swift, create_container_on_put=False)
    with pytest.raises(StoreDown, match="container is missing"):
        store.put("1", Unread(), size=5)
    with pytest.raises(BlobMissing):
        store.open(f"swift://{store._container.name}/1")
    store.delete(f"swift://{store._container.name}/1")


def test_containers_are_read_by_nobody_else(swift):
    store = make(swift)
    put(store)
    container = store._container
    _, headers, _ = container._account.ask("HEAD", container._path(), good=(204,))
    assert "X-Container-Read" not in headers
    assert "X-Container-Write" not in headers


@pytest.mark.parametrize("size", [0, 1, 2999, 3000, 3001, 6000, 8999, 9000, 9001])
@pytest.mark.parametrize("announced", [True, False])
def test_sizes_about_the_edges_of_segments(swift, size, announced):
    store = make(swift, large_object_size=6000, large_object_chunk_size=3000, small=1000)
    data = os.urandom(size)
    location = store.put("1", BytesSource(data), size=size if announced else None)
    assert read(store, location) == data
    store.delete(location)
    assert objects(store) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=20_000), block=st.integers(1, 5000), announced=st.booleans(), start=st.integers(0, 21_000), length=st.integers(0, 21_000))  # fmt: skip
def test_any_bytes_in_any_blocks(swift, data, block, announced, start, length):
    store = make(swift, large_object_size=9000, large_object_chunk_size=4001, small=2000)
    location = store.put("1", BytesSource(data, block=block), size=len(data) if announced else None)
    assert read(store, location) == data
    assert read(store, location, start=start, length=length) == data[start : start + length]


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_a_source_that_breaks_its_promise_is_not_kept(swift, size):
    store = make(swift, **STREAMED)
    with pytest.raises(Mismatch):
        store.put("1", BytesSource(DATA), size=size)
    assert objects(store) == []


def test_an_upload_that_comes_second_to_a_streamed_one_does_not_overwrite(swift):
    """Swift itself looks only when a PUT begins."""
    store = make(swift, **STREAMED)

    class Interrupted(BytesSource):
        def read(self, size: int, /) -> bytes:
            block = super().read(size)
            if not block:
                put(store, b"first")
            return block

    with pytest.raises(Duplicate):
        store.put("1", Interrupted(DATA), size=len(DATA))
    assert objects(store) == ["1"]
    assert read(store, f"swift://{store._container.name}/1") == b"first"


# Faults of Swift and of the network


@pytest.mark.parametrize(("kind", "part", "how"), [
    *[("whole", "/1", how) for how in (503, 500, 408, RESET, LOST, CORRUPT)],
    *[("segments", "/00000002", how) for how in (503, 500, 408, RESET, LOST, CORRUPT)],
    *[("segments", "multipart-manifest=put", how) for how in (503, 500, 408, RESET, LOST)],
])  # fmt: skip
def test_one_failure_is_got_over(swift, between, kind, part, how):
    store = make(swift, between.port, **(SEGMENTS if kind == "segments" else {}))
    between.break_once("PUT", part, how)
    location = put(store)
    assert read(store, location) == DATA
    assert len(objects(store)) == (5 if kind == "segments" else 1)


@pytest.mark.parametrize("how", [503, RESET, LOST, 507, 413])
@pytest.mark.parametrize(("kind", "part"), [("whole", "/1"), ("streamed", "/1"), ("segments", "/00000003"), ("segments", "multipart-manifest=put")])  # fmt: skip
def test_failures_that_last_leave_nothing(swift, between, kind, part, how):
    store = make(swift, between.port, **{"whole": {}, "streamed": STREAMED, "segments": SEGMENTS}[kind])
    between.break_once("PUT", part, how, times=100)
    with pytest.raises(StoreFull if how in (507, 413) else StoreDown) as caught:
        store.put("1", BytesSource(DATA), size=len(DATA) if kind == "streamed" else None)
    assert swift.key not in repr(caught.value)
    between.rule = lambda method, path: None
    assert objects(store) == []


def test_what_cannot_be_deleted_is_deleted_later(swift, between):
    store = make(swift, between.port, **SEGMENTS)

    def rule(method: str, path: str) -> int | None:
        return 503 if method == "DELETE" or path.endswith("/00000003") else None

    between.rule = rule
    with pytest.raises(StoreDown):
        put(store)
    assert objects(store) != []
    between.rule = lambda method, path: None
    put(store, b"", name="2")
    assert objects(store) == ["2"]


def test_a_delete_that_failed_is_finished_by_the_next(swift, between):
    store = make(swift, between.port, **SEGMENTS)
    location = put(store)
    between.break_once("DELETE", "/0000000", 503, after=2, times=100)
    with pytest.raises(StoreDown):
        store.delete(location)
    assert "1" in objects(store)
    between.rule = lambda method, path: None
    with pytest.raises(BlobMissing):
        store.open(location)
    store.delete(location)
    assert objects(store) == []


def test_bytes_that_break_off_do_not_end_as_if_whole(swift, between):
    store = make(swift, between.port)
    location = put(store)
    between.break_once("GET", "/1", CUT)
    blob = store.open(location)
    with pytest.raises(StoreDown):
        b"".join(blob)
    blob.close()
    assert read(store, location) == DATA


def test_bytes_damaged_on_the_way_are_not_kept(swift, between):
    store = make(swift, between.port, **STREAMED)
    between.break_once("PUT", "/1", CORRUPT)
    with pytest.raises(StoreDown, match="other bytes"):
        store.put("1", BytesSource(DATA), size=len(DATA))
    assert objects(store) == []


def test_uploads_broken_anywhere_leave_nothing(swift):
    store = make(swift, **SEGMENTS)

    def broken(number: int) -> None:
        with pytest.raises(BrokenUpload):
            put(store, os.urandom(number * 997), name=str(number), cut=True)

    threads = [threading.Thread(target=broken, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert objects(store) == []


# Tokens


def test_a_token_serves_many_requests_and_is_renewed_when_it_ends(swift, between):
    account = Account(login_to(swift, between.port), backoff=0.01)
    store = make(swift, account=account)
    location = put(store)
    logins = [path for _, path, _ in between.seen if path.startswith("/auth")]
    assert len(logins) == 1
    url, _ = account._access
    for _ in range(2):
        account._access = (url, "AUTH_tkended")
        assert read(store, location) == DATA
    account._access = (url, "AUTH_tkended")
    store.put("2", BytesSource(DATA), size=len(DATA))
    account._access = (url, "AUTH_tkended")
    store.delete(location)
    assert objects(store) == ["2"]


@pytest.mark.parametrize("changed", [{"key": "secret-wrong-key"}, {"user": "test:nobody"}, {"user": "no:tester"}])
def test_wrong_keys(swift, changed, caplog):
    caplog.set_level(logging.DEBUG)
    store = make(swift, account=Account(login_to(swift, **changed), backoff=0.01))
    for act in (put, lambda store: store.open(f"swift://{store._container.name}/1")):
        with pytest.raises(StoreDown, match="refuses this server's user"):
            act(store)
    assert "secret-wrong-key" not in caplog.text
    assert "login" in caplog.text


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/auth/v1.0", "http://nowhere.invalid/auth/v1.0"])
def test_nobody_there(swift, address, caplog):
    caplog.set_level(logging.INFO)
    store = make(swift, account=Account(login_to(swift, address=address), backoff=0.01))
    with pytest.raises(StoreDown) as caught:
        put(store)
    for text in (str(caught.value), caplog.text):
        assert "http" not in text
        assert "/auth" not in text
    assert "ConnectionRefusedError" in caplog.text or "gaierror" in caplog.text


# Secrets


@pytest.mark.parametrize("kind", [{}, STREAMED, SEGMENTS], ids=["whole", "streamed", "segments"])
def test_secrets_stay_here(swift, between, kind, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("swiftclient", "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    store = make(swift, between.port, **kind)
    texts = []
    location = put(store)
    texts.append(location)
    read(store, location)
    token = store._container._account._access[1]
    for status in (401, 403, 404, 500, 503, 302):
        between.rule = lambda method, path, status=status: None if path.startswith("/auth") else status
        for act in (lambda: put(store, name="2"), lambda: store.open(location), lambda: store.delete(location)):
            try:
                act()
                assert status == 404  # what is gone needs no deleting
            except (StoreDown, BlobMissing) as error:
                texts.append(repr(error))
    token_after = store._container._account._access[1]
    secrets = (swift.key, token, token_after, token[8:20])
    assert not [secret for secret in secrets if secret in caplog.text]
    # urllib3 tells hosts and paths at DEBUG, to those who ask for it; nobody else does.
    texts += [record.getMessage() for record in caplog.records if not record.name.startswith("urllib3")]
    for text in texts:
        assert not [word for word in (*secrets, "AUTH_test", "127.0.0.1", str(between.port)) if word in text], text


@pytest.mark.parametrize("location", [
    "swift://other/1", "swift://{0}/../other/1", "swift://{0}/1/x", "swift://{0}/", "swift://{0}", "swift://user:key@host/{0}/1", "SWIFT://{0}/1",
    "swift+http://{0}/1", "swift://{0}/1?multipart-manifest=get", "swift://{0}/%31", "swift://{0}//1", "",
])  # fmt: skip
def test_a_location_outside_is_neither_read_nor_deleted(swift, location):
    store = make(swift)
    put(store)
    with pytest.raises(OutsideStore):
        store.open(location.format(store._container.name))
    with pytest.raises(StoreDown):
        store.delete(location.format(store._container.name))
    assert objects(store) == ["1"]


@pytest.mark.parametrize("name", ["with space", "ü漢", "100%25", "a?b#c", "a&b=c"])
def test_any_container(swift, name):
    store = make(swift, container=f"{name}{uuid.uuid4()}", **SEGMENTS)
    location = put(store)
    assert location.isascii()
    assert read(store, location) == DATA
    store.delete(location)
    assert objects(store) == []


@pytest.mark.parametrize(("changed", "match"), [
    ({"version": "4"}, "1, 2 or 3"), ({"user": "tester"}, "tenant:user"), ({"address": "127.0.0.1:5000"}, "URL"), ({"address": ""}, "URL"),
])  # fmt: skip
def test_logins_that_cannot_work(changed, match):
    good = Login(address="http://127.0.0.1/auth/v1.0", user="a:b", key="secret")
    with pytest.raises(ValueError, match=match) as caught:
        dataclasses.replace(good, **changed)
    assert "secret" not in repr(caught.value) + repr(good)


@pytest.mark.parametrize(
    "changed", [{"container": ""}, {"container": "a/b"}, {"container": "x" * 257}, {"large_object_chunk_size": 0}]
)
def test_stores_that_cannot_work(changed):
    with pytest.raises(ValueError, match=r"swift_store|container"):
        SwiftStore(Account(Login(address="http://127.0.0.1/auth/v1.0", user="a:b", key="secret")), **changed)


def test_unchecked_certificates_are_logged_loud(caplog):
    Account(Login(address="https://127.0.0.1/auth/v1.0", user="a:b", key="secret", insecure=True))
    assert "NOT checked" in caplog.text


def test_a_check_of_a_missing_container(swift):
    store = make(swift, create_container_on_put=True)
    store.check(INLINE)  # the first upload makes it
    assert not store._container.exists()
    with pytest.raises(StoreDown, match="container is missing"):
        make(swift, create_container_on_put=False).check(INLINE)


@pytest.mark.parametrize(
    ("headers", "kept"),
    [({}, False), ({"X-Versions-Enabled": "True"}, True), ({"X-Versions-Location": "archive"}, True), ({"X-History-Location": "archive"}, True)],
)  # fmt: skip
def test_a_container_that_keeps_versions_is_told(swift, monkeypatch, headers, kept):
    """By its headers: the Swift of the tests has no versions."""
    store = make(swift)
    store.prepare()
    true_ask = store._container._account.ask

    def ask(*arguments, **named):
        status, answered, body = true_ask(*arguments, **named)
        return status, CaseInsensitiveDict({**answered, **headers}), body

    monkeypatch.setattr(store._container._account, "ask", ask)
    told = store.try_abilities()
    assert [("space is not freed" in each) for each in told] == [True] * kept
