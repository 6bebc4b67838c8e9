# SPDX-License-Identifier: Apache-2.0
"""add, update, delete, clear: what there shall be."""

from collections.abc import Mapping

from glance.cli.images import fields, output
from glance.cli.images.errors import Failed
from glance.cli.images.session import Session
from glance.cli.images.source import open_source
from glance.core.errors import GlanceError, NotFound

DRY_RUN = "Dry run. We would have done the following:"


def add(session: Session) -> None:
    options = session.options
    given = fields.record_of(options.field, "settable")
    if not given.fields.get("name"):
        raise Failed("Please specify a name for the image using name=VALUE")
    record = {**fields.with_defaults(given.fields), "properties": given.properties}
    copy_from = record.pop("copy_from", None)
    elsewhere = record.get("location") or copy_from
    if options.dry_run:
        print(f"{DRY_RUN}\nAdd new image with metadata:\n{output.metadata(record)}")
        return
    with open_source(options.file, queued=options.queued, elsewhere=bool(elsewhere)) as data:
        image = session.client.create(record, data, copy_from=None if copy_from is None else str(copy_from))
    _tell(session, image, f"Added new image with ID: {image.get('id')}")
    if image.get("status") == "queued" and copy_from is None:
        session.note(f"It is queued: give it its bytes with glance upload {image.get('id')} FILE")


def update(session: Session) -> None:
    options = session.options
    given = fields.record_of(options.field, "modifiable")
    record = {**given.fields, "properties": given.properties}
    copy_from = record.pop("copy_from", None)
    if options.dry_run:
        print(f"{DRY_RUN}\nUpdate existing image {options.id} with metadata:\n{output.metadata(record)}")
        return
    image = session.client.update(
        options.id,
        record,
        copy_from=None if copy_from is None else str(copy_from),
        purge=not options.keep_properties,
    )
    _tell(session, image, f"Updated image {options.id}")


def delete(session: Session) -> None:
    options = session.options
    if options.dry_run:
        print(f"{DRY_RUN}\nDelete image {options.id}")
        return
    if not session.confirm(f"Delete image {options.id}? [y/N] "):
        raise Failed(f"Not deleting image {options.id}")
    session.client.delete(options.id)
    if not options.json:
        print(f"Deleted image {options.id}")


def clear(session: Session) -> int:
    """Goes on behind an image that cannot be deleted."""
    options = session.options
    if options.dry_run:
        print(DRY_RUN)
    elif not session.confirm("Delete all images? [y/N] "):
        raise Failed("Not deleting any images")
    status = 0
    for image in list(session.client.images(detail=False)):  # all of them first: pages begin behind an image
        image_id, said = str(image.get("id")), output.printable(f'image {image.get("id")} "{image.get("name")}"')
        if options.dry_run:
            print(f"Delete {said}")
            continue
        try:
            session.client.delete(image_id)
        except NotFound:
            continue  # somebody else did it
        except GlanceError as error:
            session.note(f"Failed to delete image {image_id}. Got error: {error}")
            status = 1
        else:
            if options.verbose:
                print(f"Deleting {said} ... done")
    return status


def _tell(session: Session, image: Mapping[str, object], text: str) -> None:
    if session.options.json:
        output.print_json(image)
        return
    print(output.printable(text))
    if session.options.verbose:
        print(f"It has this metadata now:\n{output.metadata(image)}")
