# SPDX-License-Identifier: Apache-2.0
"""glance-manage db: the schema of the registry's database.

The registry brings it up to date by itself when it starts; this is for who wants it done, or looked at, before."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from glance.cli import amounts, settings
from glance.core.errors import RegistryDown

if TYPE_CHECKING:
    from glance.registry.db.schema import Schema


def declare(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(required=True, metavar="DEED", title="deeds")
    for name, deed, summary in (
        ("sync", _sync, "make the tables, or bring them up to date"),
        ("version", _version, "tell the step of the schema, and the one of this version of Glance"),
        ("check", _check, "compare the schema with the one of this version of Glance"),
    ):
        deeds.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.").set_defaults(
            deed=deed
        )
    parser.epilog = "Reads sql_connection of glance-registry, and reaches the database itself."


def run(options: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError, RegistryDown, Invalid."""
    from glance.registry.db.schema import Schema  # SQLAlchemy takes a while to load, and no other command needs it

    deed: Callable[[Schema], int] = options.deed
    schema = Schema(settings.of_registry(options).sql_connection)
    print(f"Database: {schema.address}", flush=True)
    return deed(schema)


def sync(options: argparse.Namespace) -> int:
    """`db sync` by its name of old."""
    options.deed = _sync
    return run(options)


def version(options: argparse.Namespace) -> int:
    """`db version` by its name of old."""
    options.deed = _version
    return run(options)


def _sync(schema: "Schema") -> int:
    before = schema.step()
    schema.upgrade()
    was = f"it was {before}" if before else "made now"
    print(f"Step {schema.newest}: {'nothing to do' if before == schema.newest else was}")
    return 0


def _version(schema: "Schema") -> int:
    print(f"Step: {schema.step() or 'none, there are no tables'}")
    print(f"This version of Glance: {schema.newest}")
    return 0


def _check(schema: "Schema") -> int:
    step = schema.step()
    if step is None:
        raise RegistryDown("there are no tables yet: glance-manage db sync makes them, and so does glance-registry")
    if step != schema.newest:
        todo = "glance-manage db sync brings it up to date" if step < schema.newest else "a newer version made it"
        print(f"Step {step}, this version of Glance has {schema.newest}: {todo}")
        return 1
    found = schema.differences()
    told = amounts.number(len(found), "difference") if found else "all is as it should be"
    print(*found, f"Step {step}: {told}", sep="\n")
    return 1 if found else 0
