# SPDX-License-Identifier: Apache-2.0
"""Wiring of glance-api. `glance.server:app_factory` is the name that PasteDeploy files know since 2011."""

from pathlib import Path
from typing import TYPE_CHECKING

from glance.api import classic
from glance.config import ApiConfig, ConfigError
from glance.core.ports import Registry, Stores
from glance.core.service import ImageService
from glance.registry.client import HttpRegistry
from glance.store import StoreSet
from glance.store.filesystem import FilesystemStore
from glance.store.guard import Guard
from glance.store.http import HttpStore
from glance.wsgi.faults import Faults
from glance.wsgi.identify import Identify

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def app_factory(global_conf: dict[str, str], **local_conf: str) -> "WSGIApplication":
    """The application of one section of a PasteDeploy file. Raises ConfigError."""
    return build(ApiConfig.parse(global_conf, local_conf))


def build(config: ApiConfig, *, registry: Registry | None = None, stores: Stores | None = None) -> "WSGIApplication":
    """The application; tests hand in their own registry and stores."""
    service = ImageService(
        registry or HttpRegistry(config.registry_host, config.registry_port, timeout=config.registry_timeout),
        stores or _stores(config),
        hashing_algorithm=config.hashing_algorithm,
        limit=config.image_size_cap,
    )
    return Identify(Faults(classic.router(service)))


def _stores(config: ApiConfig) -> StoreSet:
    stores = {"file": FilesystemStore(Path(config.filesystem_store_datadir))}
    if config.default_store not in stores:
        raise ConfigError(f"default_store must be one of {', '.join(stores)}, not {config.default_store!r}")
    return StoreSet(config.default_store, stores, [_http_store(config)])


def _http_store(config: ApiConfig) -> HttpStore:
    entries = (entry.strip() for entry in config.http_store_allowed_hosts.split(","))
    try:
        guard = Guard(entry for entry in entries if entry)
    except ValueError as error:
        raise ConfigError(f"http_store_allowed_hosts: {error}") from error
    return HttpStore(guard, connect_timeout=config.http_store_connect_timeout, timeout=config.http_store_timeout)
