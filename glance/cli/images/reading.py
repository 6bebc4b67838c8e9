# SPDX-License-Identifier: Apache-2.0
"""index, details, show: what there is."""

from collections.abc import Iterator, Mapping

from glance.cli.images import fields, output
from glance.cli.images.session import Session


def index(session: Session) -> None:
    if session.options.json:
        output.print_json_list(session.client.images(_query(session), detail=False))
        return
    table = output.Table()
    for page in _pages(session, detail=False):
        table.print(page)


def details(session: Session) -> None:
    if session.options.json:
        output.print_json_list(session.client.images(_query(session)))
        return
    count = 0
    for page in _pages(session, detail=True):
        for image in page:
            print(output.RULE)
            print(output.block(image, session.client.url))
            count += 1
    if count:
        print(output.RULE)


def show(session: Session) -> None:
    image = session.client.show(session.options.id)
    if session.options.json:
        output.print_json(image)
    else:
        print(output.block(image, session.client.url))


def _pages(session: Session, *, detail: bool) -> Iterator[list[dict[str, object]]]:
    """Asks before each further page; a page that is not full is probably the last one, and there is no question."""
    for page in session.client.pages(_query(session), detail=detail):
        yield page
        if len(page) < session.options.limit:
            continue
        answer = session.confirm("Fetch next page? [Y/n] ", default=True)
        if answer is None:
            session.note("There may be more images: --force fetches all pages without asking.")
        if not answer:
            return


def _query(session: Session) -> Mapping[str, str]:
    options = session.options
    own = {
        "limit": options.limit,
        "marker": options.marker,
        "sort_key": options.sort_key,
        "sort_dir": options.sort_dir,
    }
    return fields.query_of(options.filter) | {key: str(value) for key, value in own.items() if value is not None}
