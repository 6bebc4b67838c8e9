# SPDX-License-Identifier: Apache-2.0
"""glance-control with real daemons: it says what is so, ends only what is its own, and loses no transfer."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.functional.daemons import CODE, Installation, answer_of, slow_upload
from tests.functional.live import wait_until

pytestmark = pytest.mark.functional


def test_both_daemons_from_start_to_stop(installation: Installation) -> None:
    conf = installation.config
    done = installation.control("all", "start")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Starting glance-api with {conf}\nStarting glance-registry with {conf}\n"
    with installation.client() as client:
        assert client.get_images() == []  # start has returned: they answer

    pids = {name: installation.pid(name) for name in ("glance-api", "glance-registry")}
    assert oct((installation.folder / "log/glance-api.log").stat().st_mode & 0o777) == "0o640"
    again = installation.control("api", "start")
    assert again.stdout == f"glance-api appears to already be running: {installation.pid_file('glance-api')}\n"
    assert again.returncode == 0
    status = installation.control("ALL", "Status")
    assert status.returncode == 0
    assert status.stdout == (
        f"glance-api is running: pid {pids['glance-api']}, http://127.0.0.1:{installation.api_port}\n"
        f"glance-registry is running: pid {pids['glance-registry']}, http://127.0.0.1:{installation.registry_port}\n"
    )

    done = installation.control("all", "stop")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(f"Stopping {name}  pid: {pid}  signal: 15\n" for name, pid in pids.items())
    assert not any(is_alive(pid) for pid in pids.values())
    assert not list(installation.folder.glob("run/*"))
    assert installation.control("all", "stop").stdout == "No glance-api running\nNo glance-registry running\n"
    status = installation.control("all", "status")
    assert status.stdout == "glance-api is not running\nglance-registry is not running\n"
    assert status.returncode == 3


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("foo start", "unknown server 'foo': choose from all, api, registry"),
        ("all bar", "unknown command 'bar': choose from start, stop"),
        ("--pid-file x.pid all start", "use --pid-dir"),
        ("--pid-file x.pid --pid-dir y api start", "--pid-dir"),
        ("all start a.conf b.conf", "too many arguments: b.conf"),
        ("all start a.conf --config-file b.conf", "two configuration files"),
        ("--nonsense all start", "--nonsense"),
        ("all start nosuch.conf", "cannot read the configuration file"),
    ],
)
def test_wrong_usage(installation: Installation, words: str, told: str) -> None:
    done = installation.run("glance-control", *words.split())
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stdout == ""


def test_help_and_version(installation: Installation) -> None:
    for words in ([], ["all"]):
        done = installation.run("glance-control", *words)
        assert done.returncode == 1
        assert done.stdout.startswith("usage: glance-control")
    for program in ("glance-control", "glance-api", "glance-registry", "glance-upload"):
        done = installation.run(program, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: {program}")
        version = installation.run(program, "--version")
        assert re.fullmatch(rf"{program} [0-9][0-9.]+\n", version.stdout)


def test_a_port_that_is_taken(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", installation.api_port)):
        done = installation.control("api", "start")
    log = installation.folder / "log/glance-api.log"
    assert done.returncode == 1
    assert done.stderr == (
        f"glance-api did not start: cannot listen on 127.0.0.1:{installation.api_port}: "
        f"address already in use. Log: {log}\n"
    )
    assert "ERROR: cannot listen" in log.read_text()
    assert not list(installation.folder.glob("run/*"))


def test_an_unknown_option(installation: Installation) -> None:
    installation.configure(api="bakclog = 7")
    done = installation.control("api", "start")
    assert done.returncode == 1
    assert re.match(r"glance-api did not start: .*bakclog.*backlog", done.stderr)
    assert done.stdout == ""


def test_a_database_that_is_out_of_reach(installation: Installation) -> None:
    text = installation.config.read_text()
    installation.config.write_text(text.replace("sqlite:///glance.sqlite", "sqlite:////nowhere/at/all.sqlite"))
    done = installation.control("registry", "start")
    assert done.returncode == 1
    assert re.match(r"glance-registry did not start: .+\. Log: .+/glance-registry\.log\n", done.stderr)
    assert "Traceback" not in done.stderr
    assert not list(installation.folder.glob("run/*"))


def test_a_daemon_that_dies_without_a_word(installation: Installation) -> None:
    """What it last wrote tells most."""
    (installation.folder / "crash.py").write_text("def app_factory(*_, **__):\n    raise SystemExit('all is lost')\n")
    installation.environ["PYTHONPATH"] = os.pathsep.join((str(CODE), str(installation.folder)))
    installation.config.write_text(installation.config.read_text().replace("glance.server:app", "crash:app"))
    done = installation.control("api", "start")
    assert done.returncode == 1
    assert done.stderr.startswith("glance-api did not start: all is lost. Log: ")


def test_folders_that_cannot_be_made(installation: Installation) -> None:
    (installation.folder / "run").write_text("in the way")
    done = installation.control("api", "start")
    assert done.returncode == 1
    assert f"cannot make the pid directory {installation.folder / 'run'}" in done.stderr
    assert "--pid-dir" in done.stderr
    assert done.stdout == ""


def test_stale_and_foreign_pid_files(installation: Installation) -> None:
    stranger = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        path = installation.pid_file("glance-registry")
        path.parent.mkdir()
        path.write_text(f"{stranger.pid}\n")
        done = installation.control("registry", "stop")
        assert done.stdout == f"Removing stale pid file {path}\nNo glance-registry running\n"
        path.write_text(f"{stranger.pid}\n")
        done = installation.control("registry", "start")
        assert done.stdout == (
            f"Removing stale pid file {path}\nStarting glance-registry with {installation.config}\n"
        )
        assert installation.pid("glance-registry") != stranger.pid
        assert installation.control("registry", "stop").returncode == 0

        path.symlink_to("/etc/hostname")
        done = installation.control("registry", "start")
        assert done.returncode == 1
        assert "symbolic link" in done.stderr
        assert stranger.poll() is None
    finally:
        stranger.communicate()


def test_options_may_stand_anywhere(installation: Installation) -> None:
    path = installation.folder / "my.pid"
    words = ["registry", "start", "--pid-file", str(path), str(installation.config), *installation.own_folders[2:]]
    assert installation.run("glance-control", *words).returncode == 0
    assert is_alive(int(path.read_text()))
    words[1] = "restart"
    before = path.read_text()
    done = installation.run("glance-control", *words)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"Stopping glance-registry  pid: {before.strip()}  signal: 15"
    assert path.read_text() != before


def test_stop_lets_an_upload_finish(installation: Installation) -> None:
    installation.start()
    with slow_upload(installation) as upload:
        control = background(installation, "all", "stop")
        wait_until(lambda: refuses(installation.api_port), "the port is closed")
        assert control.poll() is None
        upload.sendall(b"x" * 500)
        answer = answer_of(upload)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"status": "active"' in answer
    assert control.communicate(timeout=20)[0].count("signal: 15") == 2
    assert control.returncode == 0


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def background(installation: Installation, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        installation.command("glance-control", *installation.own_folders, *arguments),
        cwd=installation.folder,
        env=installation.environ,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_stop_does_not_wait_for_ever(installation: Installation) -> None:
    installation.configure(common="graceful_shutdown_timeout = 1")
    installation.start()
    with slow_upload(installation) as upload:
        begin = time.monotonic()
        done = installation.control("all", "stop")
        assert 1 <= time.monotonic() - begin < 8
        assert b"HTTP/1.1 200" not in answer_of(upload)
    assert done.returncode == 0
    assert not [path for path in installation.folder.glob("images/**/*") if path.is_file()]


def test_reload_takes_the_new_configuration_and_drops_nothing(installation: Installation) -> None:
    installation.start()
    old = installation.pid("glance-api")
    with slow_upload(installation) as upload:
        installation.configure(api="registry_timeout = 7")
        done = installation.control("api", "reload")
        assert done.returncode == 0, done.stderr
        assert installation.pid("glance-api") != old
        with installation.client() as client:
            client.add_image({"name": "meanwhile", "type": "raw", "is_public": True}, b"abc")
        upload.sendall(b"x" * 500)
        assert answer_of(upload).startswith(b"HTTP/1.1 200 ")
    with installation.client() as client:
        assert {image["name"] for image in client.get_images()} == {"slow", "meanwhile"}
    done = installation.control("all", "stop")
    assert done.stdout.count("Stopping") == 2


def test_restart_repeats_the_start_from_anywhere(installation: Installation) -> None:
    """Neither the configuration nor a relative path in it depends on where restart is called; nor does what is logged."""
    assert installation.control("registry", "start", "--debug").returncode == 0
    for command in ("restart", "reload"):
        words = installation.command("glance-control", *installation.own_folders[:2], "registry", command)
        done = subprocess.run(
            words, cwd="/", env=installation.environ, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        pid = installation.pid("glance-registry")
        assert Path(f"/proc/{pid}/cwd").readlink() == installation.folder
    log = (installation.folder / "log/glance-registry.log").read_text()
    assert (log.count(" answers at "), log.count("Configuration in use:")) == (3, 3)


def test_a_wrong_configuration_stops_a_reload_before_it_does_harm(installation: Installation) -> None:
    installation.start("registry")
    pid = installation.pid("glance-registry")
    installation.configure(registry="nonsense = 1")
    for command in ("reload", "restart"):
        done = installation.control("registry", command)
        assert done.returncode == 1
        assert "nonsense" in done.stderr
        assert installation.pid("glance-registry") == pid
        assert is_alive(pid)
    assert installation.control("registry", "stop").returncode == 0  # which needs no correct configuration


def test_shutdown_returns_at_once_and_drops_nothing(installation: Installation) -> None:
    installation.start()
    old = installation.pid("glance-api")
    with slow_upload(installation) as upload:
        done = installation.control("api", "shutdown")
        assert done.returncode == 0
        assert (
            done.stdout.splitlines()[1] == f"glance-api (pid {old}) finishes its running requests in the background"
        )
        assert installation.control("api", "stop").stdout == "No glance-api running\n"
        upload.sendall(b"x" * 500)
        assert answer_of(upload).startswith(b"HTTP/1.1 200 ")
    deadline = time.monotonic() + 10
    while is_alive(old) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(old)


def test_workers(installation: Installation) -> None:
    installation.configure(common="workers = 2")
    installation.start("registry")
    parent = installation.pid("glance-registry")
    workers = children_of(parent)
    assert len(workers) == 2
    os.kill(parent, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in workers)
    done = installation.control("registry", "restart")
    assert done.returncode == 0
    assert done.stdout.startswith("Removing stale pid file")
    workers = children_of(installation.pid("glance-registry"))
    assert installation.control("registry", "stop").returncode == 0
    assert not any(is_alive(pid) for pid in workers)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_in_the_foreground(installation: Installation) -> None:
    daemon = subprocess.Popen(
        installation.command("glance-registry", "--debug", str(installation.config)),
        cwd=installation.folder,
        env=installation.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    while not lines or "answers at" not in lines[-1]:
        lines.append(daemon.stdout.readline())
        assert lines[-1], "".join(lines)
    daemon.send_signal(signal.SIGINT)
    lines.append(daemon.communicate(timeout=20)[0])
    output = "".join(lines)
    assert daemon.returncode == 0, output
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d    DEBUG \[glance-registry\] \*{80}\n", output)
    assert f"sql_connection{' ' * 17}sqlite:///glance.sqlite\n" in output
    assert "Traceback" not in output


def test_passwords_are_not_logged(installation: Installation) -> None:
    text = installation.config.read_text()
    url = "postgresql+psycopg2://glance:hunter2@127.0.0.1:1/glance"
    installation.config.write_text(text.replace("sqlite:///glance.sqlite", url))
    done = installation.run("glance-registry", "--debug", "--config-file", "glance.conf")
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: ")
    assert "postgresql+psycopg2://glance:***@127.0.0.1:1/glance\n" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(("lines", "mode", "warns"), [
    ("registry_key = a-key-of-both", 0o644, True), ("registry_key = a-key-of-both", 0o640, False), ("", 0o644, False),
])  # fmt: skip
def test_secrets_that_everybody_can_read(installation: Installation, lines: str, mode: int, warns: bool) -> None:
    installation.configure(common=lines)
    installation.config.chmod(mode)
    installation.start()
    assert installation.logs().count("every user of this machine can read it: chmod o-r") == 2 * warns


def test_another_configuration_is_not_started_beside_the_running_one(installation: Installation) -> None:
    assert installation.control("registry", "start").returncode == 0
    pid = installation.pid("glance-registry")
    other = installation.folder / "other.conf"
    other.write_text(installation.config.read_text())
    for words in (("start", str(other)), ("start", "--config-file", "other.conf")):
        done = installation.control("registry", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"glance-registry did not start: it is running with {installation.config} (pid {pid}); "
            f"to run it with {other}, use restart, or stop it first\n"
        )
    (installation.folder / "same.conf").symlink_to(installation.config)
    for words in ((), ("same.conf",), ("./glance.conf",), ("~/glance.conf",)):
        done = installation.control("registry", "start", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("glance-registry appears to already be running")
    assert installation.control("registry", "restart", "other.conf").returncode == 0
    done = installation.control("registry", "start")
    assert (done.returncode, f"it is running with {other} " in done.stderr) == (1, True)
    installation.config.unlink()  # without any configuration, built-in defaults would be another one, too
    done = installation.control("registry", "start")
    assert (done.returncode, "to run it with built-in defaults" in done.stderr) == (1, True)


def test_processes_have_titles(installation: Installation) -> None:
    installation.configure(registry="workers = 2")
    installation.start()
    api, registry = installation.pid("glance-api"), installation.pid("glance-registry")
    titles = {title_of(pid): pid for pid in (api, registry, *children_of(registry))}
    assert list(titles) == [
        "glance-api: master",
        "glance-registry: master",
        "glance-registry: worker 1",
        "glance-registry: worker 2",
    ]
    for name, pids in (("glance-api", {api}), ("glance-registry", set(titles.values()) - {api})):
        for arguments in (["-x", name], [name], ["-f", f"^{name}: "]):
            found = subprocess.run(["pgrep", *arguments], capture_output=True, text=True, check=True).stdout
            assert pids <= {int(word) for word in found.split()}
    with slow_upload(installation) as upload:
        assert installation.control("api", "reload").returncode == 0
        assert title_of(api) == "glance-api: master (finishing)"
        assert title_of(installation.pid("glance-api")) == "glance-api: master"
        upload.sendall(b"x" * 500)
        assert answer_of(upload).startswith(b"HTTP/1.1 200 ")
    os.kill(titles["glance-registry: worker 1"], signal.SIGKILL)
    wait_until(lambda: sorted(map(title_of, children_of(registry))) == list(titles)[2:], "worker 1 is replaced", 10)


def title_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()


def test_a_daemon_of_an_older_version_is_known_by_its_command_line(installation: Installation) -> None:
    """It has no title, and nothing beside its pid file; its successor of this version has both."""
    installation.environ["PYTHONPATH"] = os.pathsep.join((str(installation.folder / "old"), str(CODE)))
    (installation.folder / "old").mkdir()
    (installation.folder / "old/setproctitle.py").write_text(
        "def setproctitle(title): pass\ndef setthreadtitle(title): pass\n"
    )
    assert installation.control("registry", "start", "--debug").returncode == 0
    beside = installation.folder / "run/glance-registry.pid.command"
    beside.unlink()
    (installation.folder / "old/setproctitle.py").unlink()
    done = installation.control("registry", "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--debug" in json.loads(beside.read_text())["command"]
    done = installation.control("registry", "restart")
    assert (done.returncode, done.stderr) == (0, "")
    assert (installation.folder / "log/glance-registry.log").read_text().count("Configuration in use:") == 3


@pytest.mark.parametrize(
    "option", ["--pid-dir=~/run", "--pid-dir=$HOME/run", "--log-dir=~/log", "--log-dir=${HOME}/log"]
)
def test_paths_of_options_are_expanded(installation: Installation, option: str) -> None:
    own = [*installation.own_folders[2:], option] if "pid" in option else [*installation.own_folders[:2], option]
    for command in ("start", "restart", "stop"):
        done = installation.run("glance-control", "registry", command, *own)
        assert (done.returncode, done.stderr) == (0, "")
    assert (installation.folder / "log/glance-registry.log").is_file()
    assert (installation.folder / "run").is_dir()
    done = installation.run(
        "glance-control", "registry", "start", *own, option.replace("HOME", "NOSUCH").replace("~", "~nosuchuser")
    )
    assert (done.returncode, "cannot expand" in done.stderr) == (1, True)
    assert not [path for path in installation.folder.iterdir() if path.name.startswith(("~", "$"))]


def test_directories_with_odd_names(installation: Installation) -> None:
    """What the shell has expanded is not expanded again on its way to the daemon and back."""
    odd = installation.folder / "a $HOME #1"
    odd.mkdir()
    (odd / "glance.conf").write_text(installation.config.read_text())
    words = [
        installation.own_folders[0],
        installation.own_folders[1],
        "--log-dir",
        str(odd / "log").replace("$", "$$"),
    ]
    conf = str(odd / "glance.conf").replace("$", "$$")
    for command in ("start", "reload", "restart", "stop"):
        done = installation.run(
            "glance-control", *words, "registry", command, *([conf] if command == "start" else [])
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert (odd / "log/glance-registry.log").read_text().count(" answers at ") == 3


def test_a_long_directory_for_temporary_files(installation: Installation) -> None:
    folder = installation.folder / ("x" * 120)
    folder.mkdir()
    installation.environ["TMPDIR"] = str(folder)
    for command in ("start", "reload", "restart", "stop"):
        done = installation.control("registry", command)
        assert (done.returncode, done.stderr) == (0, "")
    assert list(folder.iterdir()) == []


def test_no_configuration_is_said_in_the_foreground(installation: Installation) -> None:
    installation.config.unlink()
    if any((Path(folder) / "glance.conf").exists() for folder in ("/etc", "/etc/glance")):
        pytest.skip("this computer has a configuration of its own")
    assert installation.run("glance-api", "nosuch.conf").stderr.startswith(
        "ERROR: cannot read the configuration file "
    )
    done = installation.run("glance-api")
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: glance-api finds no glance.conf in the current directory")


IN_A_NETWORK_OF_ITS_OWN = """
import fcntl, socket, struct, subprocess, sys, urllib.request
with socket.socket() as sock:  # the loopback interface of a new network is down
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", 1))
control = [sys.executable, sys.argv[1]]
subprocess.run([*control, "all", "start"], check=True)
print(urllib.request.urlopen("http://localhost:9292").read().decode(), flush=True)
try:
    urllib.request.urlopen("http://localhost:9191/images")
