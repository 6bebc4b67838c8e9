# SPDX-License-Identifier: Apache-2.0
"""The daemons' settings, for the commands of glance-manage."""

import argparse

from glance import config
from glance.config import ApiConfig, RegistryConfig


def of_api(options: argparse.Namespace) -> ApiConfig:
    """Raises ConfigError."""
    settings = config.load("glance-api", options.path, options.data).settings
    assert isinstance(settings, ApiConfig)
    return settings


def of_registry(options: argparse.Namespace) -> RegistryConfig:
    """Raises ConfigError."""
    settings = config.load("glance-registry", options.path, options.data).settings
    assert isinstance(settings, RegistryConfig)
    return settings
