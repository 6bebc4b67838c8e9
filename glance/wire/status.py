# SPDX-License-Identifier: Apache-2.0
"""Error ↔ HTTP status: the one table, read forward by the daemons and backward by their clients.

A status alone is ambiguous (Duplicate and WrongState are both 409), so the reason word rides along in
X-Glance-Reason; whoever does not know the header still understands the status.
"""

from glance.core import errors
from glance.core.errors import GlanceError

REASON_HEADER = "X-Glance-Reason"

_STATUS: dict[type[GlanceError], int] = {
    errors.Invalid: 400,
    errors.UnknownField: 400,
    errors.UnknownStore: 400,
    errors.StoreReadOnly: 400,
    errors.BrokenUpload: 400,
    errors.Mismatch: 400,
    errors.UploadTimeout: 408,
    errors.NotAuthenticated: 401,
    errors.NotAllowed: 403,
    errors.Protected: 403,
    errors.NotFound: 404,
    errors.NotActive: 404,
    errors.BlobMissing: 404,
    errors.OutsideStore: 404,
    errors.DeletedMeanwhile: 404,
    errors.Conflict: 409,
    errors.Duplicate: 409,
    errors.WrongState: 409,
    errors.TooLarge: 413,
    errors.AnnouncedTooLarge: 413,
    errors.TooMany: 413,
    errors.OverQuota: 413,
    errors.StoreFull: 413,
    errors.RangeNotSatisfiable: 416,
    errors.TooManyAttempts: 429,
    errors.IdentityUnavailable: 503,
    errors.ServerBusy: 503,
    errors.StoreDown: 503,
    errors.StoreBusy: 503,
    errors.RegistryDown: 503,
    errors.RegistryFull: 503,
    errors.RegistryReadOnly: 503,
}

_BY_REASON = {kind.reason: kind for kind in _STATUS if kind is not errors.RangeNotSatisfiable}
_BY_STATUS: dict[int, type[GlanceError]] = {
    400: errors.Invalid,
    401: errors.NotAuthenticated,
    403: errors.NotAllowed,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    503: errors.RegistryDown,
}


def status_of(error: GlanceError) -> int:
    """The HTTP status of an error, or of the nearest kind of error in the table; 500 for others."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def error_from(status: int, reason: str | None, message: str) -> GlanceError:
    """The error that an answer stands for: by its reason word, or by its status if the word is missing."""
    kind = _BY_REASON.get(reason or "") or _BY_STATUS.get(status, GlanceError)
    return kind(message)
