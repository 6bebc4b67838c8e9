# SPDX-License-Identifier: Apache-2.0
"""Everything that can go wrong, as words of the domain.

An error's text is for the user: it says what was expected, and never holds a path, a store URL, SQL or a
credential. Its `advice` is for the operator of this server alone: what to do, with paths, addresses and names
of options, but no credential either. `reason` is the stable word by which an error crosses from one daemon to
the other (glance/wire/status.py turns it into an HTTP status, and back).
"""


class GlanceError(Exception):
    """Base of the family. `str(error)` may be shown to a user, `advice` to the operator only."""

    reason = "error"

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class Invalid(GlanceError):
    """A value, or a combination of values, that no caller may send."""

    reason = "invalid"


class UnknownField(Invalid):
    """A request to the registry with a field, or a key of a query, that this version does not know."""

    reason = "unknown-field"


class UnknownStore(Invalid):
    """A store or a location scheme that this server is not configured for."""

    reason = "unknown-store"


class StoreReadOnly(Invalid):
    """A store that can be read but never written, such as http."""

    reason = "store-read-only"


class BrokenUpload(Invalid):
    """The bytes ended before their promised end, or came in a form that is not HTTP."""

    reason = "broken-upload"


class UploadTimeout(BrokenUpload):
    """The client stopped sending, or sent too slowly."""

    reason = "upload-timeout"


class Mismatch(Invalid):
    """The bytes came whole, but their number or checksum is not the one promised."""

    reason = "mismatch"


class NotFound(GlanceError):
    """There is no such image, for this caller."""

    reason = "not-found"


class NotActive(NotFound):
    """The image exists, but has no bytes that could be read."""

    reason = "not-active"


class BlobMissing(NotFound):
    """The registry knows the image, but its bytes are gone or are not as many as recorded."""

    reason = "blob-missing"


class OutsideStore(BlobMissing):
    """The location lies outside the directory or container that the store is configured with. This says nothing about
    the data: it may still be there, and readable again with the earlier configuration."""

    reason = "outside-store"


class DeletedMeanwhile(NotFound):
    """The image was deleted while its bytes came."""

    reason = "deleted-meanwhile"


class NotAuthenticated(GlanceError):
    """Who asks is not known, or cannot be believed."""

    reason = "not-authenticated"


class NotAllowed(GlanceError):
    """The caller may see the image, but may not do this."""

    reason = "not-allowed"


class Protected(NotAllowed):
    """The image is protected against deletion."""

    reason = "protected"


class Conflict(GlanceError):
    """Base of everything that another request has already decided."""

    reason = "conflict"


class Duplicate(Conflict):
    """An identifier or an object of that name is taken, maybe by something deleted."""

    reason = "duplicate"


class WrongState(Conflict):
    """The image is not in the status that the operation starts from."""

    reason = "wrong-state"


class RangeNotSatisfiable(GlanceError):
    """None of the bytes asked for exists."""

    reason = "range"

    def __init__(self, message: str, total: int) -> None:
        super().__init__(message)
        self.total = total  # bytes that do exist


class TooLarge(GlanceError):
    """More bytes than the server takes."""

    reason = "too-large"


class AnnouncedTooLarge(TooLarge):
    """More bytes are announced than the server takes; none of them was read."""

    reason = "announced-too-large"


class TooMany(TooLarge):
    """More properties, members, tags or locations than one image may have."""

    reason = "too-many"


class OverQuota(TooLarge):
    """More bytes, or more images, than their tenant may have."""

    reason = "over-quota"


class StoreFull(TooLarge):
    """The store has no room left: disk full, or quota of the server's own account."""

    reason = "store-full"


class TooManyAttempts(GlanceError):
    """Too many logins have failed; the next one is accepted after `retry_after` seconds."""

    reason = "too-many-attempts"

    def __init__(self, message: str, *, retry_after: int = 1, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.retry_after = retry_after


class IdentityUnavailable(GlanceError):
    """Callers cannot be identified at the moment; trying again later may help."""

    reason = "identity-unavailable"


class ServerBusy(GlanceError):
    """Too many requests of this kind are unfinished for the memory of this server; trying again later helps."""

    reason = "server-busy"


class StoreDown(GlanceError):
    """The store did not do its work; trying again later may help."""

    reason = "store-down"


class StoreBusy(StoreDown):
    """Too many uploads run at once for the memory of this server; nothing is wrong with the store."""

    reason = "store-busy"


class RegistryDown(GlanceError):
    """The registry, or the database behind it, does not answer; trying again later may help."""

    reason = "registry-down"


class RegistryFull(RegistryDown):
    """The database has no room left: reading works, and nothing can be changed until somebody makes room."""

    reason = "registry-full"

    def __init__(self, message: str = "the database has no room left", *, advice: str = "") -> None:
        super().__init__(message, advice=advice)


class RegistryReadOnly(RegistryDown):
    """The database can be read and not changed: a replica, or a disk that is mounted read only."""

    reason = "registry-read-only"

    def __init__(self, message: str = "the database can only be read", *, advice: str = "") -> None:
        super().__init__(message, advice=advice)
