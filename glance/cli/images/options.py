# SPDX-License-Identifier: Apache-2.0
"""The options of `glance`, by the names under which the parsed ones are found."""

from typing import Any

from glance.cli.arguments import count, endpoint, port, utf8

Option = tuple[tuple[str, ...], dict[str, Any]]  # flags, and the other arguments of argparse's add_argument()


def _flag(*flags: str, **settings: Any) -> Option:
    return flags, {"action": "store_true", **settings}


def _value(*flags: str, metavar: str, **settings: Any) -> Option:
    return flags, {"metavar": metavar, **settings}


# Some commands take these.
OWN = {
    "file": _value("--file", metavar="FILE", help="the bytes of the image; - for standard input"),
    "queued": _flag("--queued", help="add a record alone; the bytes come later"),
    "keep_properties": _flag("--keep-properties", help="keep the properties that are not named"),
    "retries": _value(
        "--retries",
        metavar="N",
        type=count,
        default=5,
        help="how often in a row a broken connection is made again (default: %(default)s)",
    ),
}
# These are of 2011: every command takes them, and some make something of them.
CLASSIC = {
    "limit": _value("--limit", metavar="N", type=count, default=10, help="images in one page (default: %(default)s)"),
    "marker": _value("--marker", metavar="ID", type=utf8, help="begin behind this image"),
    "sort_key": _value("--sort-key", metavar="KEY", type=utf8, help="name, size, status, created_at, updated_at …"),
    "sort_dir": (("--sort-dir",), {"choices": ("asc", "desc"), "help": "upwards or downwards"}),
    "force": _flag("-f", "--force", help="do not ask"),
    "can_share": _flag("--can-share", help="the member may share the image further"),
    "dry_run": _flag("--dry-run", help="only say what would be done"),
}
GENERAL = {
    "help": (("-h", "--help"), {"action": "help", "help": "show this"}),
    "verbose": _flag("-v", "--verbose", help="say more, and how long it took"),
    "debug": _flag("-d", "--debug", help="show where in the program an error comes from"),
    "json": _flag("--json", help="print JSON, for scripts; errors, too"),
}
SERVER = {
    "host": _value(
        "-H",
        "--host",
        metavar="ADDRESS",
        type=endpoint,
        help="host of glance-api, maybe with https:// before and :PORT behind it (default: 127.0.0.1)",
    ),
    "port": _value("-p", "--port", metavar="PORT", type=port, help="its port (default: 9292)"),
    "url": _value("-U", "--url", metavar="URL", help="in place of both; may have a path ($OS_IMAGE_URL)"),
    "insecure": _flag("-k", "--insecure", help="believe any certificate of the server"),
    "os_cacert": _value(
        "--os-cacert", metavar="FILE", help="certificates of the authorities to believe ($OS_CACERT)"
    ),
    "os_cert": _value("--os-cert", metavar="FILE", help="our certificate ($OS_CERT)"),
    "os_key": _value("--os-key", metavar="FILE", help="the key of our certificate ($OS_KEY)"),
}
IDENTITY = {
    "auth_token": _value("-A", "--auth-token", metavar="TOKEN", help="a token at hand ($OS_AUTH_TOKEN, $OS_TOKEN)"),
    "os_username": _value("-I", "--os-username", metavar="NAME", help="user ($OS_USERNAME, $OS_AUTH_USER)"),
    "os_password": _value(
        "-K",
        "--os-password",
        metavar="WORD",
        help="password ($OS_PASSWORD, $OS_AUTH_KEY: unlike the option, they are not seen by others)",
    ),
    "os_tenant_name": _value(
        "-T", "--os-tenant-name", metavar="NAME", help="tenant ($OS_PROJECT_NAME, $OS_TENANT_NAME, $OS_AUTH_TENANT)"
    ),
    "os_auth_url": _value("-N", "--os-auth-url", metavar="URL", help="Keystone, v3 or v2.0 ($OS_AUTH_URL)"),
    "os_auth_strategy": (
        ("-S", "--os-auth-strategy"),
        {
            "choices": ("noauth", "basic", "keystone"),
            "help": "($OS_AUTH_STRATEGY; default: keystone where its URL, user and password are known, basic for a "
            "user and password alone, noauth without)",
        },
    ),
    "os_region_name": _value("-R", "--os-region-name", metavar="NAME", help="region ($OS_REGION_NAME)"),
}
COMMON = {"general options": GENERAL, "where the server is": SERVER, "who you are": IDENTITY}
