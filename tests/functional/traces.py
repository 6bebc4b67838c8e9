# SPDX-License-Identifier: Apache-2.0
"""All that a Glance says and writes, to be searched for what is secret."""

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
    assert all(len(secret) >= 8 for secret in secrets)  # shorter ones would be found by chance
    written = places(installation)
    assert {Path(name).name for name in written} >= {"glance-api.log", "glance-registry.log"}
    assert "DEBUG" in installation.logs()
    found = [f"{secret} in {text}" for secret in secrets for text in told if secret in text]
    return found + [
        f"{secret} in {name}" for secret in secrets for name, text in written.items() if secret.encode() in text
    ]
