# SPDX-License-Identifier: Apache-2.0
"""`glance` with real daemons: what every command prints and answers. Its transfers are in test_glance_transfer.py."""

import json
import os
import pty
import re
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.functional.daemons import Installation
from tests.servers.scripted import Reply, scripted
from tests.servers.web import DATA as WEB_DATA
from tests.servers.web import web_server

pytestmark = pytest.mark.functional

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NOBODY = str(uuid.UUID(int=7))
HEADING = (
    "ID                                   Name                           Disk Format          Container Format     Size          \n"
    "------------------------------------ ------------------------------ -------------------- -------------------- --------------\n"
)


def add(running: Installation, name: str, *words: str, stdin: bytes = b"x" * 10) -> str:
    """A new public image; its id."""
    done = running.glance("add", f"name={name}", "is_public=True", *words, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    found = re.fullmatch(rf"Added new image with ID: ({UUID})\n", done.stdout)
    assert found is not None, done.stdout
    return found[1]


def shown(running: Installation, image_id: str) -> dict[str, object]:
    done = running.glance("show", "--json", image_id)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# add


def test_an_image_and_what_is_shown_of_it(running: Installation) -> None:
    image_id = add(
        running,
        "Bücher 日本",
        "disk_format=qcow2,",
        "container_format=bare",
        "min_ram=512",
        "Kernel-ID=7",
        stdin=b"abc",
    )
    done = running.glance("show", image_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"URI: http://127.0.0.1:{running.api_port}/v1/images/{image_id}\nId: {image_id}\nPublic: Yes\nName: Bücher 日本\n"
        "Status: active\nSize: 3\nDisk format: qcow2\nContainer format: bare\nMinimum Ram Required (MB): 512\n"
        "Minimum Disk Required (GB): 0\nProperty 'kernel_id': 7\n"
    )
    record = shown(running, image_id)
    assert (record["name"], record["is_public"], record["size"]) == ("Bücher 日本", True, 3)
    assert (record["checksum"], record["properties"]) == ("900150983cd24fb0d6963f7d28e17f72", {"kernel_id": "7"})


def test_defaults_and_what_is_said_of_them(running: Installation) -> None:
    done = running.glance("add", "-v", "name=plain", "status=active", "size=9", stdin=b"abc")
    assert done.returncode == 0
    first, second, *pairs = done.stdout.splitlines()
    record = dict(pair.strip().split(" => ") if " => " in pair.strip() else (pair.strip(" =>"), "") for pair in pairs)
    assert first == f"Added new image with ID: {record['id']}"
    assert second == "It has this metadata now:"
    assert all(re.match(r" *\w+ => ", pair) and pair.index(" => ") == 30 for pair in pairs)
    assert [record[key] for key in ("disk_format", "container_format", "is_public", "min_disk", "min_ram", "size")] == [
        "raw", "ovf", "False", "0", "0", "3",
    ]  # fmt: skip
    *notices, timing = done.stderr.splitlines()
    assert notices == [f"Found non-settable field {field}. Removing." for field in ("status", "size")]
    assert re.fullmatch(r"Completed in \d+\.\d{4} sec\.", timing)


def test_nothing_from_standard_input_is_an_empty_image(running: Installation) -> None:
    done = running.glance("add", "name=empty", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert (json.loads(done.stdout)["status"], json.loads(done.stdout)["size"]) == ("active", 0)


def test_a_record_alone(running: Installation) -> None:
    done = running.glance("add", "name=later", "--queued")
    assert done.returncode == 0
    image_id = done.stdout.split()[-1]
    assert done.stderr == f"It is queued: give it its bytes with glance upload {image_id} FILE\n"
    assert shown(running, image_id)["status"] == "queued"


def test_a_terminal_is_not_waited_for(running: Installation) -> None:
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "rb", buffering=0) as terminal:
            done = running.glance("add", "name=typed", "--json", stdin=terminal)
    finally:
        os.close(ours)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "queued")