except urllib.error.HTTPError as error:
    print(error.code, flush=True)
subprocess.run([*control, "all", "stop"], check=True)
"""


def test_a_new_installation_has_a_registry_key(installation: Installation) -> None:
    """With built-in defaults, on the real ports, so in a network of its own."""
    installation.config.unlink()
    if subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no network namespaces here")
    control = installation.command("glance-control")[1]
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", IN_A_NETWORK_OF_ITS_OWN, control],
        cwd=installation.folder,
        env=installation.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    folder = installation.folder / ".local/share/glance"
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        f"No glance.conf found: using built-in defaults, everything below {folder}\n"
        "Other hosts cannot connect: set bind_host in a glance.conf to let them\n"
        "Starting glance-api with built-in defaults\n"
        "Starting glance-registry with built-in defaults\n"
        r'\{"images": \[\]\}\n'
        r"401\n"
        r"Stopping glance-api  pid: \d+  signal: 15\n"
        r"Stopping glance-registry  pid: \d+  signal: 15\n",
        done.stdout,
    )
    assert done.stderr == ""  # nothing is open to other hosts, so there is nothing to warn of
    assert (folder / "glance.sqlite").is_file()
    key = folder / "registry_key"
    assert (key.stat().st_mode & 0o777, len(key.read_text())) == (0o600, 44)
    assert {path.name for path in (folder / "log").iterdir()} == {"glance-api.log", "glance-registry.log"}
