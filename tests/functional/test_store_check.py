# SPDX-License-Identifier: Apache-2.0
"""glance-manage store-check against real stores: what works, and each way in which one may not."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from tests.functional.daemons import Installation
from tests.functional.debian import program
from tests.servers.forward_proxy import forward_proxy
from tests.servers.moto import Moto
from tests.servers.processes import free_port
from tests.servers.proxy import Proxy, Request, Stall
from tests.servers.swift import KeystoneSwift, Swift
from tests.servers.tls import Authority, tls_before
from tests.servers.web import web_server

pytestmark = [pytest.mark.functional, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs/stores.md"
SECRET = "secret-mark-41f0"  # a wrong key, which is a secret all the same
FILE_STEPS = [
    "who writes", "directory", "optional abilities", "write 64 KiB", "read it", "read a part of it", "an upload that breaks off is not kept", "delete",
    "what is deleted is gone", "nothing is left behind",
]  # fmt: skip


class Outcome:
    """What the command printed: for each store its steps, each with what is said of it, on one line."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.status = done.returncode
        self.text = done.stdout + done.stderr
        self.steps: dict[str, dict[str, str]] = {}
        store = step = ""
        for line in done.stdout.splitlines():
            if found := re.fullmatch(r"(file|s3|swift|http)( \(default_store\))?", line):
                store = found[1]
                self.steps[store] = {}
            elif found := re.fullmatch(r"  (\S.*?) \.+ (.*)", line):
                step = found[1]
                self.steps[store][step] = found[2]
            elif line.startswith("      "):
                self.steps[store][step] += " " + line.strip()

    def failed(self, store: str) -> dict[str, str]:
        return {step: said for step, said in self.steps[store].items() if said.startswith("FAILED: ")}


Check = Callable[..., Outcome]


@pytest.fixture
def check(installation: Installation, request: pytest.FixtureRequest) -> Check:
    """Run the command, in front of which `before` may stand. It tells all it can, and no secret."""

    def check(*words: str, before: tuple[str, ...] = ()) -> Outcome:
        command = [*before, *installation.command("glance-manage", "store-check", *words, "--debug")]
        done = subprocess.run(
            command, cwd=installation.folder, env=installation.environ, capture_output=True, text=True, timeout=120
        )
        outcome = Outcome(done)
        assert SECRET not in outcome.text
        assert "Traceback" not in outcome.text
        if "swift" in request.fixturenames:
            assert request.getfixturevalue("swift").key not in outcome.text
        return outcome

    return check


# Files


def on_disk(installation: Installation) -> list[Path]:
    return [path for path in (installation.folder / "images").rglob("*") if path.is_file()]


def test_the_file_store(installation: Installation, check: Check) -> None:
    outcome = check()
    assert outcome.status == 0
    assert list(outcome.steps["file"]) == FILE_STEPS
    assert not outcome.failed("file")
    assert f"Configuration: {installation.config}" in outcome.text
    assert "file (default_store)" in outcome.text
    assert "Works: file" in outcome.text
    assert on_disk(installation) == []
    assert check("file").status == 0


def test_it_runs_beside_the_daemons(running: Installation) -> None:
    done = running.run("glance-manage", "store-check")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    assert on_disk(running) == []


def test_without_a_configuration_the_defaults_hold(installation: Installation) -> None:
    installation.config.unlink()
    done = installation.run("glance-manage", "store-check")
    folder = installation.folder / ".local/share/glance"
    assert done.returncode == 0, done.stderr
    assert f"built-in defaults, everything below {folder}" in done.stdout
    assert f"{folder}/images, made now for user " in done.stdout


def test_a_configuration_that_cannot_be_used(installation: Installation, check: Check) -> None:
    outcome = check("--config-file", "nowhere.conf")
    assert outcome.status == 1
    assert outcome.text == f"ERROR: cannot read the configuration file {installation.folder}/nowhere.conf\n"
    installation.configure(api="s3_store_hots = x")
    assert check().text.endswith(
        "[app:glance-api] has an unknown option s3_store_hots: did you mean s3_store_host?\n"
    )
    installation.configure(api="swift_store_auth_address = http://127.0.0.1/")
    outcome = check("file")
    assert (outcome.status, "swift_store_user must be, too" in outcome.text) == (1, True)