def test_an_image_that_lies_elsewhere(installation: Installation) -> None:
    installation.configure(api="http_store_allowed_hosts = 127.0.0.1")
    installation.start()
    with web_server() as web:
        for word in ("location", "copy_from"):
            done = installation.glance("add", f"name={word}", f"{word}={web.url('ranged?a=b')}", "--json")
            assert (done.returncode, done.stderr) == (0, "")
            record = json.loads(done.stdout)
            assert (record["size"], record["properties"]) == (len(WEB_DATA), {})
        queued = json.loads(installation.glance("add", "name=later", "--queued", "--json").stdout)
        done = installation.glance("update", queued["id"], f"location={web.url('ranged')}")
        assert (done.returncode, shown(installation, queued["id"])["status"]) == (0, "active")
        for word in ("location", "copy_from"):
            words = f"name={word}", f"{word}={web.url('ranged')}"
            reader, writer = os.pipe()  # that nothing comes from, as in ssh and continuous integration
            with os.fdopen(writer, "wb"), os.fdopen(reader, "rb") as silent:
                assert installation.glance("add", *words, stdin=silent).returncode == 0
            with installation.config.open("rb") as file:
                assert installation.glance("add", *words, stdin=file).returncode == 0
                assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0
            done = installation.glance("add", *words, "--file", str(installation.config))
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == (
                "--file and location= or copy_from= exclude each other: the data comes from one place\n"
            )


@pytest.mark.parametrize(("words", "text"), [
    (["disk_format=raw"], "Please specify a name for the image using name=VALUE"),
    (["name="], "Please specify a name for the image using name=VALUE"),
    (["name"], "Arguments should be in the form of field=value, and 'name' is not"),
    (["name=x", "--file", "nowhere.img"], "cannot read nowhere.img: no such file or directory"),
    (["name=x", "--file", "."], "cannot read .: is a directory"),
    (["name=x", "--file", "/proc/self/mem"],
     "cannot read /proc/self/mem: input/output error. A record of the image may remain; its status is killed."),
    (["name=x", "--queued", "--file", "."], "--queued and --file exclude each other: a queued image has no data yet"),
    (["name=x", "prop=one\ntwo"], "Failed to add image. Got error: property prop must not contain line ends or other control "
     "characters, as 'one\\ntwo' does"),
    (["name=x", "prop=one "], "Failed to add image. Got error: property prop must not begin or end with a space, as 'one ' does: "
     "HTTP would drop it"),
])  # fmt: skip
def test_what_cannot_be_added(running: Installation, words: list[str], text: str) -> None:
    done = running.glance("add", *words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{text}\n")


def test_the_server_refuses_an_image(running: Installation) -> None:
    done = running.glance("add", "name=x", "disk_format=zz", stdin=b"x" * 3_000_000)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"Failed to add image\. Got error: Invalid disk format 'zz'.* A record of the image may remain; its status is killed\.\n",
        done.stderr,
    )


def test_the_amazon_formats_go_in_pairs(running: Installation) -> None:
    record = shown(running, add(running, "kernel", "disk_format=aki"))
    assert (record["disk_format"], record["container_format"]) == ("aki", "aki")


def test_an_image_with_as_many_properties_as_there_may_be(running: Installation) -> None:
    image_id = add(running, "rich", *(f"key{number}={number}" for number in range(128)))
    assert len(shown(running, image_id)["properties"]) == 128


# index and details


def test_a_list(running: Installation) -> None:
    mark = uuid.uuid4().hex
    first = add(
        running, "Débian " + "日本語" * 10, f"mark={mark}", "disk_format=qcow2", "container_format=bare", stdin=b"abc"
    )
    second = add(running, "second", f"mark={mark}")
    done = running.glance("index", f"mark={mark}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{HEADING}{second} {'second':30} {'raw':20} {'ovf':20} {'10':>14}\n"
        f"{first} Débian 日本語日本語日本語日本  {'qcow2':20} {'bare':20} {'3':>14}\n"
    )
    done = running.glance("index", "--sort_key=name", "--sort_dir", "asc", f"mark={mark}", "size_min=1", "--json")
    assert [image["id"] for image in json.loads(done.stdout)] == [first, second]
    done = running.glance("index", f"--marker={second}", f"mark={mark}", "--json")
    assert [image["id"] for image in json.loads(done.stdout)] == [first]
    assert running.glance("index", f"mark={mark}", "disk_format=vdi").stdout == ""
    assert json.loads(running.glance("index", f"mark={mark}", "disk_format=vdi", "--json").stdout) == []


