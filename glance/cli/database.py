# SPDX-License-Identifier: Apache-2.0
"""glance-manage db_sync, db_version: the schema of the registry's database.

The registry sees to it when it starts. This is for whoever wants that done by another user, or before."""

import argparse
from pathlib import Path

from sqlalchemy import Engine

from glance import config
from glance.core.errors import Invalid
from glance.registry.db import migrate
from glance.registry.db.engine import connect

REGISTRY = "glance-registry"


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sql-connection", metavar="URL", help="otherwise the sql_connection of the configuration")


def sync(options: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError, GlanceError."""
    engine = _engine(options)
    migrate.prepare(engine)
    print(f"The schema of {_shown(engine)} is at step {migrate.HEAD}")
    return 0


def version(options: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError, GlanceError."""
    engine = _engine(options)
    found = migrate.version(engine) if _exists(engine) else None
    if found is None:
        raise Invalid(f"{_shown(engine)} is not under migration control: glance-manage db_sync makes the tables")
    print(found)
    return 0


def _engine(options: argparse.Namespace) -> Engine:
    if options.sql_connection is not None:
        return connect(options.sql_connection)
    settings = config.load(REGISTRY, options.path, options.data).settings
    assert isinstance(settings, config.RegistryConfig)
    return connect(settings.sql_connection)


def _exists(engine: Engine) -> bool:
    """False for an SQLite file that is not there: to look into it would make it."""
    return engine.url.get_backend_name() != "sqlite" or Path(engine.url.database or "").exists()


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