@pytest.mark.parametrize(("store", "option"), [("s3", "s3_store_host"), ("swift", "swift_store_auth_address")])
def test_a_store_that_is_not_there(check: Check, store: str, option: str) -> None:
    outcome = check(store)
    assert outcome.status == 1
    assert outcome.text.endswith(f"ERROR: there is no store {store} here: it needs {option}\n")


def test_http_is_read_only(installation: Installation, check: Check) -> None:
    outcome = check("http")
    assert outcome.status == 0
    assert "is read only" in outcome.text
    assert "public addresses of the Internet\n" in outcome.text
    installation.configure(api="http_store_allowed_hosts = images.example.internal, 10.1.0.0/16")
    assert "beside them images.example.internal, 10.1.0.0/16\n" in check("http").text


def test_a_directory_that_may_not_be_written(installation: Installation, check: Check) -> None:
    folder = installation.folder / "images"
    folder.mkdir(mode=0o550)
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:  # whom modes do not stop, unless he gives that power away
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and setpriv is not installed")
        before = (
            "setpriv",
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-dac_override,-dac_read_search",
        )
    outcome = check(before=before)
    assert outcome.status == 1
    (said,) = outcome.failed("file").values()
    assert "could not write: Permission denied" in said
    assert f"must be allowed to write in {folder}" in said


@pytest.fixture
def small_disk(installation: Installation) -> Iterator[Path]:
    """A file system of 256 KiB, at the place of the images."""
    folder = installation.folder / "images"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(small_disk: Path, check: Check) -> None:
    (small_disk / "image").write_bytes(bytes(240 * 1024))
    outcome = check()
    assert outcome.status == 1
    (said,) = outcome.failed("file").values()
    assert "has no room for these bytes" in said
    assert f"the file system of {small_disk} has no room left" in said
    assert [path.name for path in small_disk.iterdir()] == ["image"]


def test_a_disk_that_is_mounted_read_only(small_disk: Path, check: Check) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    outcome = check()
    assert outcome.status == 1
    (said,) = outcome.failed("file").values()
    assert "Read-only file system" in said
    assert f"{small_disk} is mounted read only" in said


def test_a_file_where_the_directory_should_be(installation: Installation, check: Check) -> None:
    (installation.folder / "images").write_text("")
    outcome = check()
    assert outcome.status == 1
    assert list(outcome.failed("file")) == ["directory"]
    assert f"{installation.folder}/images must be a directory" in outcome.failed("file")["directory"]


# Clouds


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def proxy(swift: Swift) -> Iterator[Proxy]:
    made = Proxy("127.0.0.1", swift.port)
    yield made
    made.close()


def options_of(swift: Swift) -> dict[str, Any]:
    """A configuration of both clouds that works, with a bucket and a container of its own."""
    return {
        "s3_store_host": swift.s3_url,
        "s3_store_access_key": swift.s3_access_key,
        "s3_store_secret_key": swift.s3_secret_key,
        "s3_store_bucket": f"bucket-{os.urandom(6).hex()}",
        "s3_store_create_bucket_on_put": True,
        "s3_store_bucket_url_format": "path",
        "swift_store_auth_address": swift.auth_url,
        "swift_store_user": swift.user,
        "swift_store_key": swift.key,
        "swift_store_container": f"container-{os.urandom(6).hex()}",
        "swift_store_create_container_on_put": True,
    }


Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def configure(installation: Installation, swift: Swift) -> Configure:
    """Configure both clouds, but for what is changed."""

    def configure(**changed: Any) -> dict[str, Any]:
        options = options_of(swift) | changed
        installation.configure(api="\n".join(f"{name} = {value}" for name, value in options.items()))
        return options

    return configure


