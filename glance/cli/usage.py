# SPDX-License-Identifier: Apache-2.0
"""glance-manage usage: images and bytes, by tenant and by store."""

import argparse
import json
from collections.abc import Mapping
from itertools import chain

from glance.cli import amounts, settings
from glance.cli.images.output import cell
from glance.core.listing import every_pending, every_record
from glance.core.usage import Amount, Usage, usage_of
from glance.server import registry_of, stores_of

TENANT, STORE, IMAGES, BYTES, SIZE = 36, 10, 10, 18, 12  # columns of the table
NONE, ALL = "-", "*"


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.epilog = "Of active images; the size of one is what its record says. No store is asked."


def run(options: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError, RegistryDown."""
    configuration = settings.of_api(options)
    registry = registry_of(configuration)
    usage = usage_of(chain(every_record(registry), every_pending(registry)), stores_of(configuration))
    if options.json:
        print(json.dumps(_plain(usage), indent=2))
    else:
        _print_table(usage)
    return 0


def _plain(usage: Usage) -> dict[str, object]:
    return {
        "usage": [
            {"tenant": tenant, "store": store, **_amount(amount)} for (tenant, store), amount in usage.active.items()
        ],
        "tenants": _list("tenant", usage.by_tenant()),
        "stores": _list("store", usage.by_store()),
        "total": _amount(usage.total),
        "not_active": {str(status): _amount(amount) for status, amount in usage.others.items()},
    }


def _list(name: str, amounts_by: Mapping[str | None, Amount]) -> list[dict[str, object]]:
    return [{name: key, **_amount(amount)} for key, amount in amounts_by.items()]


def _amount(amount: Amount) -> dict[str, object]:
    return {"images": amount.images, "bytes": amount.bytes}


def _print_table(usage: Usage) -> None:
    """A line for each tenant and store, then for all of a tenant, all of a store, and all."""
    _print_row("TENANT", "STORE", "IMAGES", "BYTES", "SIZE")
    rows = [(tenant or NONE, store or NONE, amount) for (tenant, store), amount in usage.active.items()]
    rows += [(tenant or NONE, ALL, amount) for tenant, amount in usage.by_tenant().items()]
    rows += [(ALL, store or NONE, amount) for store, amount in usage.by_store().items()]
    for tenant, store, amount in (*rows, (ALL, ALL, usage.total)):
        _print_row(tenant, store, str(amount.images), str(amount.bytes), amounts.size(amount.bytes))
    if usage.others:
        others = (
            f"{amount.images} {status} ({amounts.size(amount.bytes)})" for status, amount in usage.others.items()
        )
        print(f"Not active: {', '.join(others)}")


def _print_row(tenant: str, store: str, *counts: str) -> None:
    right = (cell(count, width, right=True) for count, width in zip(counts, (IMAGES, BYTES, SIZE), strict=True))
    print(cell(tenant, TENANT), cell(store, STORE), *right)
