# SPDX-License-Identifier: Apache-2.0
"""The Images API v1, as clients of 2011 to 2018 speak it: metadata in headers, UUIDs, members."""

from typing import TYPE_CHECKING

from glance.api.v1.images import Images, Paging
from glance.api.v1.members import Members
from glance.core import errors
from glance.core.service import ImageService
from glance.wsgi.faults import Faults
from glance.wsgi.router import Handler, Router, not_allowed

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

STATUS = {errors.AnnouncedTooLarge: 400, errors.DeletedMeanwhile: 412}  # where this API differs from wire/status.py


def application(service: ImageService, paging: Paging) -> "WSGIApplication":
    """The WSGI application of what follows `/v1`."""
    images, members = Images(service, paging), Members(service)
    routes: list[tuple[str, str, Handler]] = [
        ("GET", "/", images.index),
        ("*", "/", not_allowed("GET")),
        ("GET", "/images/", images.index),
        ("POST", "/images/", images.create),
        ("*", "/images", not_allowed("GET, POST")),
        ("GET", "/images/detail/", images.detail),
        ("HEAD", "/images/detail/", not_allowed("GET")),
        ("*", "/images/detail", not_allowed("GET, HEAD")),
        ("HEAD", "/images/{image_id}", images.meta),
        ("GET", "/images/{image_id}", images.show),
        ("PUT", "/images/{image_id}", images.update),
        ("DELETE", "/images/{image_id}", images.delete),
        ("*", "/images/{image_id}", not_allowed("GET, HEAD, PUT, DELETE")),
        ("GET", "/images/{image_id}/members/", members.index),
        ("PUT", "/images/{image_id}/members", members.replace),
        ("*", "/images/{image_id}/members", not_allowed("GET, PUT")),
        ("PUT", "/images/{image_id}/members/{member}", members.add),
        ("DELETE", "/images/{image_id}/members/{member}", members.remove),
        ("*", "/images/{image_id}/members/{member}", not_allowed("PUT, DELETE")),
        ("GET", "/shared-images/{member}", members.shared),
        ("*", "/shared-images/{member}", not_allowed("GET")),
    ]
    return Faults(Router(routes), override=STATUS)