def test_the_pages_of_a_list(running: Installation) -> None:
    mark = uuid.uuid4().hex
    ids = [add(running, f"page {number}", f"mark={mark}") for number in range(5)][::-1]
    words = ["--limit=2", f"mark={mark}"]
    question = "Fetch next page? [Y/n] "

    def listed(text: str) -> list[str]:
        assert text.startswith(HEADING)
        return [line.split()[0] for line in text.removeprefix(HEADING).splitlines()]

    for stdin, count, asked in ((b"\ny\n", 5, 2), (b"yes\nno\n", 4, 2), (b"n\n", 2, 1)):
        done = running.glance("index", *words, stdin=stdin)
        assert (done.returncode, listed(done.stdout), done.stderr) == (0, ids[:count], question * asked)
    done = running.glance("index", *words)
    assert (done.returncode, listed(done.stdout)) == (0, ids[:2])
    assert done.stderr == f"{question}\nThere may be more images: --force fetches all pages without asking.\n"
    done = running.glance("index", "-f", *words)
    assert (listed(done.stdout), done.stderr) == (ids, "")
    done = running.glance("details", "-f", *words)
    assert (done.stdout.count("URI: "), done.stderr) == (5, "")


def test_details(running: Installation) -> None:
    mark = uuid.uuid4().hex
    assert running.glance("details", f"mark={mark}").stdout == ""
    ids = [add(running, f"detailed {number}", f"mark={mark}") for number in range(2)]
    done = running.glance("details", f"mark={mark}")
    assert (done.returncode, done.stderr) == (0, "")
    rule = "=" * 80
    lines = done.stdout.splitlines()
    assert [number for number, line in enumerate(lines) if line == rule] == [0, 12, 24]
    assert "\n".join(lines[1:12]) + "\n" == running.glance("show", ids[1]).stdout
    assert [image["id"] for image in json.loads(running.glance("details", "--json", f"mark={mark}").stdout)] == ids[
        ::-1
    ]


def test_a_list_of_nonsense(running: Installation) -> None:
    done = running.glance("index", "size_min=much")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Failed to list images\. Got error: Bad value passed to filter.*\n", done.stderr)


# update, delete, clear


def test_an_update_removes_properties_that_are_not_named(running: Installation) -> None:
    image_id = add(running, "old", "a=1", "b=2")
    done = running.glance("update", image_id, "name=new", "c=3", "created_on=now")
    assert (done.returncode, done.stdout) == (0, f"Updated image {image_id}\n")
    assert done.stderr == "Found non-modifiable field created_on. Removing.\n"
    record = shown(running, image_id)
    assert (record["name"], record["properties"], record["is_public"]) == ("new", {"c": "3"}, True)
    done = running.glance("update", "--keep-properties", image_id, "d=4", "is_public=False", "--json")
    assert (json.loads(done.stdout)["properties"], json.loads(done.stdout)["is_public"]) == (
        {"c": "3", "d": "4"},
        False,
    )


def test_an_image_is_deleted_when_somebody_says_so(running: Installation) -> None:
    image_id = add(running, "doomed")
    for stdin, shut in ((None, "\n"), (b"\n", ""), (b"n\n", ""), (b"what\n", "")):
        done = running.glance("delete", image_id, stdin=stdin)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"Delete image {image_id}? [y/N] {shut}Not deleting image {image_id}\n"
    done = running.glance("delete", image_id, stdin=b"Yes\n")
    assert (done.returncode, done.stdout) == (0, f"Deleted image {image_id}\n")
    done = running.glance("delete", "-f", image_id)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"No image with ID {image_id} was found\n")


