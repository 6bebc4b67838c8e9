# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from webob import Request, Response

from glance import config
from glance.config import ApiConfig, ConfigError, DaemonConfig, RegistryConfig
from glance.core.quota import OPTIONS, UNLIMITED

SHIPPED = Path(__file__).parents[2] / "etc" / "glance.conf"

OF_2011 = """\
[DEFAULT]
verbose = True
debug = False
[app:glance-api]
paste.app_factory = glance.server:app_factory
filesystem_store_datadir=/var/lib/glance/images/
default_store = file
bind_host = 0.0.0.0
bind_port = 9292
registry_host = 0.0.0.0
registry_port = 9191
[app:glance-registry]
paste.app_factory = glance.registry.server:app_factory
bind_host = 0.0.0.0
bind_port = 9191
sql_connection = sqlite:///glance.sqlite
sql_idle_timeout = 3600
"""
API = "[app:glance-api]\npaste.app_factory = glance.server:app_factory\n"
REGISTRY = "[app:glance-registry]\npaste.app_factory = glance.registry.server:app_factory\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "glance.conf"
        path.write_text(text, "utf-8")
        return path

    return write


@pytest.fixture
def api(write):
    """The settings of glance-api with these further lines in its section and in [DEFAULT]."""
    return lambda lines="", default="": (
        config.load("glance-api", write(f"[DEFAULT]\n{default}\n{API}{lines}\n")).settings
    )


# Files


def test_the_file_of_2011(write):
    path = write(OF_2011)
    assert config.load("glance-api", path).settings == ApiConfig(registry_host="0.0.0.0")
    assert config.load("glance-registry", path).settings == RegistryConfig(bind_host="0.0.0.0")


@pytest.mark.parametrize("verbose", [True, False])
@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("daemon", ["glance-api", "glance-registry"])
def test_what_stands_in_default_holds_for_both(write, daemon, verbose, debug):
    path = write(
        OF_2011.replace("verbose = True", f"verbose = {verbose}").replace("debug = False", f"debug = {debug}")
    )
    settings = config.load(daemon, path).settings
    assert (settings.verbose, settings.debug) == (verbose, debug)


def test_the_section_wins_over_default(api):
    settings = api("bind_port = 2\nverbose = False", default="bind_port = 1\nbacklog = 7")
    assert (settings.bind_port, settings.verbose, settings.backlog) == (2, False, 7)


def test_the_application_gets_what_the_section_says(write, monkeypatch):
    given = {}
    monkeypatch.setattr("glance.server.app_factory", lambda conf, **local: given.update(conf, **local))
    config.load("glance-api", write(f"[DEFAULT]\nbind_port = 1\n{API}bind_port = 2\n")).app()
    assert given["bind_port"] == "2"


def test_no_file_means_defaults_below_one_folder(tmp_path):
    assert config.load("glance-api", None, tmp_path).settings == ApiConfig(
        filesystem_store_datadir=str(tmp_path / "images"), bind_host="127.0.0.1"
    )
    assert config.load("glance-registry", None, tmp_path).settings == RegistryConfig(
        sql_connection=f"sqlite:///{tmp_path}/glance.sqlite"
    )
    assert all(map(callable, config.load("glance-api", None, tmp_path).app()))