def objects(server: Any, bucket: str) -> list[str]:
    """All that is in a bucket, or a container of Swift: S3 shows the same; unfinished uploads, too."""
    client: Any = botocore.session.Session().create_client(
        "s3", region_name="us-east-1", endpoint_url=server.s3_url,
        aws_access_key_id=server.s3_access_key, aws_secret_access_key=server.s3_secret_key,
    )  # fmt: skip
    listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    unfinished = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [found["Key"] for found in (*listed, *unfinished)]


def test_both_clouds(configure: Configure, check: Check, swift: Swift) -> None:
    options = configure()
    outcome = check()
    assert outcome.status == 0, outcome.text
    assert list(outcome.steps) == ["file", "s3", "swift"]
    assert outcome.steps["s3"]["write 10 MiB in parts, read them"] == "ok"
    assert outcome.steps["swift"]["write 2 MiB in parts, read them"] == "ok"
    assert outcome.steps["s3"]["bucket"] == f"ok: {options['s3_store_bucket']}, made now"
    assert outcome.steps["swift"]["container"] == f"ok: {options['swift_store_container']}, made now"
    assert "Works: file, s3, swift" in outcome.text
    assert objects(swift, options["s3_store_bucket"]) == []
    assert objects(swift, options["swift_store_container"]) == []
    assert check("swift").steps["swift"]["container"] == f"ok: {options['swift_store_container']}"


