# SPDX-License-Identifier: Apache-2.0
"""`glance` before it asks a server: options anywhere, key=value arguments, help, credentials."""

import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

import glance
from glance.cli.images import fields
from glance.cli.images.commands import COMMANDS
from glance.cli.images.credentials import Access, access_of
from glance.cli.images.errors import Failed
from glance.cli.images.options import COMMON
from glance.cli.images.parser import parse, parser_of, root_parser

UUID = "71c675ab-d94f-49cd-a114-e12490b328d9"

# Options


@pytest.mark.parametrize("words", [
    "-f --limit 5 index a=1 b=2", "index -f --limit=5 a=1 b=2", "index a=1 -f b=2 --limit 5", "--limit 5 index a=1 b=2 -f",
])  # fmt: skip
def test_options_stand_anywhere(words: str) -> None:
    options = parse(words.split())
    assert (options.verb, options.force, options.limit, options.filter) == ("index", True, 5, ["a=1", "b=2"])


@pytest.mark.parametrize("spelling", ["--sort_key", "--sort-key"])
def test_the_underscores_of_2011(spelling: str) -> None:
    assert parse([spelling, "a_b", "index"]).sort_key == "a_b"
    assert parse([f"{spelling}=a_b", "index", "my_key=1"]).filter == ["my_key=1"]
    assert parse(["--auth_token", "t", "index", "--", "--a_b"]).filter == ["--a_b"]


def test_every_command_takes_the_options_of_2011() -> None:
    words = {"ID": UUID, "FILE": "file", "MEMBER": "t", "COMMAND": "add", "SHELL": "bash"}
    classic = "-v -d -H h -p 1 -A t --limit 1 --marker m --sort_key k --sort_dir asc -f --can-share --dry-run"
    for command in COMMANDS.values():
        arguments = [words.get(re.sub(r"[\[\].]|=.*", "", name), "a=b") for name in command.arguments]
        options = parse([*classic.split(), command.name, *arguments])
        assert (options.verb, options.host.host, options.auth_token, options.force) == (command.name, "h", "t", True)


def test_a_word_that_is_an_options_value_is_no_command() -> None:
    options = parse(["--marker", "show", "index", "-A", "index"])
    assert (options.verb, options.marker, options.auth_token) == ("index", "show", "index")


@pytest.mark.parametrize(("words", "text"), [
    ("index --limit x", "a whole number"), ("index --limit 0", "a whole number"), ("index -p 99999", "a port"), ("index --frob", "unrecognized"),
    ("show", "required: ID"), ("show a b", "unrecognized"), ("show --file x a", "unrecognized"), ("index --sort-dir up", "invalid choice"),
    ("index --lim 3", "unrecognized"), ("show \udcff", "not in UTF-8"), ("add", "required: FIELD"), ("--limit", "expected one argument"),
    ("-S keystone2 index", "invalid choice"),
])  # fmt: skip
def test_wrong_options(words: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(words.split())
    assert end.value.code == 2
    assert text in capsys.readouterr().err


HOSTS = [
    ("h", "http", "h", None), ("h:9292", "http", "h", 9292), ("192.0.2.7", "http", "192.0.2.7", None), ("::1", "http", "::1", None),
    ("[::1]", "http", "::1", None), ("[::1]:9292", "http", "::1", 9292), ("http://h", "http", "h", None), ("https://h:1/", "https", "h", 1),
    ("HTTPS://[2001:db8::7]:443", "https", "2001:db8::7", 443), ("fe80::1%eth0", "http", "fe80::1%eth0", None), ("bücher.example", "http", "bücher.example", None),
]  # fmt: skip
NO_HOSTS = ["", " ", "h:", "h:0", "h:x", "h:99999", "a b", "u:p@h", "ftp://h", "http:/h", "http://", "h/v1", "http://h?x", "h#x", "[::1", "::1]", "[h]",
    "[::1]x", "1:2:3", "http://::1", "h:1:2", "h\n", "h\x1b", "//h", "h:9\N{FULLWIDTH DIGIT NINE}", "\udcff"]  # fmt: skip


@pytest.mark.parametrize(("text", "scheme", "host", "port"), HOSTS)
def test_a_host(text: str, scheme: str, host: str, port: int | None) -> None:
    found = parse(["-H", text, "index"]).host
    assert (found.scheme, found.host, found.port) == (scheme, host, port)


@pytest.mark.parametrize("text", NO_HOSTS)
def test_what_is_no_host(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["index", f"--host={text}"])
    assert end.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("glance index: error: argument -H/--host: ")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["index", "--version"])
    assert end.value.code == 0
    assert re.fullmatch(r"glance \S+\n", capsys.readouterr().out)


