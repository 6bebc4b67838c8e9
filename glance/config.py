# SPDX-License-Identifier: Apache-2.0
"""The configuration: one PasteDeploy file for both daemons, typed and checked here, at the door.

Each option is a field below, with its default and its meaning; etc/glance.conf shows them all (a test keeps it
so). A name that is no option is an error, because a misspelt one would otherwise be a default in silence.
"""

import configparser
import difflib
import importlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from paste.deploy import loadwsgi

from glance.core.hosts import AllowedHosts
from glance.core.networks import Networks
from glance.core.paths import escape_path, expand_path, make_absolute
from glance.core.policy import Action, Policy
from glance.core.values import MAX_INT

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

FILE_NAME = "glance.conf"
REGISTRY_KEY_FILE = "registry_key"  # in the data directory, without a configuration file
DATABASE_FILE = "glance.sqlite"
LONGEST_KEY = 4096  # characters
SEARCHED = (".", "~/.glance", "~", "/etc/glance", "/etc")
PASTE_KEYS = frozenset({"here", "__file__"})  # put among the defaults by PasteDeploy

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_NUMBER = re.compile(r"([0-9]{1,18})([A-Z]*)", re.ASCII)
_HOST = re.compile(r"[^\s/:@\[\]]+")
_BYTES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_AMBIGUOUS_SECRET = re.compile(r"\s*(\w*(?:key|password|secret))\s*[=:].*\s#\S", re.IGNORECASE)
_SQLITE_URL = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]*)(.*)")
_REFERENCE = re.compile(r"%\((\w+)\)s")


class ConfigError(Exception):
    """The configuration cannot be used; the text says why, and what would do."""


