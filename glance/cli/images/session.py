# SPDX-License-Identifier: Apache-2.0
"""One run of one command: its options, its client, and its errors, each as a line on standard error."""

import json
import os
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable
from functools import cached_property
from typing import Self

from glance.cli.images import output
from glance.cli.images.commands import Command
from glance.cli.images.credentials import access_of
from glance.cli.images.errors import Failed
from glance.client import NoServer, V1Client
from glance.core.errors import Conflict, GlanceError, NotAllowed, NotAuthenticated, NotFound, TooMany
from glance.core.values import is_image_number

BEFORE_BYTES = (Conflict, NotAllowed, TooMany)  # so a server answers before it takes any


class Session:
    """What a command works with. The client is made when it is first used: a dry run needs none."""

    def __init__(self, options: Namespace) -> None:
        self.options = options

    @cached_property
    def client(self) -> V1Client:
        access = access_of(self.options, os.environ)
        return V1Client(access.url, token=access.token, user=access.user, verify=access.verify, cert=access.cert)

    @property
    def has_reached_server(self) -> bool:
        """True if the last request may have had an effect."""
        return "client" in self.__dict__ and self.client.reached

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "client" in self.__dict__:
            self.client.close()

    def find_ids(self) -> None:
        """Replace the number of an image, as glance-upload prints it, by the id that this API knows the image by."""
        for name in ("id", "marker"):
            value = getattr(self.options, name, None)
            if value is not None and is_image_number(value) and not self.options.dry_run:
                setattr(self.options, name, self.client.find_id(value))

    def confirm(self, question: str, *, default: bool = False) -> bool | None:
        """Ask; None when nobody answers. With --force the answer is yes."""
        if self.options.force:
            return True
        print(output.printable(question), end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline() if sys.stdin is not None else ""
        if not answer:
            print(file=sys.stderr)
            return None
        word = answer.strip().lower()
        return word in ("y", "yes") if word else default

    def note(self, text: str) -> None:
        """Print a remark to standard error, after all results so far."""
        sys.stdout.flush()
        print(output.printable_lines(text), file=sys.stderr)


def run(command: Command, function: Callable[[Session], int | None], options: Namespace) -> int:
    """The exit status of the command, after it was run."""
    started = time.monotonic()
    if options.insecure:
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
    with Session(options) as session:
        try:
            session.find_ids()
            status = function(session) or 0
        except GlanceError as error:
            if options.debug:
                raise
            _complain(_explained(error, command, session), error.reason, as_json=options.json)
            status = 1
    if options.verbose:
        session.note(f"Completed in {time.monotonic() - started:.4f} sec.")
    return status


def _explained(error: GlanceError, command: Command, session: Session) -> str:
    if isinstance(error, Failed):
        return _with_remark(str(error), error, command, session)
    if isinstance(error, NotAuthenticated):
        return (
            f"Not authorized to {command.action} ({error}). Check your credentials: OS_AUTH_USER, OS_AUTH_KEY, or "
            "OS_USERNAME, OS_PASSWORD, or OS_AUTH_TOKEN"
        )
    if isinstance(error, NoServer):
        return f"Failed to connect to the Glance API server {session.client.where}. Is glance-api running? ({error})"
    image_id = getattr(session.options, "id", None)
    if type(error) is NotFound and image_id is not None and not hasattr(session.options, "member"):
        return f"No image with ID {image_id} was found"
    return _with_remark(f"Failed to {command.action}. Got error: {error}", error, command, session)


def _with_remark(text: str, error: GlanceError, command: Command, session: Session) -> str:
    """Add what may remain on the server, if the request may have had an effect there."""
    if not command.remark or not session.has_reached_server or isinstance(error, BEFORE_BYTES):
        return text
    return f"{text.rstrip('.')}. {command.remark}"


def _complain(text: str, reason: str, *, as_json: bool) -> None:
    """Print an error, whose text may come from a server."""
    shown = json.dumps({"error": {"reason": reason, "message": text}}) if as_json else output.printable_lines(text)
    print(shown, file=sys.stderr)
