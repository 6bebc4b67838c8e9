# SPDX-License-Identifier: Apache-2.0
"""A program for the environment of python-glanceclient: makes the calls that it reads, one JSON object per line.

`{"token": …, "call": "images.create", "args": […], "kwargs": {…}}` is answered with `{"result": …}`, or with
`{"error": name of the exception, "text": …}`. A file to read is `{"file": path}`.
"""

import hashlib
import json
import sys
import types
from pathlib import Path

from glanceclient import Client
from glanceclient.common.utils import IterableWithLength


def main(endpoint: str) -> None:
    clients = {}
    for line in sys.stdin:
        asked = json.loads(line)
        token = asked["token"]
        if token not in clients:
            clients[token] = Client("1", endpoint, token=token)
        print(json.dumps(answer(clients[token], asked)), flush=True)


def answer(client, asked):
    manager, _, method = asked["call"].partition(".")
    args = [given(value) for value in asked["args"]]
    kwargs = {name: given(value) for name, value in asked["kwargs"].items()}
    try:
        return {"result": plain(getattr(getattr(client, manager), method)(*args, **kwargs))}
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error)}


def given(value):
    return Path(value["file"]).open("rb") if isinstance(value, dict) and "file" in value else value


def plain(value):
    if isinstance(value, IterableWithLength):
        digest = hashlib.sha256()
        for block in value:
            digest.update(block)
        return {"length": len(value), "sha256": digest.hexdigest()}
    if isinstance(value, types.GeneratorType | list | tuple):
        return [plain(item) for item in value]
    return value._info if hasattr(value, "_info") else value


if __name__ == "__main__":
    main(sys.argv[1])
