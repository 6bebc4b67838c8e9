# SPDX-License-Identifier: Apache-2.0
"""All that a Glance says and writes, to be searched for what is secret."""

import re
from pathlib import Path

from tests.functional.daemons import Installation

MARK = "secret-mark"
COMMANDS = (
    ("glance-manage", "--debug", "store-check", "--timeout", "2"), ("glance-manage", "--debug", "fsck"),
    ("glance-manage", "--debug", "verify"), ("glance-manage", "--debug", "usage", "--json"),
    ("glance-manage", "--debug", "db", "sync"), ("glance-manage", "--debug", "db", "version"),
    ("glance-manage", "--debug", "db", "check"), ("glance-manage", "--debug", "db_sync"),
    ("glance-manage", "--debug", "purge", "--age-in-days", "0"), ("glance-scrubber", "--debug"),
)  # fmt: skip

# What is called a key and is none, but a file or a user's name, is left out.
_SECRET = re.compile(
    r"^\s*(?:\w*(?:password|secret|_key)\w*(?<!_file)(?<!access_key))[ \t]*[=:][ \t]*(\S.*?)\s*$", re.MULTILINE
)
_IN_A_URL = re.compile(r"^\s*\w+[ \t]*[=:].*?://[^:/@\s]*:([^/\s]+)@", re.MULTILINE)
LEAST = 8  # characters of a secret that is not found by chance


def secrets_of(configuration: str) -> set[str]:
    """Keys and passwords in a configuration."""
    found = {*_SECRET.findall(configuration), *_IN_A_URL.findall(configuration)}
    return {secret for secret in found if len(secret) >= LEAST}


def logged(installation: Installation) -> list[str]:
    """Where the secrets of its configuration, as it is now, stand in what it has logged or recorded."""
    try:
        secrets = [secret.encode() for secret in secrets_of(installation.config.read_text("utf-8", "replace"))]
    except OSError:  # some tests take it away
        return []
    files = [path for pattern in ("log/*", "*.log", "*.sqlite*") for path in installation.folder.glob(pattern)]
    written = [(path.name, path.read_bytes()) for path in files if secrets and path.is_file()]
    return [name for name, content in written if any(secret in content for secret in secrets)]


def said_by_commands(installation: Installation, *names: str) -> list[str]:
    """What every command says that reads the configuration of the daemons; or those that have one of these words."""
    chosen = [words for words in COMMANDS if not names or set(names) & set(words)]
    assert chosen
    return [done.stdout + done.stderr for done in (installation.run(*words) for words in chosen)]


def places(installation: Installation) -> dict[str, bytes]:
    """All that the daemons have written, and what `ps` shows of them."""
    files = [path for path in installation.folder.rglob("*") if path.is_file() and path != installation.config]
    found = {str(path): path.read_bytes() for path in files}
    for number in installation.processes():
        found[f"process {number}"] = Path(f"/proc/{number}/cmdline").read_bytes()
    return found


def hold(secrets: set[str], told: list[str], installation: Installation) -> list[str]:
    """Where secrets stand: in what was told, or in what was written."""
    assert all(len(secret) >= LEAST for secret in secrets)
    written = places(installation)
    assert {Path(name).name for name in written} >= {"glance-api.log", "glance-registry.log"}
    assert "DEBUG" in installation.logs()
    found = [f"{secret} in {text}" for secret in secrets for text in told if secret in text]
    return found + [
        f"{secret} in {name}" for secret in secrets for name, text in written.items() if secret.encode() in text
    ]