def test_help_shows_every_command_and_option() -> None:
    text = root_parser().format_help()
    for command in COMMANDS.values():
        assert f"  {command.name} " in text
        help_text = parser_of(command).format_help()
        assert help_text.startswith(f"usage: glance {command.name} [options]")
        assert all(f"  {example}\n" in help_text for example in command.examples)
        assert command.examples
        assert all(f"--{option.replace('_', '-')}" in help_text for option in command.options)
    for options in COMMON.values():
        for flags, _ in options.values():
            assert ", ".join(flags) in text


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.name)
def test_examples_are_commands_that_could_be_run(command) -> None:
    for example in command.examples:
        words = re.split(r" [|<>#] ?", example.replace('"', ""))[0].split()
        words = [word for word in words if word != "13"]  # the half of a quoted name
        assert parse(words[1:]).verb == command.name


def test_help_loads_nothing_that_takes_time() -> None:
    program = (
        "import sys; from glance.cli.images.main import main; sys.argv[1:] = ['--help']; main(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(glance.__file__).parents[1])  # fmt: skip
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "argparse" in loaded
    assert not loaded & {
        "requests",
        "keystoneauth1",
        "shtab",
        "tqdm",
        "wcwidth",
        "glance.client",
        "sqlalchemy",
        "ssl",
    }


# Fields and filters


def test_fields_and_properties() -> None:
    words = [
        "Name=a,",
        ",Disk-Format=raw",
        "is_public=Yes",
        "protected=0",
        "min_disk=2",
        "owner=",
        "Kernel-ID=7",
        "url=a=b",
    ]
    record = fields.record_of(words, "settable")
    assert record.fields == {
        "name": "a", "disk_format": "raw", "is_public": True, "protected": False, "min_disk": "2", "owner": None,
    }  # fmt: skip
    assert record.properties == {"kernel_id": "7", "url": "a=b"}


@pytest.mark.parametrize("word", ["name", "=x", ",", "name,"])
def test_what_is_no_field(word: str) -> None:
    with pytest.raises(Failed, match=re.escape(repr(word))):
        fields.pairs_of([word])


def test_a_truth_that_is_none() -> None:
    with pytest.raises(Failed, match="is_public should be True or False, not 'maybe'"):
        fields.record_of(["is_public=maybe"], "settable")


@pytest.mark.parametrize("key", sorted(fields.READ_ONLY))
def test_fields_that_are_not_set(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    record = fields.record_of([f"{key}=1", "a=b"], "modifiable")
    assert (record.fields, record.properties) == ({}, {"a": "b"})
    assert capsys.readouterr().err == f"Found non-modifiable field {key}. Removing.\n"


@pytest.mark.parametrize(("given", "formats"), [
    ({}, ("raw", "ovf")), ({"disk_format": "qcow2"}, ("qcow2", "ovf")), ({"disk_format": "aki"}, ("aki", None)),
    ({"container_format": "ami"}, (None, "ami")), ({"container_format": "bare"}, ("raw", "bare")),
])  # fmt: skip
def test_defaults(given: dict[str, object], formats: tuple[str | None, str | None]) -> None:
    filled = fields.with_defaults({**given, "min_ram": "4"})
    assert (filled.get("disk_format"), filled.get("container_format")) == formats
    assert (filled["is_public"], filled["min_disk"], filled["min_ram"]) == (False, 0, "4")


def test_filters() -> None:
    assert fields.query_of(["name=a", "size-min=1", "changes-since=2011", "arch=b", "owner=c", "id=d"]) == {
        "name": "a", "size_min": "1", "changes-since": "2011", "property-arch": "b", "property-owner": "c", "property-id": "d",
    }  # fmt: skip


# Where the server is, and who we are


def access(words: str = "", **environ: str) -> Access:
    options: Namespace = parse(["index", *words.split()])
    return access_of(options, environ)


@pytest.mark.parametrize(("words", "environ", "url"), [
    ("", {}, "http://127.0.0.1:9292"), ("-H glance", {}, "http://glance:9292"), ("-p 1", {}, "http://127.0.0.1:1"),
    ("-H ::1 -p 1", {}, "http://[::1]:1"), ("-U https://x/v1", {}, "https://x/v1"), ("-U https://x -H y", {}, "https://x"),
    ("", {"OS_IMAGE_URL": "https://y"}, "https://y"), ("", {"OS_IMAGE_URL": ""}, "http://127.0.0.1:9292"),
    ("-H 0.0.0.0", {"OS_IMAGE_URL": "https://y"}, "http://0.0.0.0:9292"), ("-H [::1]", {}, "http://[::1]:9292"),
    ("-H https://glance", {}, "https://glance:9292"), ("-H glance:1 -p 1", {}, "http://glance:1"), ("-H https://[::1]:443/", {}, "https://[::1]:443"),
])  # fmt: skip
def test_where_the_server_is(words: str, environ: dict[str, str], url: str) -> None:
    assert access(words, **environ).url == url


def test_two_different_ports() -> None:
    with pytest.raises(Failed, match="--host names the port 1 and --port 2: give one of them"):
        access("-H glance:1 -p 2")


@pytest.mark.parametrize(("words", "environ", "token", "user"), [
    ("", {}, None, None),
    ("-A t", {"OS_AUTH_TOKEN": "u", "OS_USERNAME": "a", "OS_PASSWORD": "b"}, "t", None),
    ("", {"OS_AUTH_TOKEN": "u", "OS_TOKEN": "v"}, "u", None),
    ("", {"OS_TOKEN": "v", "OS_AUTH_STRATEGY": "keystone"}, "v", None),
    ("", {"OS_USERNAME": "a", "OS_PASSWORD": "b"}, None, ("a", "b")),
    ("", {"OS_AUTH_USER": "a", "OS_AUTH_KEY": "b"}, None, ("a", "b")),
    ("-I x -K y", {"OS_AUTH_USER": "a", "OS_AUTH_KEY": "b", "OS_AUTH_URL": ""}, None, ("x", "y")),
    ("-S basic", {"OS_AUTH_USER": "a", "OS_AUTH_KEY": "b", "OS_AUTH_URL": "http://127.0.0.1:1/"}, None, ("a", "b")),
    ("", {"OS_AUTH_USER": "a", "OS_AUTH_KEY": "b", "OS_AUTH_STRATEGY": "noauth"}, None, None),
    ("", {"OS_AUTH_USER": "a"}, None, None),
])  # fmt: skip
def test_who_we_are(words: str, environ: dict[str, str], token: str | None, user: tuple[str, str] | None) -> None:
    found = access(words, **environ)
    assert (found.token, found.user) == (token, user)


@pytest.mark.parametrize(("words", "environ", "text"), [
    ("-S keystone", {}, "needs OS_AUTH_URL in the environment, or --os-auth-url"),
    ("-S basic", {"OS_AUTH_USER": "a"}, "needs OS_PASSWORD or OS_AUTH_KEY in the environment, or --os-password"),
    ("", {"OS_AUTH_STRATEGY": "ldap"}, "one of noauth, basic, keystone, not 'ldap'"),
    ("-N http://127.0.0.1:1/v3 -I a -K b", {}, "Failed to get a token from http://127.0.0.1:1/v3"),
])  # fmt: skip
def test_credentials_that_do_not_do(words: str, environ: dict[str, str], text: str) -> None:
    with pytest.raises(Failed, match=re.escape(text)) as caught:
        access(words, **environ)
    assert "\n" not in str(caught.value)


def test_certificates() -> None:
    assert access().verify is True
    assert access("-k --os-cacert x").verify is False
    assert access("--os-cacert x").verify == "x"
    assert access("", OS_CACERT="y", OS_CERT="c").cert == "c"
    assert access("", OS_KEY="k", OS_CERT="c").cert == ("c", "k")
