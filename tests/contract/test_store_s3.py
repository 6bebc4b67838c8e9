# SPDX-License-Identifier: Apache-2.0
"""The S3 store against real servers: OpenStack Swift, which checks signatures, and moto. What every store promises,
what S3 adds to it, and what holds when the server or the way to it breaks."""

import logging
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.loaders import JSONFileLoader
from botocore.retries.standard import ExponentialBackoff

from glance.core.errors import BlobMissing, BrokenUpload, Duplicate, GlanceError, OutsideStore, StoreDown, StoreFull
from glance.core.inline import INLINE, Inline
from glance.core.probe import probe
from glance.store import parts as parts_module
from glance.store import s3, s3client
from glance.store.s3 import S3Store
from tests.contract.test_store import (  # noqa: F401 - the suite of all stores, run here with the fixtures below
    test_a_check_leaves_nothing,
    test_a_location_is_a_url_of_the_stores_own_schemes,
    test_a_name_that_might_mean_a_path_is_refused,
    test_a_reader_keeps_what_it_has_opened,
    test_a_source_that_raises_leaves_nothing_and_keeps_its_error,
    test_all_that_lies_there_is_told,
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
from tests.servers.moto import Moto
from tests.servers.proxy import Answer, CutAnswer, CutRequest, Deed, Proxy, Request, Stall

PART = 4000  # bytes
DATA = os.urandom(3 * PART + 1234)
SECRET = "secret-mark-5d2c"
ACCESS = "access-mark-77a1"

ONE_SERVER = pytest.mark.parametrize("server", ["moto"], indirect=True)  # the faster one, where it decides nothing


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    made = Moto(tmp_path_factory.mktemp("moto"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(params=["moto", "swift"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def bucket() -> str:
    return f"bucket-{uuid.uuid4()}"


@pytest.fixture
def make(server: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., S3Store]:
    """Makes stores on an empty bucket, with small parts."""
    monkeypatch.setattr(s3, "ABORT_PAUSES", (0, 0, 0))
    monkeypatch.setattr(s3, "LOST_PAUSE", 0.3)

    def make(host: str = server.s3_url, **given: Any) -> S3Store:
        keys = {"access_key": server.s3_access_key, "secret_key": server.s3_secret_key} | given
        store = S3Store(host, bucket=keys.pop("bucket", bucket), **{"create_bucket_on_put": True} | keys)
        store._part_size = PART
        return store

    return make


@pytest.fixture
def store(make: Callable[..., S3Store]) -> S3Store:
    return make()


@pytest.fixture(scope="module", autouse=True)
def _botocore_reads_its_files_once() -> Iterator[None]:
    """For each client it would read and decode a description of S3 anew, which takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", staticmethod(cache(JSONFileLoader().load_file)))
        yield


class Look:
    """What is really in the bucket, seen by botocore alone."""

    def __init__(self, server: Any, bucket: str) -> None:
        self.client: Any = botocore.session.Session().create_client(
            "s3", region_name="us-east-1", endpoint_url=server.s3_url,
            aws_access_key_id=server.s3_access_key, aws_secret_access_key=server.s3_secret_key,
        )  # fmt: skip
        self.bucket = bucket

    def names(self) -> list[str]:
        """Objects, and unfinished uploads as "unfinished NAME"."""
        try:
            objects = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
            uploads = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        except self.client.exceptions.NoSuchBucket:
            return []
        return [found["Key"] for found in objects] + [f"unfinished {found['Key']}" for found in uploads]


@pytest.fixture
def look(server: Any, bucket: str) -> Look:
    return Look(server, bucket)


@pytest.fixture
def held(look: Look) -> Callable[[], list[str]]:
    return look.names


@pytest.fixture
def proxy(server: Any) -> Iterator[Proxy]:
    made = Proxy("127.0.0.1", server.port)
    yield made
    made.close()


@pytest.fixture
def behind(
    make: Callable[..., S3Store],
    proxy: Proxy,
    look: Look,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> S3Store:
    """A store that reaches the server through the proxy; its bucket exists. It waits briefly where something is
    going to stall, and where not, long enough for a server that is busy with other things."""
    monkeypatch.setattr(s3client, "ATTEMPTS", 2)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.01)
    look.client.create_bucket(Bucket=look.bucket)
    return make(proxy.url, read_timeout=2 if "stall" in request.node.name else 20)


def put(store: S3Store, data: bytes = DATA, name: str = "1", *, size: int | None = None, **source: Any) -> str:
    return store.put(name, BytesSource(data, **source), size=size)


def read(store: S3Store, location: str, **part: int) -> bytes:
    blob = store.open(location, **part)
    try:
        return b"".join(blob)
    finally:
        blob.close()


# Bytes


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART - 1, 3 * PART, 7 * PART + 13])
def test_any_size_known_or_not(store, held, size, known):
    data = os.urandom(size)
    location = put(store, data, size=size if known else None, block=777)
    assert read(store, location) == data
    assert held() == ["1"]
    store.delete(location)
    assert held() == []
    assert store._budget.used == 0


@pytest.mark.parametrize(("size", "parts"), [(0, 0), (PART, 0), (PART + 1, 2), (3 * PART, 3)])
def test_one_request_or_parts(behind, proxy, size, parts):
    put(behind, os.urandom(size))
    assert proxy.count("PUT", "partNumber=") == parts
    assert proxy.count("POST", "uploadId=") == (parts > 0)
    assert proxy.count("PUT") == max(parts, 1)


def test_what_is_larger_than_large_object_size_goes_in_parts(behind, proxy):
    behind._largest_whole = 100
    location = put(behind, DATA[:101])
    assert proxy.count("PUT", "partNumber=1") == 1
    assert read(behind, location) == DATA[:101]


def test_growing_parts(store, held, monkeypatch):
    monkeypatch.setattr(parts_module, "GROWTH", 2)
    monkeypatch.setattr(parts_module, "MIB", 1000)
    data = os.urandom(20 * PART)
    assert read(store, put(store, data)) == data
    assert held() == ["1"]


def test_many_uploads_at_once(store, held):
    datas = {f"{number}": os.urandom(5 * PART + number) for number in range(10)}
    threads = [threading.Thread(target=put, args=(store, data, name)) for name, data in datas.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(held()) == sorted(datas)
    assert all(read(store, f"s3://{store._bucket}/{name}") == data for name, data in datas.items())
    assert store._budget.used == 0


def test_bodies_are_hashed_where_the_source_says(make):
    class Watched(Inline):
        hashed = 0

        def call(self, work, /, *args, **kwargs):
            self.hashed += len(args[0])
            return work(*args, **kwargs)

    threads = Watched()
    put(make(), threads=threads)
    assert threads.hashed == len(DATA)


def test_under_eventlet_a_request_that_is_killed_leaves_nothing(server, bucket, held):
    """In a process of its own, as the standard library becomes green there. The hub goes on meanwhile."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GREEN, server.s3_url, server.s3_access_key, server.s3_secret_key, bucket],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert held() == ["whole"]


GREEN = """
import sys
from glance.serve import green; green.patch()
import eventlet, time
from glance.serve.threads import Threads
from glance.store.s3 import S3Store
from tests.fakes.store import BytesSource

url, access, secret, bucket = sys.argv[1:]
store = S3Store(url, access, secret, bucket, create_bucket_on_put=True)
store._part_size = 4000
store.prepare()
ticks, begun, threads = [], eventlet.event.Event(), Threads(2)

class Slow(BytesSource):
    def read(self, size, /):
        time.sleep(0.002)
        if self._stream.tell() > 20000 and not begun.ready():
            begun.send()
        return super().read(size)

def tick():
    while True:
        ticks.append(time.monotonic())
        eventlet.sleep(0.005)

eventlet.spawn(tick)
killed = eventlet.spawn(store.put, "killed", Slow(bytes(10**6), block=1000, threads=threads), size=None)
whole = eventlet.spawn(store.put, "whole", Slow(bytes(50_000), block=1000, threads=threads), size=None)
begun.wait()
killed.kill()
try:
    killed.wait()
    raise AssertionError("it was not killed")
except eventlet.greenlet.GreenletExit:
    pass
blob = store.open(whole.wait())
assert sum(map(len, blob)) == 50_000
assert store._budget.used == 0
assert max(after - before for before, after in zip(ticks, ticks[1:])) < 1, "the hub stood still"
"""


# Locations


def test_a_location_is_bucket_and_name(store, bucket):
    assert put(store, name="71c675ab") == f"s3://{bucket}/71c675ab"


def test_keys_and_addresses_may_change(store, make, proxy):
    location = put(store)
    assert read(make(proxy.url, region="us-east-1", bucket_url_format="path", bucket="another"), location) == DATA


@pytest.mark.parametrize("location", [
    "s3://key:secret@host/bucket/1", "s3://bucket", "s3://bucket/", "s3:///1", "s3://bucket/a/b", "s3://bucket/..", "s3://bucket/1?x=y", "s3://bucket/1#",
    "s3://b@c/1", "s3://bucket/1\n", "S3://bucket/1", "http://bucket/1", "", "s3://bucket/%31", "s3+https://bucket/1",
])  # fmt: skip
def test_other_locations_are_neither_read_nor_deleted(location):
    store = S3Store("http://127.0.0.1:1", ACCESS, SECRET, "bucket")
    with pytest.raises(OutsideStore) as caught:
        store.open(location)
    assert "secret" not in str(caught.value)
    with pytest.raises(StoreDown):
        store.delete(location)


@pytest.mark.parametrize("wrong", [
    {"bucket": ""}, {"bucket": "a/b"}, {"bucket": "../x"}, {"bucket_url_format": "subdomain"}, {"large_object_chunk_size": 4},
], ids=str)  # fmt: skip
def test_arguments_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="not"):
        S3Store("https://example.org", ACCESS, SECRET, **{"bucket": "images"} | wrong)


def test_the_users_own_settings_of_aws_do_not_count(make, monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://127.0.0.1:1\nsignature_version = s3\n")
    for name, value in {
        "AWS_PROFILE": "none", "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ACCESS_KEY_ID": "wrong", "AWS_SECRET_ACCESS_KEY": "wrong",
        "AWS_SESSION_TOKEN": "wrong", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    store = make()
    assert read(store, put(store)) == DATA


# Buckets


def test_a_missing_bucket_is_told(make, held):
    store = make(create_bucket_on_put=False)
    for data in (b"small", DATA):
        with pytest.raises(StoreDown, match="bucket does not exist"):
            put(store, data)
    with pytest.raises(StoreDown, match="bucket does not exist"):
        store.open(f"s3://{store._bucket}/1")
    assert held() == []


@pytest.mark.parametrize("data", [b"small", DATA], ids=len)
def test_a_missing_bucket_is_made(store, look, data):
    assert read(store, put(store, data)) == data
    grants = look.client.get_bucket_acl(Bucket=store._bucket)["Grants"]
    assert not any("AllUsers" in str(grant) for grant in grants)


# What breaks


def once(method: str, pattern: str, deed: Deed, times: int = 1) -> Callable[[Request], Deed]:
    """A rule: the first requests that fit get that."""
    left = [times]

    def rule(request: Request) -> Deed:
        if request.method == method and re.search(pattern, request.target) and left[0]:
            left[0] -= 1
            return deed
        return None

    return rule


BUSY = Answer(503, b"<Error><Code>SlowDown</Code><Message>no</Message></Error>")
INTERNAL = Answer(500, b"<Error><Code>InternalError</Code><Message>no</Message></Error>")
GOOD_BUT_BAD = Answer(
    200, b'<?xml version="1.0" encoding="UTF-8"?>\n\n<Error><Code>InternalError</Code><Message>no</Message></Error>'
)
BREAKS = {
    "503": BUSY, "500": INTERNAL, "cut at once": CutRequest(0), "cut in the middle": CutRequest(1000), "answer lost": CutAnswer(0), "answer cut": CutAnswer(20),
    "stalled": Stall(),
}  # fmt: skip
FORBIDDEN = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
STEPS = {
    "head": ("HEAD", ""), "create": ("POST", r"\?uploads"), "first part": ("PUT", "partNumber=1"), "last part": ("PUT", "partNumber=4"),
    "complete": ("POST", "uploadId="), "whole": ("PUT", "/1$"),
}  # fmt: skip


@ONE_SERVER
@pytest.mark.parametrize("deed", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_what_fails_once_is_done_again(behind, proxy, held, step, deed):
    data = b"small" if step == STEPS["whole"] else DATA
    proxy.rule = once(*step, deed)
    location = put(behind, data)
    assert (
        len(
            [
                request
                for request in proxy.requests
                if request.method == step[0] and re.search(step[1], request.target)
            ]
        )
        > 1
    )
    assert read(behind, location) == data
    assert held() == ["1"]


FOR_GOOD = {
    f"{server}-{step}-{deed}": (server, {**STEPS, "all parts": ("PUT", "partNumber=")}[step], {**BREAKS, "403": FORBIDDEN}[deed])
    for server, deeds in {"moto": (*BREAKS, "403"), "swift": ("500", "cut in the middle", "answer lost", "403")}.items()
    for step in ("create", "first part", "last part", "complete", "whole", "all parts")
    for deed in deeds
    if deed != "stalled" or step in ("first part", "complete")  # each takes some seconds
}  # fmt: skip


@pytest.mark.parametrize(("server", "step", "deed"), FOR_GOOD.values(), ids=FOR_GOOD, indirect=["server"])
def test_what_fails_for_good_leaves_nothing(behind, proxy, held, step, deed):
    """Or leaves it whole, when only the answers were lost; and says which."""
    proxy.rule = once(*step, deed, times=10**6)
    data = b"small" if step == STEPS["whole"] else DATA
    try:
        location = put(behind, data)
    except StoreDown:
        assert held() == []
    else:
        assert isinstance(deed, CutAnswer | CutRequest)
        assert held() == ["1"]
        assert read(behind, location) == data
    assert behind._budget.used == 0


def test_good_status_with_an_error_in_the_body_of_complete_is_no_success(behind, proxy, held):
    proxy.rule = once("POST", "uploadId=", GOOD_BUT_BAD, times=10**6)
    with pytest.raises(StoreDown):
        put(behind)
    assert held() == []
    proxy.rule = once("POST", "uploadId=", GOOD_BUT_BAD)
    assert read(behind, put(behind)) == DATA


def test_an_abort_that_fails_is_repeated(behind, proxy, held):
    breaking, failing = (
        once("PUT", "partNumber=2", INTERNAL, times=10**6),
        once("DELETE", "uploadId=", INTERNAL, times=3),
    )
    proxy.rule = lambda request: breaking(request) or failing(request)
    with pytest.raises(StoreDown):
        put(behind)
    assert proxy.count("DELETE", "uploadId=") == 4
    assert held() == []


def test_what_cannot_be_aborted_is_told_and_the_first_error_stays(behind, proxy, caplog):
    proxy.rule = once("DELETE", "", INTERNAL, times=10**6)
    with pytest.raises(BrokenUpload, match="the source was cut"):
        put(behind, cut=True)
    assert "parts of the unfinished upload" in caplog.text


@pytest.mark.parametrize("sent", [0, 1, PART - 1, PART, PART + 1, 3 * PART, 3 * PART + 5])
def test_a_broken_source_leaves_no_parts(store, held, sent):
    put(store, b"other", "other")
    with pytest.raises(BrokenUpload):
        put(store, DATA[:sent], cut=True, block=333)
    assert held() == ["other"]


def test_a_server_without_conditions(behind, proxy, held):
    refused = Answer(501, b"<Error><Code>NotImplemented</Code></Error>")
    for name, data, step in (("1", b"small", ("PUT", "/1$")), ("2", DATA, ("POST", "uploadId="))):
        proxy.rule = once(*step, refused)
        assert read(behind, put(behind, data, name)) == data
    proxy.rule = once("PUT", "", refused, times=10**6)
    with pytest.raises(Duplicate):
        put(behind, b"small", "2")
    assert sorted(held()) == ["1", "2"]


@pytest.mark.parametrize("data", [b"small", DATA], ids=len)
def test_the_server_decides_a_race_where_it_can(behind, proxy, held, data, server):
    """The other upload ends between our last look and our commit."""
    location = put(behind, b"first")
    proxy.rule = once("HEAD", "", Answer(404))
    step = ("PUT", "/1$") if data == b"small" else ("POST", "uploadId=")
    if isinstance(server, Moto):
        proxy.rule = (
            lambda looks: (
                lambda request: (
                    looks(request)
                    or once(*step, Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>"))(request)
                )
            )
        )(proxy.rule)
    with pytest.raises(Duplicate):
        put(behind, data)
    assert read(behind, location) == b"first"
    assert held() == ["1"]


# Reading


@pytest.mark.parametrize("after", [400, 1000, 5000])
def test_an_answer_that_breaks_off_never_looks_whole(behind, proxy, after):
    location = put(behind)
    proxy.rule = once("GET", "", CutAnswer(after), times=10**6)
    with pytest.raises(StoreDown):
        read(behind, location)


def test_an_answer_that_stalls_breaks_off(behind, proxy):
    location = put(behind)
    proxy.rule = once("GET", "", Stall(), times=10**6)
    with pytest.raises(StoreDown, match="in time"):
        read(behind, location)


def test_what_is_missing_is_known_before_the_first_byte(store, bucket):
    put(store)
    for part in ({}, {"start": 5}, {"length": 0}, {"start": 1, "length": 5}):
        with pytest.raises(BlobMissing):
            store.open(f"s3://{bucket}/2", **part)


def test_a_server_that_sends_another_part_is_not_believed(behind, proxy):
    location = put(behind)
    for headers in ((), ("Content-Range: bytes 0-9/100",), ("Content-Range: bytes */100",)):
        proxy.rule = once("GET", "", Answer(206, b"0123456789", headers))
        with pytest.raises(StoreDown, match="another part"):
            behind.open(location, start=5, length=10)


def test_what_an_upload_has_sent_is_told_in_pages(store, look, monkeypatch):
    monkeypatch.setattr(s3client, "PAGE", 2)
    names = [str(number) for number in range(5)]
    for name in names:
        put(store, b"small", name)
    told = []

    class Looking(BytesSource):
        def read(self, size: int, /) -> bytes:
            if not (data := super().read(size)):
                told.extend(held for held in store.held() if not held.whole)
            return data

    store._parallel = 1  # what was read is sent
    store.put("6", Looking(DATA), size=None)
    upload = look.client.create_multipart_upload(Bucket=look.bucket, Key="7")
    look.client.create_multipart_upload(Bucket=look.bucket, Key="8")
    look.client.create_multipart_upload(Bucket=look.bucket, Key="8")
    left = [held for held in store.held() if not held.whole]
    last = told[-1]
    assert (last.name, last.location, last.size) == ("6", store.location_of("6"), len(DATA))
    assert [(held.name, held.size) for held in left] == [("7", 0), ("8", 0), ("8", 0)]
    assert [held.name for held in store.held() if held.whole] == [*names, "6"]
    look.client.abort_multipart_upload(Bucket=look.bucket, Key="7", UploadId=upload["UploadId"])
    store.delete(store.location_of("8"))
    assert all(held.whole for held in store.held())


@ONE_SERVER
def test_readers_that_close_early_keep_no_connection(behind):
    location = put(behind, os.urandom(PART * 100))
    for _ in range(s3client.CONNECTIONS + 10):
        blob = behind.open(location)
        next(iter(blob))
        blob.close()
    assert len(read(behind, location)) == PART * 100


# Errors and secrets


ERRORS = {
    "InvalidAccessKeyId": (403, StoreDown, "keys"), "SignatureDoesNotMatch": (403, StoreDown, "keys"), "RequestTimeTooSkewed": (403, StoreDown, "clocks"),
    "AccessDenied": (403, StoreDown, "allow"), "NoSuchBucket": (404, StoreDown, "bucket"), "PermanentRedirect": (301, StoreDown, "region"),
    "AuthorizationHeaderMalformed": (400, StoreDown, "region"), "QuotaExceeded": (403, StoreFull, "room"), "SlowDown": (503, StoreDown, "busy"),
    "Whatever": (418, StoreDown, "did not do"), "InsufficientSpace": (507, StoreFull, "room"),
}  # fmt: skip


@ONE_SERVER
@pytest.mark.parametrize("code", ERRORS)
def test_errors_say_what_is_wrong_and_hold_no_secret(proxy, make, code, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(s3client, "ATTEMPTS", 1)
    status, kind, words = ERRORS[code]
    text = f"<Error><Code>{code}</Code><Message>{ACCESS} and {SECRET} at {proxy.url}</Message><AWSAccessKeyId>{ACCESS}</AWSAccessKeyId></Error>"
    proxy.rule = lambda request: Answer(404) if request.method == "HEAD" else Answer(status, text.encode())
    store = make(proxy.url, access_key=ACCESS, secret_key=SECRET, create_bucket_on_put=False)
    for deed in (lambda: put(store, b"small"), lambda: put(store), lambda: store.open(f"s3://{store._bucket}/1"),
                 lambda: store.delete(f"s3://{store._bucket}/1")):  # fmt: skip
        with pytest.raises(kind, match=words) as caught:
            deed()
        for told in (str(caught.value), "".join(map(str, caught.traceback)), repr(caught.value.__cause__)):
            assert not re.search(f"{ACCESS}|{SECRET}|127.0.0.1", told)
    assert code in caplog.text
    assert not re.search(f"{ACCESS}|{SECRET}|Signature=", caplog.text)


@pytest.mark.parametrize(("host", "words"), [
    ("http://127.0.0.1:1", "cannot be reached"), ("127.0.0.1:1", "cannot be reached"), ("http://no-such-host.invalid", "cannot be reached"),
    ("http://:::", "not configured well"), ("http://", "not configured well"), ("https://{}", "TLS"),
])  # fmt: skip
def test_a_host_that_does_not_answer(make, monkeypatch, caplog, host, words, server):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(s3client, "ATTEMPTS", 1)
    store = make(host.format(f"127.0.0.1:{server.port}"), access_key=ACCESS, secret_key=SECRET)
    for deed in (lambda: put(store), lambda: store.open("s3://bucket/1"), lambda: store.delete("s3://bucket/1")):
        with pytest.raises(StoreDown, match=words) as caught:
            deed()
        assert not re.search(f"{ACCESS}|{SECRET}|127.0.0.1|invalid", str(caught.value))
    assert not re.search(f"{ACCESS}|{SECRET}", caplog.text)


def test_wrong_keys_at_a_server_that_checks_them(swift, bucket, caplog):
    for keys in ((swift.s3_access_key, SECRET), (ACCESS, SECRET)):
        store = S3Store(swift.s3_url, *keys, bucket)
        for deed in (
            lambda store: put(store),
            lambda store: store.open(f"s3://{bucket}/1"),
            lambda store: store.prepare() or put(store, b""),
        ):
            with pytest.raises(StoreDown, match=r"keys|allow"):
                deed(store)
    assert SECRET not in caplog.text


def test_nothing_at_debug_holds_a_secret(make, server, caplog):
    caplog.set_level(logging.DEBUG)
    store = make()
    store.delete(put(store))
    with pytest.raises(GlanceError):
        store.open("s3://none-such-bucket/1")
    assert server.s3_secret_key not in caplog.text
    assert "Signature" not in caplog.text


# Buckets that keep versions


@pytest.fixture
def versions(look: Look) -> Callable[[], list[str]]:
    """The names of all versions and delete markers that are left, in a bucket that keeps them."""
    with suppress(look.client.exceptions.BucketAlreadyOwnedByYou):
        look.client.create_bucket(Bucket=look.bucket)
    look.client.put_bucket_versioning(Bucket=look.bucket, VersioningConfiguration={"Status": "Enabled"})

    def left() -> list[str]:
        found = look.client.list_object_versions(Bucket=look.bucket)
        return sorted(each["Key"] for each in found.get("Versions", []) + found.get("DeleteMarkers", []))

    return left


DENIED = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")


def query_of(request: Request) -> str:
    return request.target.partition("?")[2]


@ONE_SERVER
def test_what_is_deleted_leaves_no_version(store, look, versions):
    locations = [put(store, data, name) for name, data in (("1", b"small"), ("2", DATA), ("11", b"other"))]
    for _ in range(2):  # older versions of "1", and a marker
        look.client.delete_object(Bucket=look.bucket, Key="1")
        look.client.put_object(Bucket=look.bucket, Key="1", Body=b"small")
    for location in locations[:2]:
        store.delete(location)
        with pytest.raises(BlobMissing):
            store.open(location)
    assert versions() == ["11"]
    store.delete(locations[2])
    store.delete(locations[2])
    assert versions() == []


@ONE_SERVER
def test_the_check_that_writes_leaves_no_version(store, versions):
    probe(store, INLINE)
    assert versions() == []


@ONE_SERVER
def test_old_versions_are_told_and_deleted(store, look, versions):
    """As those that were left by a Glance that did not delete them."""
    location, kept = put(store, DATA, "1"), put(store, b"kept", "2")
    look.client.delete_object(Bucket=look.bucket, Key="1")
    whole = {each.location: each for each in store.held() if each.whole}
    parts = [each for each in store.held() if not each.whole]
    assert set(whole) == {kept}
    assert {each.location for each in parts} == {location}
    assert sum(each.size for each in parts) == len(DATA)
    store.delete(location)
    assert [each.location for each in store.held()] == [kept]
    assert versions() == ["2"]


@ONE_SERVER
@pytest.mark.parametrize("refused", ["versions", "versionId="])
def test_versions_that_may_not_be_deleted_stay(behind, proxy, versions, caplog, refused):
    location = put(behind, b"small")
    proxy.rule = lambda request: DENIED if refused in query_of(request) else None
    behind.delete(location)
    with pytest.raises(BlobMissing):
        behind.open(location)
    assert versions() == ["1", "1"]  # the version, and the marker that hides it
    assert "versions of 1 are kept, and their space is not freed: AccessDenied" in caplog.text


@ONE_SERVER
def test_versions_are_only_looked_for_where_there_are_some(behind, proxy):
    location = put(behind, b"small")
    before = len(proxy.requests)
    behind.delete(location)
    assert [request.method for request in proxy.requests[before:]] == ["GET", "DELETE"]  # unfinished uploads, object


@ONE_SERVER
def test_a_bucket_that_keeps_versions_is_told(behind, proxy, versions):
    (told,) = behind.try_abilities()
    assert "s3:DeleteObjectVersion" in told
    proxy.rule = lambda request: DENIED if "versions" in query_of(request) else None
    (told,) = behind.try_abilities()
    assert "space is not freed" in told
    proxy.rule = lambda request: DENIED if "versioning" in query_of(request) else None
    assert behind.try_abilities() == []


def test_a_bucket_without_versions_is_not_told(store):
    store.prepare()
    assert store.try_abilities() == []


def test_a_check_writes_nothing(behind, proxy):
    put(behind)
    before = len(proxy.requests)
    behind.check(INLINE)
    assert {request.method for request in proxy.requests[before:]} == {"GET"}
    proxy.rule = lambda request: DENIED
    with pytest.raises(StoreDown, match="does not allow"):
        behind.check(INLINE)


@ONE_SERVER
def test_a_check_of_a_missing_bucket(make, held):
    make().check(INLINE)  # the first upload makes it
    assert held() == []
    with pytest.raises(StoreDown, match="bucket does not exist"):
        make(create_bucket_on_put=False).check(INLINE)
