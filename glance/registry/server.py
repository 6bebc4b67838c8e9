# SPDX-License-Identifier: Apache-2.0
"""Wiring of glance-registry. `glance.registry.server:app_factory` is the name that PasteDeploy files know."""

from typing import TYPE_CHECKING

from glance.config import RegistryConfig, parse_allowed_hosts, policy_of
from glance.core.ports import Registry
from glance.core.quota import OPTIONS, ImageQuota
from glance.registry.classic import Images
from glance.registry.db.engine import connect
from glance.registry.db.migrate import prepare
from glance.registry.db.quota import Quota
from glance.registry.db.sql import SqlRegistry
from glance.registry.handlers import Records
from glance.registry.protocol import Protocol
from glance.wsgi.browsers import KnownHosts, SameSite
from glance.wsgi.faults import Faults
from glance.wsgi.health import Health
from glance.wsgi.identify import Identify, KeyHolders, RequestId
from glance.wsgi.router import Router

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def app_factory(global_conf: dict[str, str], **local_conf: str) -> "WSGIApplication":
    """The application of one section of a PasteDeploy file, its database brought up to date.

    Raises ConfigError, RegistryDown, Invalid.
    """
    return build(RegistryConfig.parse(global_conf, local_conf))


def build(config: RegistryConfig, *, registry: Registry | None = None) -> "WSGIApplication":
    """The application; tests hand in their own registry."""
    registry = registry if registry is not None else _sql_registry(config)
    router = Router([*Images(registry).routes(), *Records(registry).routes()])
    app: WSGIApplication = Identify(router, KeyHolders(config.registry_key))
    if not config.registry_key:
        app = KnownHosts(app, parse_allowed_hosts(config))
    app = Faults(SameSite(app))
    return RequestId(Protocol(Health(app, {"database": lambda threads: registry.check()})))


def _sql_registry(config: RegistryConfig) -> SqlRegistry:
    engine = connect(config.sql_connection, config.sql_idle_timeout)
    prepare(engine)
    quota = Quota(bytes=config.user_storage_quota, images=config.image_count_quota)
    image_quota = ImageQuota(**{what: getattr(config, option) for what, option in OPTIONS.items()})
    return SqlRegistry(
        engine,
        policy=policy_of(config),
        accept_members=config.accept_members,
        quota=quota,
        image_quota=image_quota,
    )