@pytest.mark.parametrize("words", [
    ["show", NOBODY], ["update", NOBODY, "a=b"], ["delete", "-f", NOBODY], ["download", NOBODY], ["upload", NOBODY],
    ["image-members", NOBODY], ["show", "0"], ["show", "日本"],
])  # fmt: skip
def test_no_such_image(running: Installation, words: list[str]) -> None:
    done = running.glance(*words)
    name = words[1] if words[1] != "-f" else words[2]
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"No image with ID {name} was found\n")
    done = running.glance("--json", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(done.stderr) == {
        "error": {"reason": "not-found", "message": f"No image with ID {name} was found"}
    }


def test_a_protected_image(running: Installation) -> None:
    image_id = add(running, "kept", "protected=True")
    done = running.glance("delete", "-f", image_id)
    assert done.returncode == 1
    assert re.fullmatch(r"Failed to delete image\. Got error: .*protected.*\n", done.stderr)
    assert running.glance("update", image_id, "protected=False").returncode == 0
    assert running.glance("delete", "-f", image_id).returncode == 0


def test_all_images_are_deleted(installation: Installation) -> None:
    installation.start()
    ids = [add(installation, f"image {number}") for number in range(3)]
    kept = add(installation, "kept", "protected=yes")
    assert installation.glance("clear").stderr == "Delete all images? [y/N] \nNot deleting any images\n"
    done = installation.glance("clear", "--dry-run", "--limit=1")
    assert (done.returncode, done.stdout.count("\nDelete image ")) == (0, 4)
    done = installation.glance("clear", "-v", "-f")
    assert done.returncode == 1
    assert done.stdout == "".join(f'Deleting image {ids[number]} "image {number}" ... done\n' for number in (2, 1, 0))
    assert done.stderr.startswith(f"Failed to delete image {kept}. Got error: ")
    assert [image["id"] for image in json.loads(installation.glance("index", "--json").stdout)] == [kept]
    assert installation.glance("update", kept, "protected=no").returncode == 0
    done = installation.glance("clear", stdin=b"y\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "Delete all images? [y/N] ")
    assert installation.glance("index").stdout == ""


# Members


def test_members(running: Installation) -> None:
    image_id = add(running, "shared")
    tenant, other = f"a b-{image_id}", f"日本-{image_id}"

    def quiet(*words: str) -> None:
        done = running.glance(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    quiet("image-members", image_id)
    quiet("member-add", image_id, tenant)
    quiet("member-add", "--can-share", image_id, other)
    done = running.glance("image-members", image_id)
    assert done.stdout == f"{tenant}\n{other} *\n\n(*: Can share image)\n"
    assert running.glance("member-images", tenant).stdout == f"{image_id}\n"
    assert running.glance("member-images", other).stdout == f"{image_id} *\n\n(*: Can share image)\n"
    assert json.loads(running.glance("member-images", "--json", other).stdout) == [
        {"image_id": image_id, "can_share": True}
    ]
    quiet("member-add", image_id, other)
    assert running.glance("image-members", image_id).stdout == f"{tenant}\n{other}\n"
    quiet("members-replace", image_id, "third", "--can-share")
    assert json.loads(running.glance("image-members", image_id, "--json").stdout) == [
        {"member_id": "third", "can_share": True}
    ]
    quiet("member-delete", image_id, "third")
    quiet("image-members", image_id)
    done = running.glance("member-delete", image_id, "third")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Failed to delete member\. Got error: .*\n", done.stderr)
    done = running.glance("member-images", tenant)
    assert (done.returncode, done.stdout) == (0, f"No images shared with member {tenant}\n")


# Whatever the command


@pytest.mark.parametrize(("words", "lines"), [
    (["add", "name=x", "a=b"], 9), (["update", NOBODY, "a=b"], 3), (["delete", NOBODY], 2), (["member-add", NOBODY, "t"], 2),
    (["member-delete", NOBODY, "t"], 2), (["members-replace", NOBODY, "t", "--can-share"], 2),
])  # fmt: skip
def test_a_dry_run_asks_nobody(installation: Installation, words: list[str], lines: int) -> None:
    done = installation.glance(*words, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Dry run. We would have done the following:\n")
    assert len(done.stdout.splitlines()) == lines


@pytest.mark.parametrize("words", [
    "index", "details", "show 1", "add name=x", "update 1 a=b", "delete -f 1", "clear -f", "download 1", "upload 1", "image-members 1",
    "member-images t", "member-add 1 t", "member-delete 1 t", "members-replace 1 t",
])  # fmt: skip
def test_no_server(installation: Installation, words: str) -> None:
    done = installation.glance(*words.split())
    assert (done.returncode, done.stdout) == (1, "")
    where = f"127.0.0.1:{installation.api_port}"
    assert (
        done.stderr
        == f"Failed to connect to the Glance API server {where}. Is glance-api running? (no server at {where})\n"
    )
    assert json.loads(installation.glance(*words.split(), "--json").stderr)["error"]["reason"] == "no-server"


def test_a_program_that_looks_for_the_error_may_have_it(installation: Installation) -> None:
    done = installation.glance("-d", "index")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "NoServer" in done.stderr


def test_a_server_that_is_none(running: Installation) -> None:
    with web_server() as web:
        done = running.glance("-U", web.url(""), "index")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"Failed to list images\. Got error: 404 Not Found \(from \w+, not Glance\): no such thing\n", done.stderr
    )


@pytest.mark.parametrize(("words", "status", "output", "error"), [
    ([], 0, "usage: glance COMMAND [options] [arguments]\n\nFind, store", ""), (["-v"], 0, "usage: glance COMMAND [options] [arguments]\n", ""),
    (["frob"], 1, "", "Unknown command: frob\n"), (["help", "frob"], 1, "", "Unknown command: frob\n"), (["help"], 0, "usage: glance COMMAND [options] [arguments]\n\nFind, store", ""),
    (["help", "add"], 0, "usage: glance add [options] FIELD=VALUE...\n", ""), (["-h", "add"], 0, "usage: glance add [options] FIELD=VALUE...\n", ""),
    (["--help"], 0, "usage: glance COMMAND [options] [arguments]\n\nFind, store", ""), (["--version"], 0, "glance 20", ""),
    (["show"], 2, "", "usage: glance show [options] ID\nglance show: error:"), (["completion", "fish"], 1, "", "There is completion for bash and zsh"),
])  # fmt: skip
def test_the_program_itself(running: Installation, words: list[str], status: int, output: str, error: str) -> None:
    command = running.command("glance", *words)
    done = subprocess.run(command, env=running.environ, cwd=running.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)  # fmt: skip
    assert done.returncode == status
    assert done.stdout.startswith(output)
    assert done.stderr.startswith(error)
    assert bool(done.stdout) == bool(output)
    assert bool(done.stderr) == bool(error)


def test_a_locale_that_has_no_such_letters(running: Installation) -> None:
    image_id = add(running, "日本")
    done = running.glance("show", image_id, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert r"Name: \u65e5\u672c" in done.stdout


def test_names_that_a_terminal_would_obey(running: Installation) -> None:
    """The server takes no control characters but these."""
    image_id = add(running, "a\u2028b\u200bc")
    assert "Name: a\ufffdb\u200bc\n" in running.glance("show", image_id).stdout


def test_a_reader_that_leaves(running: Installation) -> None:
    for number in range(3):
        add(running, f"unread {number}")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            running.command("glance", "--port", str(running.api_port), "details", "-f"),
            env=running.environ, cwd=running.folder, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_output_that_is_full(running: Installation) -> None:
    add(running, "unwritten")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            running.command("glance", "--port", str(running.api_port), "index", "-f"),
            env=running.environ, cwd=running.folder, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"ERROR: cannot write to standard output: no space left on device\n")


def test_bash_completes(running: Installation) -> None:
    script = running.glance("completion", "bash")
    assert (script.returncode, script.stderr) == (0, "")
    (running.folder / "completion").write_text(script.stdout)

    def completed(*words: str) -> set[str]:
        line = " ".join(words)
        program = f"""
            . ./completion
            function=$(complete -p glance | sed 's/.*-F \\([^ ]*\\).*/\\1/')
            COMP_WORDS=({line})
            COMP_CWORD={len(words) - 1}
            $function glance "{words[-1]}" "{words[-2]}"
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "-c", program], cwd=running.folder, capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
        return {word.strip() for word in done.stdout.splitlines()}

    assert {"member-add", "member-delete", "member-images", "members-replace"} == completed("glance", "member")
    assert {"--keep-properties"} == completed("glance", "update", "--keep")
    assert {"noauth"} == completed("glance", "index", "-S", "no")
    assert "completion" in completed("glance", "download", "1", "compl")
    assert running.glance("completion", "zsh").stdout.startswith("#compdef glance")


def test_every_command_takes_the_number_of_an_image(running: Installation) -> None:
    """glance-upload prints no other name of an image."""
    made = running.upload("--type", "qcow2", "-", "uploaded", stdin=b"abc")
    number = re.search(r"'id': (\d+)", made.stdout)[1]
    record = shown(running, number)
    image_id = str(record["id"])
    assert (record["name"], running.glance("show", number).stdout) == (
        "uploaded",
        running.glance("show", image_id).stdout,
    )
    assert running.glance("download", number).stdout == "abc"
    assert running.glance("download", number, "disk").returncode == 0
    assert (running.folder / "disk").read_bytes() == b"abc"
    done = running.glance("update", number, "kernel_id=8", "--keep-properties")
    assert (done.returncode, done.stdout) == (0, f"Updated image {image_id}\n")
    assert running.glance("member-add", number, "t").returncode == 0
    assert "t" in running.glance("image-members", number).stdout
    assert running.glance("members-replace", number, "u").returncode == 0
    assert running.glance("member-delete", number, "u").returncode == 0
    assert running.glance("image-members", number).stdout == ""
    marked = running.glance("details", "--json", "--marker", number).stdout
    assert marked == running.glance("details", "--json", "--marker", image_id).stdout
    dry = running.glance("delete", "--dry-run", number)
    assert (dry.returncode, dry.stdout.splitlines()[-1]) == (0, f"Delete image {number}")
    done = running.glance("delete", "-f", number)
    assert (done.returncode, done.stdout) == (0, f"Deleted image {image_id}\n")
    for words in (["show", number], ["delete", "-f", number], ["download", number]):
        done = running.glance(*words)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"No image with ID {number} was found\n")
    assert running.glance("show", "007").stderr == "No image with ID 007 was found\n"


def test_the_bytes_of_a_queued_image_by_its_number(running: Installation) -> None:
    image_id = json.loads(running.glance("add", "name=later", "is_public=True", "--queued", "--json").stdout)["id"]
    with running.client() as client:
        number = next(image["id"] for image in client.get_images() if image["name"] == "later")
    done = running.glance("upload", str(number), stdin=b"abc")
    assert (done.returncode, done.stdout) == (0, f"Uploaded image {image_id}\n")
    assert shown(running, image_id)["status"] == "active"


def test_a_server_that_does_not_tell_ids(running: Installation) -> None:
    with scripted() as server:
        server.answer = lambda asked: Reply(headers={"X-Image-Meta-Id": "7"})
        done = running.glance("-U", server.url, "show", "7")
    assert done.returncode == 1
    assert done.stderr.endswith("does not know images by number: use the id of the image, a UUID\n")


@pytest.mark.parametrize("form", ["127.0.0.1", "127.0.0.1:{port}", "http://127.0.0.1", "http://127.0.0.1:{port}/"])
def test_the_host_in_other_words(running: Installation, form: str) -> None:
    done = running.glance("-H", form.format(port=running.api_port), "index", "--limit", "1", "-f")
    assert (done.returncode, done.stderr) == (0, "")
