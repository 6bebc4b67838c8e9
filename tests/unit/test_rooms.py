# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: docs/design.md, as a test. A new room or driver is a new line of the table."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import glance

PACKAGE = Path(glance.__file__).parent

# Room → (rooms it may import from, third-party packages). A room may import from itself; the longest name that
# fits a file is its room. `serve` is everybody's neighbour and nobody's but cli's.
ROOMS = {
    "glance": ("", ""),
    "glance.version": ("", ""),
    "glance.core": ("", ""),
    "glance.wire": ("core", ""),
    "glance.store": ("core", ""),
    "glance.store.http": ("core store wire.large_head", ""),
    "glance.store.swift": ("core store", "keystoneauth1 requests swiftclient urllib3"),
    "glance.store.s3": ("core store", "botocore urllib3"),
    "glance.store.s3client": ("core store", "boto3 botocore urllib3"),
    "glance.wsgi": ("core wire", "webob"),
    "glance.api.classic": ("core wire wsgi", "webob"),
    "glance.api.v1": ("core wire wsgi", "webob"),
    "glance.api.versions": ("wsgi", "webob"),
    "glance.identity": ("core serve.rate wire wsgi", "webob"),
    "glance.registry": ("", ""),
    "glance.registry.db": ("core", "sqlalchemy alembic"),
    "glance.registry.client": ("core wire registry.pool", "urllib3"),
    "glance.registry.pool": ("", "urllib3"),
    "glance.registry.classic": ("core wire wsgi", "webob"),
    "glance.registry.handlers": ("core wire wsgi", "webob"),
    "glance.registry.protocol": ("wire", ""),
    "glance.registry.server": (
        "config core wsgi registry.db registry.classic registry.handlers registry.protocol",
        "",
    ),
    "glance.serve": ("core.disk core.networks core.pace", "eventlet greenlet"),
    "glance.client": ("core wire", "requests urllib3"),
    "glance.config": ("core", "paste"),
    "glance.server": ("config core store registry.client registry.pool api wsgi", ""),
    "glance.cli": ("client config core registry.db.migrate serve version", "prometheus_client setproctitle tqdm"),
    "glance.cli.users": ("cli config core identity", ""),
    # These reach the very stores and the registry that glance-api would use, so they need the one place that makes
    # them of a configuration. None of the others does.
    "glance.cli.storecheck": ("cli config core server store.proxy", ""),
    "glance.cli.fsck": ("cli config core server", ""),
    "glance.cli.verify": ("cli core server", ""),
    "glance.cli.usage": ("cli core server", ""),
    "glance.cli.scrubber": ("cli config core serve.signals server version", ""),
    # These reach the registry's database, which nobody but the registry does otherwise.
    "glance.cli.db": ("cli core registry.db", ""),
    "glance.cli.purge": ("cli registry.db", ""),
    "glance.cli.images": ("cli client core version", "keystoneauth1 shtab wcwidth"),
}
TYPES_ONLY = "_typeshed"  # exists for the type checker alone
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def room_of(module: str) -> str:
    return max((room for room in ROOMS if within(module, room)), key=len)


def imports(tree: ast.AST) -> Iterator[str]:
    """The full names of everything that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(module: str, tree: ast.AST) -> list[str]:
    own = room_of(module)
    rooms, packages = ROOMS[own]
    allowed = [
        own,
        *(f"glance.{room}" for room in rooms.split()),
        *packages.split(),
        *sys.stdlib_module_names,
        TYPES_ONLY,
    ]
    if own == "glance":
        allowed.remove(own)  # else the package itself might import everything
    return [name for name in imports(tree) if not any(within(name, room) for room in allowed)]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_keep_to_the_rooms(path):
    assert forbidden(module_of(path), ast.parse(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(("module", "line"), [
    ("glance.core.service", "import requests"),
    ("glance.core.service", "from glance.wire import records"),
    ("glance.wire.headers", "import webob"),
    ("glance.api.classic.images", "from glance.store import StoreSet"),
    ("glance.api.classic.images", "from glance.registry.client import HttpRegistry"),
    ("glance.api.v1", "from glance.api.classic import shapes"),
    ("glance.wsgi.body", "def f():\n    import glance.serve.threads"),
    ("glance.server", "from glance.serve import green"),
    ("glance.registry.server", "from glance.store import StoreSet"),
    ("glance.store.filesystem", "import eventlet"),
    ("glance.serve.green", "from glance import config"),
    ("glance.client", "from glance.version import VERSION"),
    ("glance.cli.manage", "from glance.server import stores_of"),
    ("glance.cli.storecheck", "from glance.store.s3 import S3Store"),
    ("glance.cli.storecheck", "from glance.serve import green"),
    ("glance.registry.handlers", "from glance.registry.db.sql import SqlRegistry"),
    ("glance", "import glance.core"),
])  # fmt: skip
def test_the_rules_are_rules(module, line):
    assert len(forbidden(module, ast.parse(line))) == 1


def test_every_room_exists():
    modules = {module_of(path) for path in FILES}
    assert [room for room in ROOMS if room not in modules] == []
