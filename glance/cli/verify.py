# SPDX-License-Identifier: Apache-2.0
"""glance-manage verify: read the bytes of images, and compare them with the checksums of their upload."""

import argparse
import re

from glance.cli import amounts, progress, settings
from glance.cli.findings import words_of
from glance.core.findings import Broken
from glance.core.verify import Pace, Sample, Verification
from glance.server import registry_of, stores_of

MB = 1_000_000

_SAMPLE = re.compile(r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%", re.ASCII)
_RATE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?", re.ASCII)


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", nargs="*", metavar="IMAGE", help="id or number; without one, all that are active")
    parser.add_argument(
        "--sample", type=_sample, metavar="N", help="not all of them but N, or N%% such as 5%%, chosen by chance"
    )
    parser.add_argument("--rate", type=_rate, metavar="MB", help="read no more than so many MB (10^6 bytes) a second")
    parser.epilog = (
        "Nothing is changed, and the daemons may run; the registry must. Images of third parties, and those without "
        "a checksum, are not read. Exit status: 0 all is well, 1 broken images were found, 2 none was, but some "
        "could not be read."
    )


def run(options: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError, NotFound, NotActive, RegistryDown."""
    configuration = settings.of_api(options)
    pace = Pace(options.rate) if options.rate else None
    broken = unread = read = 0

    def watch(count: int) -> None:
        nonlocal read
        read += count
        bar.advance(count)
        if pace is not None:
            pace(count)

    verification = Verification(registry_of(configuration), stores_of(configuration), watch=watch)
    chosen = verification.choose(options.image, options.sample)
    aside = ((verification.elsewhere, "more of third parties"), (verification.unhashed, "more without a checksum"))
    with progress.total(sum(image.size for image in chosen)) as bar:
        for image in chosen:
            outcome = verification.verify(image.number)
            if outcome is not None:
                bar.print(words_of(outcome))
                broken += isinstance(outcome, Broken)
                unread += not isinstance(outcome, Broken)
    print(f"Verified {amounts.number(len(chosen), 'image')}, {amounts.size(read)}")
    for count, words in (*aside, (unread, "of them could not be read")):
        if count:
            print(f"  {count} {words}")
    print(f"Broken images: {broken}")
    return 1 if broken else 2 if unread else 0


def _sample(text: str) -> Sample:
    found = _SAMPLE.fullmatch(text)
    if found and found[1] and int(found[1]):
        return Sample(int(found[1]))
    if found and found[2] and 0 < float(found[2]) <= 100:
        return Sample(float(found[2]), percent=True)
    raise argparse.ArgumentTypeError(
        f"a sample is a number of images such as 100, or a part such as 5%, not {text!r}"
    )


def _rate(text: str) -> float:
    """Bytes a second."""
    if not _RATE.fullmatch(text) or not float(text):
        raise argparse.ArgumentTypeError(f"a rate is a number of MB in a second such as 50, not {text!r}")
    return float(text) * MB
