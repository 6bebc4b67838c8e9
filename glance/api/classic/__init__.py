# SPDX-License-Identifier: Apache-2.0
"""The API of March 2011: no version in the path, metadata in headers, 200 for every success."""

from glance.api.classic.images import Images
from glance.core.service import ImageService
from glance.wsgi.router import Router


def router(service: ImageService) -> Router:
    images = Images(service)
    return Router(
        [
            ("GET", "/", images.index),
            ("GET", "/images/", images.index),
            ("GET", "/images/detail/", images.detail),
            ("POST", "/images/", images.create),
            ("HEAD", "/images/{number}", images.meta),
            ("GET", "/images/{number}", images.show),
            ("PUT", "/images/{number}", images.update),
            ("DELETE", "/images/{number}", images.delete),
        ]
    )