def test_parts_are_real_parts(configure: Configure, check: Check, swift: Swift, proxy: Proxy, moto: Moto) -> None:
    """The one who counts stands between; moto is another server than Swift."""
    options = configure(s3_store_host=proxy.url)
    assert check("s3").status == 0
    name = "store-check-parts"
    assert proxy.count("PUT", rf"{name}.*partNumber=") == 2
    assert proxy.count("POST", rf"{name}.*uploadId=") == 1
    assert proxy.count("PUT", r"store-check-broken.*partNumber=") >= 1
    assert proxy.count("DELETE", r"store-check-broken.*uploadId=") == 1
    configure(
        **{"s3_store_host": moto.s3_url, "s3_store_bucket": "images", "s3_store_access_key": moto.s3_access_key}
    )
    outcome = check("s3")
    assert outcome.status == 0, outcome.text
    assert objects(moto, "images") == []
    assert objects(swift, options["s3_store_bucket"]) == []


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    made = Moto(tmp_path_factory.mktemp("moto"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


NOWHERE = "http://no-such-host.invalid"
S3_FAILURES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "secret key": ({"s3_store_secret_key": SECRET}, "connect, keys", "does not accept the keys", "s3_store_secret_key is not the one"),
    "access key": ({"s3_store_access_key": "test:nobody"}, "connect, keys", "does not accept the keys", "Swift, say so of an access key"),
    "region": ({"s3_store_region_name": "eu-central-1"}, "connect, keys", "another region", "it says that the region is us-east-1"),
    "bucket": ({"s3_store_create_bucket_on_put": False}, "bucket", "bucket does not exist", "set s3_store_create_bucket_on_put = True"),
    "bucket's name": ({"s3_store_bucket": "Not_A_Bucket"}, "connect, keys", "name of the bucket", "choose another s3_store_bucket"),
    "refused": ({"s3_store_host": "http://127.0.0.1:1"}, "connect, keys", "refuses connections", "nobody listens at http://127.0.0.1:1 (s3_store_host)"),
    "name": ({"s3_store_host": NOWHERE}, "connect, keys", "name does not resolve", f"the name in {NOWHERE} (s3_store_host)"),
    "address": ({"s3_store_host": "http://"}, "connect, keys", "not configured well", "Invalid endpoint: http://"),
}  # fmt: skip
SWIFT_FAILURES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "key": ({"swift_store_key": SECRET}, "connect, log in", "refuses this server's user", "does not accept swift_store_user with swift_store_key"),
    "user": ({"swift_store_user": "test:nobody"}, "connect, log in", "refuses this server's user", "tenant:user"),
    "container": ({"swift_store_create_container_on_put": False}, "container", "container is missing", "swift_store_create_container_on_put = True"),
    "refused": ({"swift_store_auth_address": "http://127.0.0.1:1/"}, "connect, log in", "refuses connections", "http://127.0.0.1:1 (swift_store_auth_address)"),
    "name": ({"swift_store_auth_address": NOWHERE}, "connect, log in", "name does not resolve", f"the name in {NOWHERE}"),
    "version": ({"swift_store_auth_version": 3}, "connect, log in", "not where it is looked for", "look at its path"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("store", "changed", "step", "reason", "advice"),
    [("s3", *row) for row in S3_FAILURES.values()] + [("swift", *row) for row in SWIFT_FAILURES.values()],
    ids=[f"s3 {name}" for name in S3_FAILURES] + [f"swift {name}" for name in SWIFT_FAILURES],
)
def test_what_is_configured_wrongly(
    configure: Configure, check: Check, store: str, changed: dict[str, Any], step: str, reason: str, advice: str
) -> None:
    configure(**changed)
    outcome = check(store)
    assert outcome.status == 1
    assert list(outcome.failed(store)) == [step] == list(outcome.steps[store])[-1:]
    said = outcome.steps[store][step]
    assert reason in said
    assert advice in said
    assert f"Does not work: {store}" in outcome.text


def test_another_server_than_it_should_be(configure: Configure, check: Check) -> None:
    with web_server() as web:
        configure(s3_store_host=web.url(""), swift_store_auth_address=web.url(""))
        outcome = check()
    assert "the S3 server does not speak S3" in outcome.failed("s3")["connect, keys"]
    assert "answered 404, and not as version 1" in outcome.failed("swift")["connect, log in"]


def test_one_store_that_fails_keeps_no_other_from_being_tried(configure: Configure, check: Check) -> None:
    configure(s3_store_secret_key=SECRET)
    outcome = check()
    assert outcome.status == 1
    assert "Works: file, swift\nDoes not work: s3\n" in outcome.text


@pytest.mark.parametrize("shift", ["-2h", "+2h"])
def test_clocks_that_differ(configure: Configure, check: Check, shift: str) -> None:
    faketime = program("faketime", "faketime")
    configure()
    outcome = check("s3", before=(faketime, "-f", shift))
    assert outcome.status == 1
    (said,) = outcome.failed("s3").values()
    assert "the clocks of the S3 server and of this server differ" in said
    there, here = re.findall(r"'\w+, \d+ \w+ \d+ (\d+):[\d:]+ GMT'", said)
    assert (int(here) - int(there)) % 24 in ((2, 3) if shift == "+2h" else (21, 22))


@pytest.mark.parametrize("store", ["s3", "swift"])
def test_a_server_that_says_nothing(configure: Configure, check: Check, proxy: Proxy, store: str) -> None:
    proxy.rule = lambda request: Stall()
    configure(s3_store_host=proxy.url, swift_store_auth_address=f"{proxy.url}/auth/v1.0")
    outcome = check(store, "--timeout", "1")
    assert outcome.status == 1
    (said,) = outcome.failed(store).values()
    assert "does not answer in time" in said
    assert f"{proxy.url} (" in said


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_one_who_interrupts_leaves_nothing(
    installation: Installation, configure: Configure, swift: Swift, proxy: Proxy, sent: signal.Signals
) -> None:
    """While it waits for the bytes that it has just written."""
    stalled: list[Request] = []

    def rule(request: Request) -> Stall | None:
        if request.method == "GET" and "store-check-small" in request.target and "?" not in request.target:
            stalled.append(request)
            return Stall()
        return None

    proxy.rule = rule
    options = configure(s3_store_host=proxy.url)
    command = installation.command("glance-manage", "store-check", "s3", "--timeout", "60")
    with subprocess.Popen(
        command,
        cwd=installation.folder,
        env=installation.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        deadline = time.monotonic() + 30
        while not stalled and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(sent)
        text, _ = process.communicate(timeout=30)
    assert stalled
    assert process.returncode == 130, text
    assert "read it ................................. interrupted\n" in text
    assert text.endswith("nothing is left behind .................. ok\nERROR: interrupted\n")
    assert objects(swift, options["s3_store_bucket"]) == []


def test_nothing_is_left_when_nobody_reads_any_more(
    installation: Installation, configure: Configure, swift: Swift
) -> None:
    """As in `glance-manage store-check | head`."""
    options = configure()
    command = installation.command("glance-manage", "store-check", "swift")
    with subprocess.Popen(
        command,
        cwd=installation.folder,
        env=installation.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(line.strip().startswith("write") for line in process.stdout)  # an object is in the store now
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 141  # as SIGPIPE would end it
    assert objects(swift, options["swift_store_container"]) == []


# TLS


@pytest.mark.parametrize("store", ["s3", "swift"])
def test_tls(
    configure: Configure, check: Check, swift: Swift, authority: Authority, tmp_path: Path, store: str
) -> None:
    with (
        tls_before(swift.port, authority.context(), listen=swift.tls_port),
        tls_before(swift.port, authority.context("elsewhere.example.org")) as elsewhere,
    ):

        def said(port: int, *, scheme: str = "https", **more: Any) -> str:
            address = f"{scheme}://127.0.0.1:{port}"
            configure(
                **{
                    "s3_store_host": address,
                    "swift_store_auth_address": f"{address}/auth/v1.0",
                    "swift_store_user": swift.tls_user,
                }
                | more
            )
            outcome = check(store)
            assert outcome.status == (1 if outcome.failed(store) else 0)
            return " ".join(outcome.failed(store).values())

        trusting = {f"{store}_store_cacert": authority.file}
        assert said(swift.tls_port, **trusting) == ""
        unknown = said(swift.tls_port)
        assert "shows a certificate that is not trusted" in unknown
        assert f"name the file with the certificate of that authority in {store}_store_cacert" in unknown
        assert "shows a certificate for another name" in said(elsewhere, **trusting)
        assert "speaks no TLS" in said(swift.port, **trusting)
        assert "its address must begin with https://" in said(swift.tls_port, scheme="http")
        assert f"the file that {store}_store_cacert names" in said(
            swift.tls_port, **{f"{store}_store_cacert": tmp_path / "none"}
        )
        if store == "swift":
            assert said(swift.tls_port, swift_store_auth_insecure=True) == ""
            # Swift behind TLS that does not know of it names its own address with http.
            lost = said(swift.tls_port, swift_store_user=swift.user, **trusting)
            assert f"http://127.0.0.1:{swift.tls_port} (Swift, as its authentication names it)" in lost
            assert "its address must begin with https://" in lost


# A server that knows its users apart, and a Keystone


def test_keys_and_rights_of_s3(configure: Configure, check: Check, tmp_path: Path) -> None:
    moto = Moto(tmp_path)
    try:
        moto.start(INITIAL_NO_AUTH_ACTION_COUNT="4")
        iam: Any = botocore.session.Session().create_client(
            "iam", region_name="us-east-1", endpoint_url=moto.s3_url, aws_access_key_id="x", aws_secret_access_key="x"
        )
        iam.create_user(UserName="glance")
        key = iam.create_access_key(UserName="glance")["AccessKey"]
        allowed = ["s3:CreateBucket", "s3:ListBucket", "s3:GetObject"]
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]}
        iam.put_user_policy(UserName="glance", PolicyName="most", PolicyDocument=json.dumps(policy))
        iam.list_users()  # the last request that is not checked
        good = {"s3_store_access_key": key["AccessKeyId"], "s3_store_secret_key": key["SecretAccessKey"]}
        for changed, words in (
            ({"s3_store_access_key": "AKIAIOSFODNN7EXAMPLE"}, "no such access key is known there"),
            ({"s3_store_secret_key": SECRET}, "s3_store_secret_key is not the one of s3_store_access_key"),
            ({}, "needs the rights s3:ListBucket"),
        ):
            configure(**{"s3_store_host": moto.s3_url, "s3_store_bucket": "images"} | good | changed)
            outcome = check("s3")
            assert outcome.status == 1
            assert words in outcome.text.replace("\n      ", " ")
            assert key["SecretAccessKey"] not in outcome.text
        assert "write 64 KiB" in outcome.failed("s3")  # listing is allowed, writing is not
    finally:
        moto.stop()


def documented() -> dict[str, Any]:
    """The configuration for Keystone in docs/stores.md."""
    _, _, part = DOCS.read_text("utf-8").partition("\n## Swift\n")
    return dict(re.findall(r"^    (swift_store_\w+) = (.+)$", part.partition("\n## ")[0], re.MULTILINE))


def test_keystone(configure: Configure, check: Check, keystone_swift: KeystoneSwift) -> None:
    keystone, user = keystone_swift.keystone, keystone_swift.user
    good = documented() | {"swift_store_auth_address": keystone.url, "swift_store_key": user.password}
    assert good["swift_store_user"] == f"{keystone_swift.project.name}:{user.name}"
    configure(**good)
    outcome = check("swift")
    assert outcome.status == 0, outcome.text
    assert outcome.steps["swift"]["write 2 MiB in parts, read them"] == "ok"
    closed = f"http://127.0.0.1:{keystone_swift.closed_port} (Swift, as its authentication names it)"
    for changed, reason, advice in (
        ({"swift_store_region": "west"}, "knows no Swift", "in the region west: look at swift_store_region"),
        ({"swift_store_region": keystone_swift.closed_region}, "Swift cannot be reached", closed),
        ({"swift_store_key": SECRET}, "refuses this server's user", "does not accept swift_store_user"),
        ({"swift_store_user": "nobody:admin"}, "refuses this server's user", "does not accept swift_store_user"),
        ({"swift_store_user_domain_name": "no"}, "refuses this server's user", "swift_store_user_domain_name"),
    ):
        configure(**good | changed)
        outcome = check("swift")
        assert outcome.status == 1
        (said,) = outcome.failed("swift").values()
        assert reason in said
        assert advice in said
        assert user.password not in outcome.text


# Proxies


def test_proxies_of_the_environment_are_named_and_not_used(
    installation: Installation, configure: Configure, check: Check
) -> None:
    """Nobody listens at this proxy: a request to it would fail."""
    proxy = f"http://127.0.0.1:{free_port()}"
    installation.environ |= {"HTTP_PROXY": proxy.replace("//", f"//user:{SECRET}@"), "https_proxy": proxy}
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        installation.environ.pop(name, None)
    configure()
    outcome = check()
    assert outcome.status == 0, outcome.text
    told = " ".join(outcome.text.split())
    for client in ("boto3", "swiftclient"):
        assert f"proxy: none. HTTP_PROXY in the environment names {proxy}, which {client} would use" in told
    assert f"set store_http_proxy = {proxy}" in told
    assert f"set http_store_proxy = {proxy}" in " ".join(check("http").text.split())
    installation.environ["NO_PROXY"] = "127.0.0.1"
    assert "proxy: none" not in check().text


def test_the_proxy_of_the_configuration_is_used(
    installation: Installation, configure: Configure, check: Check
) -> None:
    with forward_proxy(f"user:{SECRET}") as server:
        configure(store_http_proxy=server.url, http_store_proxy=server.url)
        outcome = check()
        assert outcome.status == 0, outcome.text
        assert outcome.text.count(f"proxy: {server.address} (store_http_proxy)") == 2
        assert {port for _, _, port in server.targets} == ports_of(installation)
        assert f"proxy: {server.address} (http_store_proxy)" in check("http").text
        server.refuses = True
        for store in ("s3", "swift"):
            (said,) = check(store).failed(store).values()
            assert f"through {server.address} (store_http_proxy)" in said


def ports_of(installation: Installation) -> set[int]:
    """The ports of the clouds in the configuration."""
    text = installation.config.read_text()
    return set(map(int, re.findall(r"(?:s3_store_host|swift_store_auth_address) = http://[^:]+:([0-9]+)", text)))
