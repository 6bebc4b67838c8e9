# SPDX-License-Identifier: Apache-2.0
"""glance-scrubber: removes the bytes of deleted images when they have been kept long enough (delayed_delete).

An ordinary process: nothing of it is green. What it has not brought to an end, the next run does.
"""

import argparse
import logging
import signal
import sys
import threading

from glance import config
from glance.cli import logs, settings
from glance.cli.process import Refusal, describe, notify
from glance.cli.server import user_folder
from glance.cli.title import set_title
from glance.config import ApiConfig
from glance.core.errors import GlanceError
from glance.core.scrub import scrub
from glance.core.transfer import Transfers
from glance.serve.signals import find_handled
from glance.server import registry_of, stores_of
from glance.version import VERSION

NAME = "glance-scrubber"
LOG = logging.getLogger(NAME)


def main() -> int:
    options = _parser().parse_args()
    set_title(NAME, "daemon" if options.daemon else "once")
    stop = threading.Event()
    for number in set(find_handled()) - {signal.SIGUSR2}:
        signal.signal(number, lambda *_: stop.set())
    try:
        options.path = config.find_file(options.config_file)
        options.data = None if options.path else user_folder()
        configuration = settings.of_api(options)
        logs.set_up(NAME, options, configuration)
        return _run(configuration, stop, daemon=options.daemon)
    except (config.ConfigError, Refusal, GlanceError) as error:
        print(f"ERROR: {error}", file=sys.stderr, flush=True)
        return 1
    except OSError as error:
        print(f"ERROR: {describe(error)}", file=sys.stderr, flush=True)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Remove the bytes of deleted images that were kept for scrub_time (delayed_delete = True).",
        epilog="Reads the options of glance-api. Exit status: 0 all is well, 1 some bytes could not be removed, or "
        "the registry does not answer. SIGTERM and SIGINT let it finish the image at hand.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    parser.add_argument(
        "--config-file",
        metavar="PATH",
        help="otherwise glance.conf in the current directory, ~/.glance, ~, /etc/glance or /etc",
    )
    parser.add_argument(
        "-D", "--daemon", action="store_true", help="do not end, but look again every wakeup_time seconds"
    )
    logs.declare(parser, NAME)
    return parser


def _run(configuration: ApiConfig, stop: threading.Event, *, daemon: bool) -> int:
    """The exit status. Raises ConfigError; RegistryDown, unless it is a daemon."""
    registry = registry_of(configuration)
    transfers = Transfers(registry, stores_of(configuration))
    if not daemon:
        found = scrub(registry, transfers, stop=stop.is_set)
        LOG.info("%d images are scrubbed, %d could not be", found.done, found.failed)
        return 1 if found.failed else 0
    LOG.info("%s %s looks every %d seconds", NAME, VERSION, configuration.wakeup_time)
    notify("READY=1")
    while not stop.is_set():
        try:
            found = scrub(registry, transfers, stop=stop.is_set)
            if any(found):
                LOG.info("%d images are scrubbed, %d could not be", found.done, found.failed)
        except GlanceError as error:
            LOG.warning("cannot look for images to scrub: %s", error)
        except Exception:
            LOG.exception("looking for images to scrub failed")
        stop.wait(configuration.wakeup_time)
    LOG.info("%s has ended", NAME)
    return 0
