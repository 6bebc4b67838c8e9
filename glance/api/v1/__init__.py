# SPDX-License-Identifier: Apache-2.0
"""The Images API v1, as clients of 2011 to 2018 speak it: metadata in headers, UUIDs, members."""

from typing import TYPE_CHECKING

from glance.api.v1.images import Images, Paging
from glance.api.v1.members import Members
from glance.core import errors
from glance.core.service import ImageService
from glance.wsgi.faults import Faults
from glance.wsgi.router import Handler, Router

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

STATUS = {errors.AnnouncedTooLarge: 400, errors.DeletedMeanwhile: 412}  # where this API differs from wire/status.py


def application(service: ImageService, paging: Paging) -> "WSGIApplication":
    """The WSGI application of what follows `/v1`."""
    images, members = Images(service, paging), Members(service)
    routes: list[tuple[str, str, Handler]] = [
        ("GET", "/", images.index),
        ("GET", "/images/", images.index),
        ("POST", "/images/", images.create),
        ("GET", "/images/detail/", images.detail),
        ("HEAD", "/images/{image_id}", images.meta),
        ("GET", "/images/{image_id}", images.show),
        ("PUT", "/images/{image_id}", images.update),
        ("DELETE", "/images/{image_id}", images.delete),
        ("GET", "/images/{image_id}/members/", members.index),
        ("PUT", "/images/{image_id}/members", members.replace),
        ("PUT", "/images/{image_id}/members/{member}", members.add),
        ("DELETE", "/images/{image_id}/members/{member}", members.remove),
        ("GET", "/shared-images/{member}", members.shared),
    ]
    return Faults(Router(routes, refuse_methods=True), override=STATUS)
