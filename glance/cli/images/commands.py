# SPDX-License-Identifier: Apache-2.0
"""The commands, as a table: what each takes, what it is for, and where it is done."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`run` is a function of one Session, in a module of this package; `action` completes "Failed to …".

    `arguments` are by the names they have in the usage; a name with "..." takes any number, one in brackets may be
    missing. `options` are the destinations of options that mean something to this command. `remark` is added when it
    failed after bytes may have been taken."""

    name: str
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    summary: str
    text: str = ""
    examples: tuple[str, ...] = ()
    run: str = ""
    action: str = ""
    remark: str = ""


FILTERS = """\
A filter is name=, disk_format=, container_format=, status=, min_ram=, min_disk=, size_min=, size_max=, is_public=,
protected= or changes_since=; any other key is a property."""

FIELDS = """\
A field is name=, disk_format=, container_format=, is_public=, protected=, min_disk= (GB), min_ram= (MB), owner=,
location= or copy_from= (a URL); any other key is a property of the image."""

LISTING = ("limit", "marker", "sort_key", "sort_dir", "force")

COMMANDS = {
    command.name: command
    for command in (
        Command(
            name="index",
            arguments=("[FILTER=VALUE]...",),
            options=LISTING,
            summary="list images, one per line",
            text=FILTERS,
            examples=(
                "glance index",
                "glance index -f disk_format=qcow2 size_min=1000000000",
                "glance index --json | jq -r .[].id",
            ),
            run="reading:index",
            action="list images",
        ),
        Command(
            name="details",
            arguments=("[FILTER=VALUE]...",),
            options=LISTING,
            summary="list images with all their fields",
            text=FILTERS,
            examples=("glance details", "glance details -f status=active arch=amd64"),
            run="reading:details",
            action="list images",
        ),
        Command(
            name="show",
            arguments=("ID",),
            summary="show one image",
            examples=(
                "glance show 71c675ab-d94f-49cd-a114-e12490b328d9",
                "glance show --json 71c675ab-d94f-49cd-a114-e12490b328d9 | jq -r .checksum",
            ),
            run="reading:show",
            action="show image",
        ),
        Command(
            name="add",
            arguments=("FIELD=VALUE...",),
            options=("file", "queued", "dry_run"),
            summary="add an image",
            text=f"""\
The data of the image comes from --file, from the URL of location= or copy_from=, or if none of them is given from
standard input. If that is a terminal the image stays queued, until `glance upload` gives it its data.

{FIELDS}
Also id= (a UUID of your own), store= (where the server shall keep the bytes) and checksum= (the MD5 they must have).
Without them: disk_format=raw container_format=ovf is_public=False min_disk=0 min_ram=0.""",
            examples=(
                'glance add name="Debian 13" disk_format=qcow2 container_format=bare < debian-13.qcow2',
                "glance add name=rescue --file rescue.iso disk_format=iso container_format=bare is_public=True",
                "glance add name=mirror copy_from=https://example.com/image.raw",
            ),
            run="writing:add",
            action="add image",
            remark="A record of the image may remain; its status is killed.",
        ),
        Command(
            name="update",
            arguments=("ID", "FIELD=VALUE..."),
            options=("keep_properties", "dry_run"),
            summary="change the fields of an image",
            text=f"""\
Fields that are not named stay as they are. PROPERTIES THAT ARE NOT NAMED ARE REMOVED, as ever with this command,
unless --keep-properties is given.

{FIELDS}""",
            examples=(
                "glance update 71c675ab-d94f-49cd-a114-e12490b328d9 name=old is_public=False --keep-properties",
                "glance update 71c675ab-d94f-49cd-a114-e12490b328d9 arch=amd64 kernel_id=7",
            ),
            run="writing:update",
            action="update image",
        ),
        Command(
            name="delete",
            arguments=("ID",),
            options=("force", "dry_run"),
            summary="delete an image",
            examples=("glance delete -f 71c675ab-d94f-49cd-a114-e12490b328d9",),
            run="writing:delete",
            action="delete image",
        ),
        Command(
            name="clear",
            options=("force", "dry_run"),
            summary="delete all images",
            text="All images that `glance index` lists are deleted. Those that cannot be are named, and stay.",
            examples=("glance clear --dry-run", "glance clear -f -v"),
            run="writing:clear",
            action="delete all images",
        ),
        Command(
            name="download",
            arguments=("ID", "[FILE]"),
            options=("retries",),
            summary="fetch the bytes of an image into a file",
            text="""\
Without FILE, or with -, the data goes to standard output. A file appears under its name when it is whole and has the
checksum of the image; until then it is called FILE.ID.part, and the same command goes on where the last one
broke off. A FILE that is a disk, a pipe or an open descriptor (/dev/stdout, /dev/fd/N) is written to directly.""",
            examples=(
                "glance download 71c675ab-d94f-49cd-a114-e12490b328d9 debian-13.qcow2",
                "glance download 71c675ab-d94f-49cd-a114-e12490b328d9 | ssh host 'cat > /dev/vg/disk'",
            ),
            run="transfer:download",
            action="download image",
        ),
        Command(
            name="upload",
            arguments=("ID", "[FILE]"),
            summary="give a queued image its bytes",
            text="Without FILE, or with -, the data comes from standard input.",
            examples=("glance upload 71c675ab-d94f-49cd-a114-e12490b328d9 debian-13.qcow2",),
            run="transfer:upload",
            action="upload image",
            remark="If the transfer had begun, the status of the image is killed now.",
        ),
        Command(
            name="image-members",
            arguments=("ID",),
            summary="list with whom an image is shared",
            examples=("glance image-members 71c675ab-d94f-49cd-a114-e12490b328d9",),
            run="members:image_members",
            action="list members of image",
        ),
        Command(
            name="member-images",
            arguments=("MEMBER",),
            summary="list the images that are shared with somebody",
            examples=("glance member-images tenant1",),
            run="members:member_images",
            action="list images of member",
        ),
        Command(
            name="member-add",
            arguments=("ID", "MEMBER"),
            options=("can_share", "dry_run"),
            summary="share an image with somebody",
            examples=("glance member-add --can-share 71c675ab-d94f-49cd-a114-e12490b328d9 tenant1",),
            run="members:add",
            action="add member",
        ),
        Command(
            name="member-delete",
            arguments=("ID", "MEMBER"),
            options=("dry_run",),
            summary="share an image with somebody no longer",
            examples=("glance member-delete 71c675ab-d94f-49cd-a114-e12490b328d9 tenant1",),
            run="members:delete",
            action="delete member",
        ),
        Command(
            name="members-replace",
            arguments=("ID", "MEMBER"),
            options=("can_share", "dry_run"),
            summary="share an image with somebody and nobody else",
            examples=("glance members-replace 71c675ab-d94f-49cd-a114-e12490b328d9 tenant1",),
            run="members:replace",
            action="replace members",
        ),
        Command(
            name="completion",
            arguments=("SHELL",),
            summary="print what makes a shell complete this command: bash or zsh",
            run="completion:completion",
            action="print the completion",
            examples=(
                "glance completion bash > ~/.local/share/bash-completion/completions/glance",
                "glance completion zsh > ~/.zfunc/_glance  # with ~/.zfunc in fpath",
            ),
        ),
        Command(
            name="help", arguments=("[COMMAND]",), summary="show what a command does", examples=("glance help add",)
        ),
    )
}