def test_the_places_where_a_file_is_looked_for(tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    (home / ".glance").mkdir(parents=True)
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    monkeypatch.setattr(config, "SEARCHED", [place for place in config.SEARCHED if not place.startswith("/")])
    assert config.find_file(None) is None
    for folder in (home, home / ".glance", here):  # the least important first
        (folder / "glance.conf").write_text("")
        assert config.find_file(None) == folder / "glance.conf"
    assert config.find_file("~/glance.conf") == home / "glance.conf"
    assert config.find_file("glance.conf") == here / "glance.conf"


@pytest.mark.parametrize("given", ["missing.conf", "."])
def test_a_given_file_must_be_there(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        config.find_file(given)


@pytest.mark.parametrize("text", [
    "", "x", "[DEFAULT", REGISTRY, "[app:glance-api]\n", "[app:glance-api]\nbind_port = 1\nbind_port = 2\n", API + API,
    "[pipeline:glance-api]\npipeline =\n", "[pipeline:glance-api]\npipeline = missing\n", "[pipeline:glance-api]\npipeline = glance-api\n",
    "[pipeline:glance-api]\n", "[app:glance-api]\npaste.app_factory = no.such.module:f\n", "[app:glance-api]\npaste.app_factory = glance.server:no_such\n",
    "[app:glance-api]\nuse = egg:no-such-egg\n",
], ids=lambda text: text.replace("\n", "|")[:60])  # fmt: skip
def test_files_that_cannot_be_used(write, text):
    path = write(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        config.load("glance-api", path).app()
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "glance.conf"
    path.write_bytes(b"[DEFAULT]\nlog_file = \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"glance.conf"):
        config.load("glance-api", path)


def test_a_byte_order_mark_is_not_part_of_the_first_section(tmp_path):
    path = tmp_path / "glance.conf"
    path.write_bytes(b"\xef\xbb\xbf[DEFAULT]\r\nlog_file = /var/log/b\xc3\xbccher\r\n" + API.encode())
    assert config.load("glance-api", path).settings.log_file == "/var/log/bücher"


def test_a_file_is_read_as_utf8_in_any_locale(write):
    path = write(f"[DEFAULT]\nlog_file = /var/log/bücher\n{API}")
    code = "import sys; from glance import config; print(ascii(config.load('glance-api', config.Path(sys.argv[1])).settings.log_file))"
    environ = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code, path], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "'/var/log/b\\xfccher'\n"


# Comments


@pytest.mark.parametrize(("line", "name", "value"), [
    ("debug = True # for now", "debug", True), ("bind_port = 9293\t# behind the proxy", "bind_port", 9293), ("image_size_cap = 7 # bytes", "image_size_cap", 7),
    ("log_format = json # for machines", "log_format", "json"), ("registry_host = registry # by name", "registry_host", "registry"), ("log_file = # none", "log_file", ""),
    ("filesystem_store_datadir = /srv/images   # a disk of its own", "filesystem_store_datadir", "/srv/images"),
    ("registry_key = secret # of both", "registry_key", "secret"), ("registry_key = # none yet", "registry_key", ""),
    ("registry_key = se#cret", "registry_key", "se#cret"), ("registry_key =#secret", "registry_key", "#secret"), ("s3_store_host = http://h/#a", "s3_store_host", "http://h/#a"),
    ("log_file = a;b ; c", "log_file", "a;b ; c"),
])  # fmt: skip
def test_a_comment_begins_with_a_space_and_a_number_sign(api, line, name, value):
    assert getattr(api(line), name) == value
    if name not in ("image_size_cap", "registry_host", "filesystem_store_datadir", "s3_store_host"):
        assert getattr(api(default=line), name) == value


def test_comments_behind_sections_factories_and_pipelines(write):
    text = OF_2011.replace("[app:glance-api]", "[pipeline:glance-api] # front\npipeline = inner # alone\n[app:inner]")
    path = write(text.replace("glance.server:app_factory", "glance.server:app_factory # ours"))
    assert all(map(callable, config.load("glance-api", path).app()))


@pytest.mark.parametrize(
    "line",
    ["registry_key = #abc", "registry_key = abc #def", "s3_store_secret_key: a b #c", "swift_store_key = x\t#y"],
)
def test_a_secret_that_would_be_cut_is_refused(api, line):
    with pytest.raises(
        ConfigError, match=r"glance\.conf: line \d+: ' #' in the value of \w+ begins a comment"
    ) as caught:
        api(line)
    assert "abc" not in str(caught.value)


# Paths


@pytest.mark.parametrize(
    "name",
    [
        item.name
        for kind in (ApiConfig, RegistryConfig)
        for item in fields(kind)
        if re.search("_(file|dir|datadir|cacert)$|sql_connection", item.name)
    ],
)
def test_paths_are_expanded(name, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ferdy")
    kind = ApiConfig if name in {item.name for item in fields(ApiConfig)} else RegistryConfig
    scheme = "sqlite:///" if name == "sql_connection" else ""
    for text in ("~/x y/z", "$HOME/x y/z", "${HOME}/x y/z"):
        assert getattr(kind.parse({}, {name: scheme + text}), name) == f"{scheme}/home/ferdy/x y/z"
    for text in ("$NOSUCH/x", "~nosuchuser/x", "/srv/~/x"):
        with pytest.raises(ConfigError, match=f"{name}: cannot expand"):
            kind.parse({}, {name: scheme + text})


@pytest.mark.parametrize(
    "url", ["postgresql://u:$HOME@h/d", "mysql+pymysql://~:$x@h/d", "sqlite://", "sqlite:///x?timeout=$HOME"]
)
def test_urls_of_databases_are_not_paths(url):
    assert RegistryConfig.parse({}, {"sql_connection": url}).sql_connection == url


def test_other_texts_are_not_paths(api):
    settings = api("registry_key = ~/$HOME\nlog_date_format = $HOME")
    assert (settings.registry_key, settings.log_date_format) == ("~/$HOME", "$HOME")


def test_a_data_directory_may_have_any_name(tmp_path):
    settings = config.load("glance-api", None, tmp_path / "a $HOME #1").settings
    assert settings.filesystem_store_datadir == f"{tmp_path}/a $HOME #1/images"
    settings = config.load("glance-registry", None, tmp_path / "a $HOME #1").settings
    assert settings.sql_connection == f"sqlite:///{tmp_path}/a $HOME #1/glance.sqlite"


# Values


@pytest.mark.parametrize("text", ["100%", "50%%", "%40", "a%(b", "%(nothing)s", "%s", "%"])
def test_a_percent_sign_is_a_percent_sign(write, text):
    for where in (
        f"[DEFAULT]\n{REGISTRY}sql_connection = {text}\n",
        f"[DEFAULT]\nsql_connection = {text}\n{REGISTRY}",
    ):
        assert config.load("glance-registry", write(where)).settings.sql_connection == text


def test_here_is_where_the_file_is(api, tmp_path):
    settings = api("filesystem_store_datadir = %(here)s/%(here)s/%%/images", default="log_dir = %(here)s/log")
    assert settings.filesystem_store_datadir == f"{tmp_path}/{tmp_path}/%%/images"
    assert settings.log_dir == f"{tmp_path}/log"


def test_other_options_of_default_can_be_named(api):
    assert (
        api("filesystem_store_datadir = %(log_dir)s/x", default="log_dir = /var/log").filesystem_store_datadir
        == "/var/log/x"
    )


@pytest.mark.parametrize(("text", "value"), [
    ("True", True), ("true", True), ("YES", True), ("on", True), ("1", True), ("False", False), ("no", False), ("Off", False), ("0", False),
])  # fmt: skip
def test_truth(api, text, value):
    assert api(f"debug = {text}").debug is value


@pytest.mark.parametrize("text", ["", "2", "truth", "None", "Yes please", "-1"])
def test_what_is_no_truth(api, text):
    with pytest.raises(ConfigError, match="debug must be True or False"):
        api(f"debug = {text}")


@pytest.mark.parametrize("text", ["1", "65535", " 9292 "])
def test_whole_numbers(api, text):
    assert api(f"bind_port = {text}").bind_port == int(text)


@pytest.mark.parametrize(
    "text", ["", "0", "65536", "-1", "+1", "1_0", "1.0", "0x1", "1e3", "٣", "²", "http", "1 2", "9" * 30]
)
def test_what_is_no_whole_number(text):
    with pytest.raises(ConfigError, match="bind_port must be a whole number from 1 to 65535"):
        ApiConfig.parse({}, {"bind_port": text})


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("7", 7), ("7B", 7), ("2KB", 2048), ("3MB", 3 * 2**20), (" 500GB ", 500 * 2**30), ("4TB", 2**42)],
)
def test_numbers_with_units(text, number):
    assert RegistryConfig.parse({}, {"user_storage_quota": text}).user_storage_quota == number


@pytest.mark.parametrize("text", ["-1", "7 GB", "GB", "7gb", "7PB", "1.5GB", "9999999999999TB", "7GBGB"])
def test_what_is_no_number_with_a_unit(text):
    with pytest.raises(ConfigError, match=r"user_storage_quota must be .* units B, KB, MB, GB, TB, or none"):
        RegistryConfig.parse({}, {"user_storage_quota": text})


def test_only_numbers_of_bytes_have_units():
    with pytest.raises(ConfigError, match="bind_port must be"):
        ApiConfig.parse({}, {"bind_port": "9KB"})


@pytest.mark.parametrize("option", OPTIONS.values())
def test_quotas_of_an_image(option):
    assert getattr(RegistryConfig.parse({}, {option: "-1"}), option) == UNLIMITED
    assert getattr(RegistryConfig.parse({}, {option: "7"}), option) == 7
    for text in ("-2", "--1", "- 1", "-1KB", "none"):
        with pytest.raises(
            ConfigError, match=rf"{option} must be a whole number from . to 2147483647, or -1 for any"
        ):
            RegistryConfig.parse({}, {option: text})


def test_an_image_needs_one_location_at_least():
    with pytest.raises(ConfigError, match="image_location_quota must be a whole number from 1"):
        RegistryConfig.parse({}, {"image_location_quota": "0"})


def test_only_some_numbers_may_be_unlimited():
    with pytest.raises(ConfigError, match=r"image_count_quota must be a whole number from 0 to [0-9]+, not '-1'"):
        RegistryConfig.parse({}, {"image_count_quota": "-1"})


def test_quotas_are_of_the_registry_alone():
    with pytest.raises(ConfigError, match="unknown option user_storage_quota"):
        ApiConfig.parse({}, {"user_storage_quota": "1GB"})


@pytest.mark.parametrize(("text", "host"), [
    ("[::1]", "::1"), ("::", "::"), ("[::]", "::"), ("fe80::1%eth0", "fe80::1%eth0"), ("192.0.2.7", "192.0.2.7"), ("glance-1.example", "glance-1.example"),
])  # fmt: skip
def test_hosts(text, host):
    for kind, name in ((ApiConfig, "bind_host"), (ApiConfig, "registry_host"), (RegistryConfig, "metrics_host")):
        assert getattr(kind.parse({}, {name: text}), name) == host


@pytest.mark.parametrize("text", ["", "http://h", "h:9292", "[::1]:9292", "[h]", "[::1", "a b", "h/", "u@h", "1:2:3"])
def test_what_is_no_host(text):
    with pytest.raises(ConfigError, match=r"bind_host must be a host name .*; the port goes into bind_port$"):
        ApiConfig.parse({}, {"bind_host": text})


def test_choices():
    assert ApiConfig.parse({}, {"hashing_algorithm": "blake2b"}).hashing_algorithm == "blake2b"
    with pytest.raises(ConfigError, match=r"one of sha256, .* not 'md4'"):
        ApiConfig.parse({}, {"hashing_algorithm": "md4"})


# Names


@pytest.mark.parametrize(("name", "nearest"), [
    ("bind_prot", "bind_port"), ("Verbose", "verbose"), ("filesystem_store_data_dir", "filesystem_store_datadir"), ("registery_host", "registry_host"),
])  # fmt: skip
def test_a_misspelt_option_is_told_the_nearest(api, name, nearest):
    with pytest.raises(
        ConfigError, match=rf"glance.conf: \[app:glance-api\] has an unknown option {name}: did you mean {nearest}\?"
    ):
        api(f"{name} = 1")


def test_in_default_too(api):
    with pytest.raises(
        ConfigError, match=r"\[DEFAULT\] has an unknown option sql_conection: did you mean sql_connection\?"
    ):
        api(default="sql_conection = sqlite://")


def test_a_name_near_to_nothing_is_told_all(api):
    with pytest.raises(
        ConfigError, match="unknown option xyzzy; known are allowed_hosts, api_limit_max, backlog, bind_host, "
    ):
        api("xyzzy = 1")


def test_an_option_of_the_other_daemon_stands_in_default_or_its_section(api):
    assert api(default="sql_connection = sqlite://")
    with pytest.raises(ConfigError, match="unknown option sql_connection"):
        api("sql_connection = sqlite://")


# Pipelines


class Marking:
    """A filter that leaves its mark on every answer."""

    def __init__(self, app, mark):
        self.app, self.mark = app, mark

    def __call__(self, environ, start_response):
        response = Request(environ).get_response(self.app)
        response.headers["X-Marks"] = response.headers.get("X-Marks", "") + self.mark
        return response(environ, start_response)


def filter_factory(global_conf, mark):
    return lambda app: Marking(app, mark)


def test_a_pipeline_over_the_application(write, monkeypatch):
    monkeypatch.setattr("glance.server.app_factory", lambda conf, **local: Response(local["bind_port"]))
    filters = "".join(
        f"[filter:{mark}]\npaste.filter_factory = {__name__}:filter_factory\nmark = {mark}\n" for mark in "ab"
    )
    pipeline = f"[DEFAULT]\nverbose = False\n[pipeline:glance-api]\npipeline = a b inner\n{filters}"
    loaded = config.load("glance-api", write(pipeline + API.replace("glance-api", "inner") + "bind_port = 1234\n"))
    assert (loaded.settings.bind_port, loaded.settings.verbose) == (1234, False)
    response = Request.blank("/").get_response(loaded.app()[0])
    assert (response.headers["X-Marks"], response.text) == ("ba", "1234")


# Filters


PIPELINES = """\
[app:app]
paste.app_factory = glance.server:app_factory
[app:filtered]
paste.app_factory = glance.server:app_factory
filter-with = proxy
[filter:proxy]
paste.filter_factory = glance.identity.proxy:filter_factory
[filter:keystone]
paste.filter_factory = glance.identity.keystone:filter_factory
[filter:tokens]
paste.filter_factory = glance.identity.tokens:filter_factory
[filter:other]
paste.filter_app_factory = paste.deploy.config:make_prefix_middleware
"""


@pytest.mark.parametrize(("section", "identifies"), [
    ("[pipeline:glance-api]\npipeline = app", False), ("[pipeline:glance-api]\npipeline = other app", False),
    ("[pipeline:glance-api]\npipeline = tokens app", True), ("[pipeline:glance-api]\npipeline = other keystone other app", True),
    ("[app:glance-api]\nuse = app", False), ("[app:glance-api]\nuse = filtered", True),
])  # fmt: skip
def test_a_filter_that_identifies_callers_is_found_wherever_it_is(write, section, identifies):
    path = write(f"{PIPELINES}{section}\n")
    assert config.load("glance-api", path).identifies_callers() is identifies


def test_built_in_defaults_identify_nobody(tmp_path):
    assert not config.load("glance-api", None, tmp_path).identifies_callers()


# etc/glance.conf


def commented(section: str) -> dict[str, tuple[str, str]]:
    """The options that a section of the shipped file shows: name → (comment, value)."""
    body = re.search(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", SHIPPED.read_text("utf-8"), re.MULTILINE | re.DOTALL)[1]
    options = re.findall(r"((?:^# .*\n)+)^#(\w+) =[ ]?(.*)\n", body, re.MULTILINE)
    left = re.sub(r"((?:^# .*\n)+)^#(\w+) =[ ]?(.*)\n|^paste.*\n|\s", "", body, flags=re.MULTILINE)
    assert not left, "every line belongs to an option"
    return {name: (" ".join(comment.replace("# ", "").split()), value) for comment, name, value in options}


COMMON = {item.name for item in fields(DaemonConfig)}


@pytest.mark.parametrize(("section", "options"), [
    ("DEFAULT", fields(DaemonConfig)),
    ("app:glance-api", [item for item in fields(ApiConfig) if item.name not in COMMON]),
    ("app:glance-registry", [item for item in fields(RegistryConfig) if item.name not in COMMON]),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_the_shipped_file_shows_every_option_at_its_default(section, options):
    shown = commented(section)
    assert {name: value for name, (_, value) in shown.items()} == {item.name: str(item.default) for item in options}
    for item in options:
        comment, _ = shown[item.name]
        assert comment.startswith(item.metadata["help"])
        assert all(choice in comment for choice in item.metadata["choices"])


@pytest.mark.parametrize("uncomment", [False, True])
def test_the_shipped_file_loads_as_it_is_and_with_its_options_uncommented(write, uncomment):
    text = SHIPPED.read_text("utf-8")
    path = write(re.sub(r"^#(\w+ =)", r"\1", text, flags=re.MULTILINE) if uncomment else text)
    assert config.load("glance-api", path).settings == ApiConfig()
    assert config.load("glance-registry", path).settings == RegistryConfig()
