# SPDX-License-Identifier: Apache-2.0
"""Tables, blocks of fields and JSON: what a script or a person reads on standard output."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

Fields = Mapping[str, object]

ID_WIDTH = 36  # columns of a UUID
NUMBER_WIDTH = 16  # columns for the numbers that ids were in 2011
COLUMNS = (("name", "Name", 30), ("disk_format", "Disk Format", 20), ("container_format", "Container Format", 20))
SIZE_WIDTH = 14
RULE = "=" * 80
KEY_WIDTH = 30
UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Unicode's categories of what a terminal obeys, or cannot show
# Embeddings, overrides and isolates of the bidirectional algorithm: they show the rest of a line in another order.
DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(value: object) -> str:
    """Return the text of a value on one line, with U+FFFD for what a terminal would obey; "" for None."""
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unfit(one) else one for one in text)


def printable_lines(text: str) -> str:
    """Return text of several lines, each as printable() returns it."""
    return "\n".join(map(printable, text.split("\n")))


def _is_unfit(character: str) -> bool:
    return character in DIRECTIONS or unicodedata.category(character) in UNFIT


def cell(value: object, width: int, *, right: bool = False) -> str:
    """Exactly so many columns of a terminal, where a letter may take two or none."""
    text = printable(value)
    if text.isascii():
        return text[:width].rjust(width) if right else text[:width].ljust(width)
    import wcwidth  # knows scripts and emoji; takes a while to load

    return (
        wcwidth.rjust(wcwidth.clip(text, 0, width), width)
        if right
        else wcwidth.ljust(wcwidth.clip(text, 0, width), width)
    )


class Table:
    """The rows of a list of images, below a heading that is printed once."""

    def __init__(self) -> None:
        self._id_width = 0

    def print(self, images: Sequence[Fields]) -> None:
        if images and not self._id_width:
            self._id_width = NUMBER_WIDTH
            if any(len(str(image.get("id"))) > NUMBER_WIDTH for image in images):
                self._id_width = ID_WIDTH
            widths = (self._id_width, *(width for _, _, width in COLUMNS), SIZE_WIDTH)
            titles = ("ID", *(title for _, title, _ in COLUMNS), "Size")
            print(" ".join(cell(title, width) for title, width in zip(titles, widths, strict=True)))
            print(" ".join("-" * width for width in widths))
        for image in images:
            middle = (cell(image.get(key), width) for key, _, width in COLUMNS)
            size = cell(image.get("size"), SIZE_WIDTH, right=True)
            print(" ".join((cell(image.get("id"), self._id_width), *middle, size)))


def block(image: Fields, server: str) -> str:
    """The fields of an image, one per line."""
    lines = [
        f"URI: {printable(server)}/v1/images/{printable(image.get('id'))}",
        f"Id: {printable(image.get('id'))}",
        f"Public: {'Yes' if image.get('is_public') else 'No'}",
        *(
            f"{title}: {printable(image.get(key))}"
            for title, key in (
                ("Name", "name"),
                ("Status", "status"),
                ("Size", "size"),
                ("Disk format", "disk_format"),
                ("Container format", "container_format"),
                ("Minimum Ram Required (MB)", "min_ram"),
                ("Minimum Disk Required (GB)", "min_disk"),
            )
        ),
    ]
    if image.get("owner") is not None:
        lines.append(f"Owner: {printable(image['owner'])}")
    lines += [f"Property '{printable(key)}': {printable(value)}" for key, value in properties_of(image).items()]
    return "\n".join(lines)


def metadata(image: Fields) -> str:
    """All there is to say of an image, keys to the right, properties last."""
    pairs = {key: value for key, value in image.items() if key != "properties"} | properties_of(image)
    return "\n".join(f"{printable(key):>{KEY_WIDTH}} => {printable(value)}" for key, value in pairs.items())


def members(items: Iterable[Fields], key: str) -> str:
    """One name per line, a star behind those that can share."""
    lines = [f"{printable(item.get(key))}{' *' if item.get('can_share') else ''}" for item in items]
    if any(line.endswith(" *") for line in lines):
        lines += ["", "(*: Can share image)"]
    return "\n".join(lines)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def print_json_list(items: Iterable[Fields]) -> None:
    """A list of any length, one object per line, written as it comes."""
    before = "["
    for item in items:
        sys.stdout.write(f"{before}\n{json.dumps(item)}")
        before = ","
    print("[]" if before == "[" else "\n]")


def properties_of(image: Fields) -> dict[str, object]:
    properties = image.get("properties")
    return dict(sorted(properties.items())) if isinstance(properties, Mapping) else {}
