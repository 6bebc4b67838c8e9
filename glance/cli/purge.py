# SPDX-License-Identifier: Apache-2.0
"""glance-manage purge: the rows of images that were deleted long ago."""

import argparse
from datetime import timedelta

from glance.cli import amounts, settings
from glance.cli.arguments import days

AGE = 30  # days


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--age-in-days",
        type=days,
        default=AGE,
        metavar="N",
        help="purge what was deleted at least so many days ago (default: %(default)s)",
    )
    parser.epilog = (
        "The ids and numbers of purged images stay taken. Images with bytes that are still to be removed are kept. "
        "Reads sql_connection of glance-registry, and reaches the database itself; the daemons may run."
    )


def run(options: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError, RegistryDown, Invalid."""
    from glance.registry.db.purge import purge  # SQLAlchemy takes a while to load, and few commands need it
    from glance.registry.db.schema import Schema

    engine = Schema(settings.of_registry(options).sql_connection).engine()
    count = sum(purge(engine, timedelta(days=options.age_in_days)))
    print(
        f"Purged {amounts.number(count, 'image')}, deleted at least {amounts.number(options.age_in_days, 'day')} ago"
    )
    return 0