def _option(
    default: Any,
    text: str,
    *,
    least: int = 0,
    most: int | None = None,
    choices: tuple[str, ...] = (),
    units: Mapping[str, int] = MappingProxyType({}),
    unlimited: bool = False,
    host: bool = False,
    path: bool = False,
) -> Any:
    """`unlimited`: the number may also be -1."""
    limits = {"least": least, "most": most, "choices": choices, "units": units, "unlimited": unlimited}
    return field(default=default, metadata={"help": text, "host": host, "path": path, **limits})


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """What both daemons have; may stand in [DEFAULT]."""

    verbose: bool = _option(True, "Log what is done, such as one line per request.")
    debug: bool = _option(False, "Log everything that may help to find a fault, and the configuration at start.")
    log_file: str = _option("", "File to log to instead of standard output.", path=True)
    log_dir: str = _option(
        "", "Directory for log files: of log_file, and of what glance-control captures.", path=True
    )
    log_date_format: str = _option("%Y-%m-%d %H:%M:%S", "Format of the time in the log, as of strftime.")
    log_format: str = _option(
        "text", "What the lines of the log are: text for people, json for programs.", choices=("text", "json")
    )
    metrics_host: str = _option(
        "127.0.0.1", "Address to answer Prometheus on, or a host name for all of its addresses.", host=True
    )
    metrics_port: int = _option(0, "Port to answer Prometheus on; 0: none.", most=65535)
    backlog: int = _option(4096, "Connections that may wait to be accepted.", least=1, most=65535)
    workers: int = _option(0, "Processes to fork for requests; 0: serve them in the one process.", most=1024)
    graceful_shutdown_timeout: int = _option(
        15, "Seconds that running requests get to finish after SIGTERM.", most=86400
    )
    cert_file: str = _option(
        "", "Certificate to serve HTTPS with (PEM, followed by those that lead to its issuer).", path=True
    )
    key_file: str = _option("", "Private key of the certificate, if it is not in the same file.", path=True)
    ca_file: str = _option(
        "", "Certificates of those whose clients are served, and no others; empty: anybody.", path=True
    )
    trusted_proxies: str = _option(
        "",
        "Addresses and networks of proxies in front, separated by commas. Their X-Forwarded-For tells the client's "
        "address, for the access log and the limits per address; their X-Forwarded-Proto, -Host and -Prefix tell its "
        "URL. Those of other clients are ignored.",
    )
    allowed_hosts: str = _option(
        "",
        "Host names, separated by commas, under which browsers may use a daemon that identifies no callers, beside "
        "localhost, addresses, the names of this machine and that of public_endpoint. *.example.org: all names that "
        "end in .example.org; *: all. Web pages elsewhere could otherwise use it through the browser of a visitor. "
        "Other clients are not asked.",
    )
    connections_per_address: int = _option(
        0,
        "Connections that one address may have to one process, or requests at a time behind trusted_proxies; "
        "0: any number.",
        most=1_000_000,
    )
    keepalive_timeout: int = _option(
        75,
        "Seconds that a connection may wait for its next request. Longer than that of a load balancer in front, "
        "which is often 60: otherwise a connection may be closed just when the balancer uses it.",
        least=1,
        most=86400,
    )
    client_timeout: int = _option(
        60,
        "Seconds that a client may be silent in the middle of a body, or take nothing of an answer.",
        least=1,
        most=86400,
    )
    least_rate: int = _option(
        1024,
        "Bytes per second, averaged over half a minute of waiting, that a client must send of a body or take of an "
        "answer; 0: any rate.",
        most=2**31 - 1,
    )
    registry_key: str = _option(
        "",
        "Secret that both daemons share: the registry then answers only who sends it, and believes glance-api about "
        "who asks. Needed once callers are identified.",
    )
    policy_publicize_image: str = _option(
        "", "Roles, separated by commas, that may make images public; *: everybody. Admins always may."
    )
    policy_set_image_location: str = _option("", "Roles that may register images that lie elsewhere.")
    policy_copy_from: str = _option("", "Roles that may have images copied from URLs.")
    policy_delete_foreign_image: str = _option("", "Roles that may delete the images of other tenants.")

    @classmethod
    def parse(cls, global_conf: Mapping[str, str], local_conf: Mapping[str, str]) -> Self:
        """Check and convert the texts of [DEFAULT] and of the daemon's own section. Raises ConfigError."""
        own = {item.name: item for item in fields(cls)}
        anywhere = own.keys() | {item.name for kind in (ApiConfig, RegistryConfig) for item in fields(kind)}
        given: dict[str, str] = {}
        for name, text in global_conf.items():
            if name not in anywhere and name not in PASTE_KEYS:
                raise _unknown(name, "DEFAULT", anywhere)
            if name in own:
                given[name] = text
        for name, text in local_conf.items():
            if name not in own:
                raise _unknown(name, f"app:{cls.section()}", own.keys())
            given[name] = text
        return cls(**{name: _typed(own[name], text) for name, text in given.items()})

    @property
    def scheme(self) -> str:
        """Of the URLs at which the daemon answers."""
        return "https" if self.cert_file else "http"

    @classmethod
    def section(cls) -> str:
        return next(name for name, (kind, _) in _DAEMONS.items() if kind is cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig(DaemonConfig):
    """[app:glance-api]"""

    bind_host: str = _option(
        "0.0.0.0",
        "Address to listen on, or a host name for all of its addresses; 0.0.0.0: all IPv4 addresses of this machine, "
        "::: those of IPv6 as well.",
        host=True,
    )
    bind_port: int = _option(9292, "Port to listen on.", least=1, most=65535)
    public_endpoint: str = _option(
        "",
        "URL at which clients reach this service, such as https://cloud.example.org/image; links and redirects begin "
        "with it. Empty: with what the request, or one of trusted_proxies, says.",
    )
    registry_host: str = _option("127.0.0.1", "Host of the registry; 0.0.0.0 means this host.", host=True)
    registry_port: int = _option(9191, "Port of the registry.", least=1, most=65535)
    registry_client_protocol: str = _option(
        "http", "How to speak with the registry: http, or https when it has a cert_file.", choices=("http", "https")
    )
    registry_client_ca_file: str = _option(
        "", "Certificates to trust for the registry instead of the usual ones.", path=True
    )
    registry_client_cert_file: str = _option("", "Certificate to show to a registry that has a ca_file.", path=True)
    registry_client_key_file: str = _option(
        "", "Private key of that certificate, if it is not in the same file.", path=True
    )
    registry_timeout: int = _option(10, "Seconds to wait for an answer of the registry.", least=1, most=3600)
    limit_param_default: int = _option(25, "Images in one page of a v1 list, if the client names no limit.", least=1)
    api_limit_max: int = _option(1000, "Images in one page at most; a greater limit is cut.", least=1, most=1000)
    default_store: str = _option("file", "Store for images whose upload names none: file, s3 or swift.")
    hashing_algorithm: str = _option(
        "sha512",
        "Digest computed of every image beside md5.",
        choices=("sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s"),
    )
    rate_limit: int = _option(
        0, "Requests per second that one address may make to one process, on the average; 0: any number.", most=10**6
    )
    rate_burst: int = _option(20, "Requests that it may make at once, with rate_limit.", least=1, most=10**6)
    image_size_cap: int = _option(2**40, "Most bytes of one image (1 TiB).", least=1)
    transfer_lease: int = _option(
        60,
        "Seconds after which an upload counts as ended when its server is not heard of any more. What it left is "
        "removed then.",
        least=2,
        most=86400,
    )
    registry_patience: int = _option(
        30,
        "Seconds for which an upload that has begun waits for a registry that is away: longer than its restart "
        "takes. Requests that begin meanwhile are answered with 503 at once.",
        most=3600,
    )
    delayed_delete: bool = _option(
        False, "Keep the bytes of deleted images (pending_delete) until glance-scrubber removes them."
    )
    scrub_time: int = _option(
        0, "Seconds for which they are kept at least, with delayed_delete.", most=10 * 365 * 86400
    )
    wakeup_time: int = _option(
        300, "Seconds between two looks of glance-scrubber --daemon for bytes to remove.", least=1, most=86400
    )
    health_check_writes: bool = _option(
        False,
        "Let /healthcheck/ready also write an object to default_store, read and delete it, at most once a minute on "
        "each host. Otherwise it writes none, and notices only some of the reasons why S3 or Swift take no uploads.",
    )
    filesystem_store_datadir: str = _option(
        "/var/lib/glance/images/", "Directory of the file store, made at the first upload.", path=True
    )
    s3_store_host: str = _option("", "URL of the S3 service; the S3 store is there when this is set.")
    s3_store_access_key: str = _option("", "Access key of the S3 store.")
    s3_store_secret_key: str = _option("", "Secret key of the S3 store.")
    s3_store_bucket: str = _option("", "Bucket for images in the S3 store.")
    s3_store_create_bucket_on_put: bool = _option(False, "Make the bucket if it is not there.")
    s3_store_large_object_size: int = _option(100, "MiB from which on images are sent to S3 in parts.", least=1)
    s3_store_large_object_chunk_size: int = _option(
        10, "MiB of such a part; as many as four of one image are held in memory.", least=5
    )
    s3_store_region_name: str = _option("", "Region of the S3 service, if it has some.")
    s3_store_bucket_url_format: str = _option(
        "auto",
        "Where the bucket's name stands: in the path or in the host's name.",
        choices=("auto", "path", "virtual"),
    )
    s3_store_cacert: str = _option("", "File of certificates to trust instead of the usual ones.", path=True)
    s3_store_timeout: int = _option(
        60, "Seconds without an answer after which S3 counts as down.", least=1, most=3600
    )
    swift_store_auth_address: str = _option(
        "", "URL of the authentication for Swift; the Swift store is there when this is set."
    )
    swift_store_auth_version: str = _option("1", "Version of that authentication.", choices=("1", "2", "3"))
    swift_store_user: str = _option("", "User of the Swift store, as tenant:user.")
    swift_store_key: str = _option("", "Password of that user.")
    swift_store_user_domain_id: str = _option(
        "", "Domain of that user, for authentication 3, by its id. Neither id nor name: the domain Default."
    )
    swift_store_user_domain_name: str = _option("", "The same, by its name.")
    swift_store_project_domain_id: str = _option(
        "", "Domain of that tenant, for authentication 3, by its id. Neither id nor name: the domain Default."
    )
    swift_store_project_domain_name: str = _option("", "The same, by its name.")
    swift_store_container: str = _option("glance", "Container for images in the Swift store.")
    swift_store_create_container_on_put: bool = _option(False, "Make the container if it is not there.")
    swift_store_large_object_size: int = _option(
        5120, "MiB from which on images are sent to Swift in segments.", least=1
    )
    swift_store_large_object_chunk_size: int = _option(
        32, "MiB of such a segment; as many as four of one image are held in memory.", least=1
    )
    swift_store_region: str = _option(
        "", "Region of Swift, for authentication 2 and 3; empty: the first one in the service catalogue."
    )
    swift_store_cacert: str = _option("", "File of certificates to trust instead of the usual ones.", path=True)
    swift_store_timeout: int = _option(
        60, "Seconds without an answer after which Swift counts as down.", least=1, most=3600
    )
    swift_store_auth_insecure: bool = _option(False, "Take any certificate of Swift. For tests only.")
    store_http_proxy: str = _option(
        "",
        "Proxy to S3, Swift and its Keystone, such as http://user:password@proxy.example.org:3128; empty: none. "
        "Proxies of the environment (HTTPS_PROXY) are not used.",
    )
    http_store_allowed_hosts: str = _option(
        "",
        "Hosts of third parties' images beside the public Internet: host names, addresses and networks such as "
        "10.1.0.0/16, separated by commas; an entry with a port, such as mirror.example.internal:8080 or "
        "[fd00::/8]:8080, opens that port only. Loopback, private and other inside addresses are closed otherwise.",
    )
    http_store_proxy: str = _option(
        "",
        "Proxy to images of third parties, such as http://proxy.example.org:3128; empty: none. It resolves their "
        "host names, so it has to refuse inside addresses itself.",
    )
    http_store_connect_timeout: int = _option(
        5, "Seconds to wait for a connection to the server of a third party's image.", least=1, most=3600
    )
    http_store_timeout: int = _option(
        30, "Seconds without a byte after which that server counts as down.", least=1, most=3600
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig(DaemonConfig):
    """[app:glance-registry]"""

    bind_host: str = _option(
        "127.0.0.1",
        "Address to listen on, or a host name for all of its addresses. Any client that reaches the registry may "
        "change it.",
        host=True,
    )
    bind_port: int = _option(9191, "Port to listen on.", least=1, most=65535)
    sql_connection: str = _option(
        "sqlite:///glance.sqlite",
        "Database, as an SQLAlchemy URL; a relative SQLite file lies where the daemon was started.",
        path=True,
    )
    accept_members: bool = _option(
        False,
        "Let an image that is shared with a tenant count as accepted by it at once, not as pending. Lists of v1 show "
        "both.",
    )
    sql_idle_timeout: int = _option(3600, "Seconds after which an idle database connection is renewed.", least=1)
    user_storage_quota: int = _option(
        0,
        "Most bytes of all images of one tenant, such as 500GB. Units are B, KB (1024 bytes), MB, GB and TB. "
        "0: any number.",
        most=2**62,
        units=_BYTES,
    )
    image_count_quota: int = _option(
        0, "Most images of one tenant that are not deleted; 0: any number.", most=2**31 - 1
    )
    image_property_quota: int = _option(
        128, "Maximum number of properties of one image; -1: any number.", most=MAX_INT, unlimited=True
    )
    image_member_quota: int = _option(
        128, "Maximum number of members of one image; -1: any number.", most=MAX_INT, unlimited=True
    )
    image_tag_quota: int = _option(
        128, "Maximum number of tags of one image; -1: any number.", most=MAX_INT, unlimited=True
    )
    image_location_quota: int = _option(
        10, "Maximum number of locations of one image; -1: any number.", least=1, most=MAX_INT, unlimited=True
    )


def parse_trusted_proxies(config: DaemonConfig) -> Networks:
    """Raises ConfigError."""
    try:
        return Networks(config.trusted_proxies)
    except ValueError as error:
        raise ConfigError(f"trusted_proxies must be addresses and networks such as 10.1.0.0/16: {error}") from error


def parse_allowed_hosts(config: DaemonConfig, *more: str) -> AllowedHosts:
    """Raises ConfigError."""
    try:
        return AllowedHosts(",".join((config.allowed_hosts, *more)))
    except ValueError as error:
        raise ConfigError(f"allowed_hosts: {error}") from error


def policy_of(config: DaemonConfig) -> Policy:
    """What the policy_* options say."""
    rules = {action: getattr(config, f"policy_{action}").split(",") for action in Action}
    return Policy({action: frozenset(filter(None, map(str.strip, roles))) for action, roles in rules.items()})


_DAEMONS: dict[str, tuple[type[DaemonConfig], str]] = {
    "glance-api": (ApiConfig, "glance.server:app_factory"),
    "glance-registry": (RegistryConfig, "glance.registry.server:app_factory"),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration of one daemon, and the application that it describes."""

    settings: DaemonConfig
    _daemon: str
    _local_conf: Mapping[str, str]  # the options of the daemon's own section
    _file: "_Loader | None"

    def app(self) -> "tuple[WSGIApplication, WSGIApplication]":
        """Build the WSGI application, in the filters of its pipeline and bare.

        Raises ConfigError, OSError, GlanceError."""
        if self._file is None:
            module, _, name = _DAEMONS[self._daemon][1].partition(":")
            app = getattr(importlib.import_module(module), name)({}, **self._local_conf)
            return app, app
        with self._file.explained():
            context = outer = self._file.get_context(loadwsgi.APP, self._daemon)
            while hasattr(context, "app_context"):  # a pipeline: its application is the last
                context = context.app_context
        # PasteDeploy itself lets [DEFAULT] win over the section, against what everybody expects.
        context.local_conf = dict(self._local_conf)
        app = context.create()
        context.create = lambda: app  # for the filters to be put around this very one
        return outer.create(), app

    def identifies_callers(self) -> bool:
        """Return True if one of the filters in front of the application identifies callers. Raises ConfigError."""
        if self._file is None:
            return False
        with self._file.explained():
            factories = _iter_factories(self._file.get_context(loadwsgi.APP, self._daemon))
            return any(getattr(factory, "identifies_callers", False) for factory in factories)


def _iter_factories(context: Any) -> Iterator[object]:
    """Yield the factories of an application and of its filters, however the file has combined them."""
    yield context.object
    inner = [getattr(context, name, None) for name in ("filter_context", "app_context", "next_context")]
    for one in (*inner, *getattr(context, "filter_contexts", ())):
        if one is not None:
            yield from _iter_factories(one)


def find_file(given: str | None) -> Path | None:
    """The configuration file, absolute: the given one, or the first found in SEARCHED; None: there is none.

    Raises ConfigError when a file was given and cannot be read.
    """
    if given is not None:
        try:
            path = make_absolute(given)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113 - see below
            raise ConfigError(f"cannot read the configuration file {path}")
        return path
    for directory in SEARCHED:
        with suppress(ValueError):  # there is no home directory, or the current one no longer exists
            path = make_absolute(directory) / FILE_NAME
            # Path.is_file() raises PermissionError for a directory that may not be entered.
            if os.path.isfile(path):  # noqa: PTH113
                return path
    return None


def load(daemon: str, path: Path | None = None, data_dir: Path | None = None) -> Loaded:
    """The configuration of `glance-api` or `glance-registry`.

    Without a file all options have their defaults, with everything that is kept below `data_dir`.
    Raises ConfigError.
    """
    kind, _ = _DAEMONS[daemon]
    if path is None:
        local_conf = _place_below(data_dir or Path.cwd(), kind)
        return Loaded(kind.parse({}, local_conf), daemon, local_conf, None)
    file = _Loader(path)
    with file.explained():
        local_conf = file.options_of(daemon)
        return Loaded(kind.parse(file.parser.defaults(), local_conf), daemon, local_conf, file)


def filter_option(path: Path, factory: str, option: str) -> str | None:
    """An option of the first filter in the file that is made by this factory; None: there is none."""
    file = _Loader(path)
    for section in file.parser.sections():
        if section.startswith("filter:") and file.parser.get(section, "paste.filter_factory", fallback="") == factory:
            with file.explained():
                found: str | None = file.parser.get(section, option, fallback=None)
                return found
    return None


def _place_below(data_dir: Path, kind: type[DaemonConfig]) -> dict[str, str]:
    """Raises ConfigError."""
    data = escape_path(str(data_dir))
    key = _read_registry_key(data_dir / REGISTRY_KEY_FILE)
    options = {} if key is None else {"registry_key": key}
    if kind is ApiConfig:
        # Nothing identifies callers here, so only this machine may connect.
        return {"filesystem_store_datadir": f"{data}/images", "bind_host": "127.0.0.1", **options}
    return {"sql_connection": f"sqlite:///{data}/{DATABASE_FILE}", **options}


def make_registry_key(data_dir: Path) -> None:
    """Keep a new registry_key in the data directory of an installation without a configuration file.

    Nothing is done if there is one, or a database: daemons of an older version may run there without a key. Raises
    OSError."""
    if (data_dir / DATABASE_FILE).exists():
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileExistsError):
        descriptor = os.open(data_dir / REGISTRY_KEY_FILE, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            file.write(f"{secrets.token_urlsafe(32)}\n")


def _read_registry_key(path: Path) -> str | None:
    """Return the key in this file, or None if there is no file. Raises ConfigError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            if os.fstat(descriptor).st_mode & 0o077:
                raise ConfigError(f"{path} holds a secret, and others may use it: chmod 600 {path}")
            key = file.read(LONGEST_KEY).strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot read the registry_key in {path}: {error}") from error
    if not key:
        raise ConfigError(f"{path} is empty: write a registry_key into it, or remove it")
    return key


class _Interpolation(configparser.Interpolation):
    """Replaces %(here)s and other known names, and leaves every other % as it is: passwords contain it."""

    def before_get(
        self,
        parser: MutableMapping[str, Mapping[str, str]],
        section: str,
        option: str,
        value: str,
        defaults: Mapping[str, str],
    ) -> str:
        return _REFERENCE.sub(lambda found: defaults.get(found[1], found[0]), value)


class _Loader(loadwsgi.ConfigLoader):  # type: ignore[misc]
    """PasteDeploy's reader of one file; tells the options of an application without importing it.

    Unlike PasteDeploy it takes ` #` behind a value for the beginning of a comment, and reads UTF-8 in any locale,
    with or without a byte order mark.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.filename = str(path)
        self.parser = loadwsgi.NicerConfigParser(
            self.filename,
            defaults={"here": str(path.parent), "__file__": self.filename},
            inline_comment_prefixes=("#",),
        )
        self.parser.optionxform = str  # names of options keep their case
        self.parser._interpolation = _Interpolation()
        with self.explained():
            text = path.read_text("utf-8-sig")
            _refuse_ambiguous_secrets(text)
            self.parser.read_string(text, self.filename)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What the libraries say of a file that they cannot use → ConfigError, with its path."""
        try:
            yield
        except configparser.ParsingError as error:  # its text has the lines themselves, and these may hold a secret
            numbers = [error.lineno] if isinstance(error, configparser.MissingSectionHeaderError) else []
            lines = ", ".join(str(number) for number in numbers or [number for number, _ in error.errors])
            raise ConfigError(f"{self._path}: line {lines}: neither [section] nor option = value") from None
        except (configparser.Error, LookupError, OSError, ValueError, ImportError, AttributeError) as error:
            raise ConfigError(f"{self._path}: {' '.join(str(error).split())}") from error
        except ConfigError as error:
            raise ConfigError(f"{self._path}: {error}") from error

    def options_of(self, name: str) -> dict[str, str]:
        """The options in the section of an application, or of the one that a pipeline ends in."""
        section = self.find_config_section(loadwsgi.APP, name=name)
        passed = set()
        while section.startswith("pipeline:"):
            if section in passed:
                raise ConfigError(f"[{section}] leads back to itself")
            passed.add(section)
            *_, last = self.parser.get(section, "pipeline").split()
            section = self.find_config_section(loadwsgi.APP, name=last)
        own: list[str] = list(self.parser._sections[section])
        return {
            option: self.parser.get(section, option)
            for option in own
            if option != "use" and not option.startswith(("paste.", "set ", "get "))
        }


def _refuse_ambiguous_secrets(text: str) -> None:
    """Raise ConfigError for a secret that contains ` #x`: it would be cut there silently."""
    for number, line in enumerate(text.splitlines(), 1):
        if (found := _AMBIGUOUS_SECRET.match(line)) is not None:
            raise ConfigError(
                f"line {number}: ' #' in the value of {found[1]} begins a comment; write '# ' with a space behind it "
                f"if that is meant, and choose another secret otherwise"
            )


def _unknown(name: str, section: str, known: Any) -> ConfigError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
    return ConfigError(f"[{section}] has an unknown option {name}{hint}")


def _typed(item: Any, text: str) -> Any:
    text = text.strip()
    if item.type is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ConfigError(f"{item.name} must be True or False, not {text!r}")
    if item.type is int:
        least, most, units = (item.metadata[key] for key in ("least", "most", "units"))
        if item.metadata["unlimited"] and text == "-1":
            return -1
        found = _NUMBER.fullmatch(text)
        if found and (unit := {"": 1, **units}.get(found[2])):
            number = int(found[1]) * unit
            if least <= number and (most is None or number <= most):
                return number
        limits = f"from {least} to {most}" if most is not None else f"of {least} or more"
        limits += f", with one of the units {', '.join(units)}, or none" if units else ""
        limits += ", or -1 for any number" if item.metadata["unlimited"] else ""
        raise ConfigError(f"{item.name} must be a whole number {limits}, not {text!r}")
    if item.metadata["path"]:
        return _expand(item.name, text)
    choices = item.metadata["choices"]
    if choices and text not in choices:
        raise ConfigError(f"{item.name} must be one of {', '.join(choices)}, not {text!r}")
    return _host(item.name, text) if item.metadata["host"] else text


def _host(name: str, text: str) -> str:
    """Return a host as the system's resolver takes it: an IPv6 address without brackets. Raises ConfigError."""
    address = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(IPv6Address(address))
    except AddressValueError:
        if _HOST.fullmatch(text):
            return text
        port = name.removesuffix("host") + "port"
        raise ConfigError(
            f"{name} must be a host name or an address such as 192.0.2.7 or ::1, not {text!r}; "
            f"the port goes into {port}"
        ) from None


def _expand(name: str, text: str) -> str:
    """Expand a path, or the path in the URL of an SQLite database; other URLs have none. Raises ConfigError."""
    scheme, path, query = "", text, ""
    if name == "sql_connection":
        found = _SQLITE_URL.fullmatch(text)
        if found is None:
            return text
        scheme, path, query = found.groups()
    try:
        return f"{scheme}{expand_path(path)}{query}"
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
