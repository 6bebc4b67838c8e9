# SPDX-License-Identifier: Apache-2.0
"""image-members, member-images, member-add, member-delete, members-replace: who shares what with whom."""

from glance.cli.images import output
from glance.cli.images.session import Session
from glance.cli.images.writing import DRY_RUN
from glance.core.errors import NotFound


def image_members(session: Session) -> None:
    _print(session, session.client.members(session.options.id), "member_id")


def member_images(session: Session) -> None:
    member = session.options.member
    try:
        images = session.client.memberships(member)
    except NotFound:
        images = []
    if images or session.options.json:
        _print(session, images, "image_id")
    else:
        print(f"No images shared with member {output.printable(member)}")


def add(session: Session) -> None:
    options = session.options
    if options.dry_run:
        _would(f"Add {options.member!r} to the members of image {options.id}", can_share=options.can_share)
    else:
        session.client.set_member(options.id, options.member, options.can_share)


def delete(session: Session) -> None:
    options = session.options
    if options.dry_run:
        _would(f"Remove {options.member!r} from the members of image {options.id}")
    else:
        session.client.remove_member(options.id, options.member)


def replace(session: Session) -> None:
    options = session.options
    if options.dry_run:
        _would(f"Replace the members of image {options.id} by {options.member!r}", can_share=options.can_share)
    else:
        session.client.replace_members(options.id, {options.member: options.can_share})


def _print(session: Session, items: list[dict[str, object]], key: str) -> None:
    if session.options.json:
        output.print_json_list(items)
    elif items:
        print(output.members(items, key))


def _would(deed: str, *, can_share: bool | None = None) -> None:
    suffix = "" if can_share is None else f", who {'may' if can_share else 'may not'} share it"
    print(f"{DRY_RUN}\n{deed}{suffix}")
