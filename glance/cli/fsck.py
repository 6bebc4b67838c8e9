# SPDX-License-Identifier: Apache-2.0
"""glance-manage fsck: report what core/fsck.py finds and, if requested, delete or repair it."""

import argparse
import textwrap
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from glance.cli import amounts, settings
from glance.cli.arguments import seconds
from glance.cli.findings import advice_of, words_of
from glance.cli.images.output import printable
from glance.config import ConfigError
from glance.core.errors import GlanceError
from glance.core.findings import Broken
from glance.core.fsck import Finding, Fsck, Moved, Stray
from glance.server import NEEDED, registry_of, stores_of

YOUNG = 3600  # seconds
NAMES = ("file", *NEEDED)
MOVED_ADVICE = (
    "Neither the data nor the records of these images are changed. Set filesystem_store_datadir, s3_store_bucket or "
    "swift_store_container to the recorded location again, or move the data back there. Delete a copy that is not "
    "needed by hand."
)


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "store", nargs="*", metavar="STORE", help=f"{', '.join(NAMES)}; without one, all that are configured"
    )
    parser.add_argument("--delete", action="store_true", help="delete the bytes that belong to no image")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="let images whose bytes are missing be killed, so that nobody is offered them",
    )
    parser.add_argument(
        "--older-than",
        type=seconds,
        default=YOUNG,
        metavar="SECONDS",
        help="leave alone what belongs to no image and was written later (default: %(default)s)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="change even a store where no image was found, or more than one image in ten misses its data; what has "
        "moved is kept all the same",
    )
    parser.epilog = (
        "Without --delete and --repair nothing is changed. The daemons may run; the registry must. Uploads that are "
        "running are not disturbed. Exit status: 0 all is well, 1 something was found, 2 something could not be "
        "checked and nothing was found elsewhere."
    )


def run(options: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError, RegistryDown."""
    configuration = settings.of_api(options)
    stores = stores_of(configuration)
    for name in options.store:
        if name not in stores.names:
            needs = f": it needs {NEEDED[name]}" if name in NEEDED else f": expected {' or '.join(stores.names)}"
            raise ConfigError(f"there is no store {name} here{needs}")
    names = tuple(dict.fromkeys(options.store)) or stores.names
    age = timedelta(seconds=options.older_than)
    fsck = Fsck(registry_of(configuration), stores, names, age=age, force=options.force)
    report = _Report(fsck, delete=options.delete, repair=options.repair)
    for finding in fsck.run():
        report.tell(finding)
    report.sum_up(names)
    return report.status


class _Report:
    """Prints what is found, does with it what is wished, and counts."""

    def __init__(self, fsck: Fsck, *, delete: bool, repair: bool) -> None:
        self._fsck = fsck
        self._delete = delete
        self._repair = repair
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._refusals: set[str] = set()  # reasons that were printed in full

    @property
    def status(self) -> int:
        if self._counts["broken"] or self._counts["moved"] or self._counts["stray"]:
            return 1
        return 2 if self._counts["unchecked"] else 0

    def tell(self, finding: Finding) -> None:
        match finding:
            case Broken():
                self._tell_broken(finding)
            case Stray():
                self._tell_stray(finding)
            case Moved():
                self._tell_moved(finding)
            case _:
                self._counts["unchecked"] += 1
                print(words_of(finding), flush=True)

    def sum_up(self, names: tuple[str, ...]) -> None:
        fsck, counts = self._fsck, self._counts
        print(f"Checked {amounts.number(fsck.images, 'image')} in {', '.join(names)}")
        for count, words in (
            (fsck.elsewhere, "more of third parties, not checked"),
            (fsck.young, "left alone, may be about to become an image"),
            (fsck.foreign, "left alone, not written by Glance"),
            (counts["unchecked"], "could not be checked"),
        ):
            if count:
                print(f"  {count} {words}")
        print(f"Images without all of their bytes: {counts['broken']}{_of(counts['killed'], 'now killed')}")
        if counts["moved"]:
            print(f"Images whose data is at another location than recorded: {counts['moved']}")
            print(textwrap.fill(MOVED_ADVICE, 110, initial_indent="  ", subsequent_indent="  "))
        size = f", {amounts.size(self._bytes['stray'])}" if counts["stray"] else ""
        print(f"Objects without an image: {counts['stray']}{size}{_of(counts['deleted'], 'now deleted')}")
        if counts["stray"] and not self._delete:
            print("Nothing was deleted: --delete does that")

    def _tell_broken(self, broken: Broken) -> None:
        self._counts["broken"] += 1
        print(words_of(broken), flush=True)
        if self._repair and broken.missing:
            self._counts["killed"] += self._do(lambda: self._fsck.give_up(broken), "killed")

    def _tell_stray(self, stray: Stray) -> None:
        self._counts["stray"] += 1
        self._bytes["stray"] += stray.size
        what = "belong to no image" if stray.whole is not None else "of an upload that broke off, or old versions"
        print(
            f"{amounts.size(stray.size)} {what}, of {stray.modified:%Y-%m-%d %H:%M} UTC: {printable(stray.location)}",
            flush=True,
        )
        if self._delete:
            self._counts["deleted"] += self._do(lambda: self._fsck.remove(stray), "deleted")

    def _tell_moved(self, moved: Moved) -> None:
        self._counts["moved"] += 1
        image, size = moved.image, amounts.size(moved.size)
        if moved.copied:
            problem = f"its data is at {printable(moved.recorded)}, and a copy ({size}) is at"
        else:
            problem = f"its data ({size}) has moved from {printable(moved.recorded)} to"
        print(words_of(Broken(image, moved.found, problem)), flush=True)

    def _do(self, deed: Callable[[], None], done: str) -> bool:
        try:
            deed()
        except GlanceError as error:
            advice = "" if str(error) in self._refusals else advice_of(error)
            self._refusals.add(str(error))
            print(f"    not {done}: {error}{advice}", flush=True)
            return False
        print(f"    {done}", flush=True)
        return True


def _of(count: int, words: str) -> str:
    return f", {count} {words}" if count else ""
