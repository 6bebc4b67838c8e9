# SPDX-License-Identifier: Apache-2.0
"""glance-upload: store a file as a public image."""

import argparse
import pprint
import sys
from collections.abc import Mapping, Sequence

from glance.cli.arguments import Endpoint, endpoint, port, utf8
from glance.cli.image_data import describe, open_image_data
from glance.cli.images.output import printable
from glance.cli.process import plain
from glance.client import Client, NoServer
from glance.core.errors import GlanceError, NotAuthenticated, StoreFull
from glance.version import VERSION

EPILOG = """\
examples:
  glance-upload --type raw maverick-server-uec-amd64.tar.gz "Ubuntu Maverick 10.10"
  glance-upload --type machine --kernel 1 --ramdisk 2 disk.img "My machine"
  xz -dc disk.raw.xz | glance-upload --type raw - "My disk"
"""
PORT = 9292


def main() -> int:
    options = _parse(sys.argv[1:])
    try:
        image = _upload(options)
    except KeyboardInterrupt:
        return _complain("interrupted: the image is not stored", 130)
    except NotAuthenticated as error:
        return _complain(f"{error}. This program knows no users: take `glance add`")
    except StoreFull as error:
        return _complain(f"the server has no room left for this image ({error}): free some there and try again")
    except NoServer as error:
        return _complain(f"{error}: is Glance running? Start it there with: glance-control all start")
    except GlanceError as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(f"cannot read {describe(options.filename)}: {plain(error)}")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    print(f"Stored image. Got identifier: {printed(image)}")
    return 0


def printed(image: Mapping[str, object]) -> str:
    """A record as pprint shows it, sorted, each field on a line of its own, however long or short."""
    lines = (f"{field!r}: {pprint.pformat(image[field], width=sys.maxsize)}" for field in sorted(image))
    return "{" + ",\n ".join(lines) + "}"


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="glance-upload",
        description="Store a file as a public image and print its record.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("filename", help="the file; - for standard input")
    parser.add_argument("name", type=utf8, help="the name of the image")
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    parser.add_argument(
        "--host",
        type=endpoint,
        default="127.0.0.1",
        help="host of glance-api, maybe with https:// before and :PORT behind it (default: %(default)s)",
    )
    parser.add_argument("--port", type=port, help="port of glance-api (default: 9292)")
    parser.add_argument(
        "--type",
        type=utf8,
        default="raw",
        help="kernel, ramdisk, machine, raw, vhd or a newer disk format, such as qcow2 or iso (default: %(default)s)",
    )
    parser.add_argument("--kernel", metavar="ID", type=utf8, help="the kernel that goes with it (property kernel_id)")
    parser.add_argument(
        "--ramdisk", metavar="ID", type=utf8, help="the ramdisk that goes with it (property ramdisk_id)"
    )
    options = parser.parse_intermixed_args(arguments)
    try:
        options.port = options.host.choose_port(options.port, default=PORT)
    except ValueError as error:
        parser.error(str(error))
    return options


def _upload(options: argparse.Namespace) -> Mapping[str, object]:
    """The record of the new image. Raises GlanceError, and OSError for the file."""
    server: Endpoint = options.host
    properties = {"kernel_id": options.kernel, "ramdisk_id": options.ramdisk}
    fields = {
        "name": options.name,
        "type": options.type,
        "is_public": True,
        "properties": {key: value for key, value in properties.items() if value is not None},
    }
    use_ssl = server.scheme == "https"
    with Client(server.host, options.port, use_ssl) as client, open_image_data(options.filename) as file:
        return client.add_image(fields, file)


def _complain(message: str, status: int = 1) -> int:
    print(printable(f"ERROR: {message}"), file=sys.stderr)
    return status
