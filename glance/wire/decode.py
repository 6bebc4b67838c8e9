# SPDX-License-Identifier: Apache-2.0
"""JSON value → value of the domain, one field at a time, for what the two daemons speak with each other.

A Decoder takes the field's name and what stands there, and raises Invalid with a text that says what may.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from glance.core import values
from glance.core.errors import Invalid

E = TypeVar("E", bound=StrEnum)
Decoder = Callable[[str, Any], Any]

LOG = logging.getLogger(__name__)


def object_of(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid(f"{what} must be an object, not {values.shown(value)}")
    return value


def line(most: int) -> Decoder:
    return lambda name, value: values.line(name, value, most=most)


def number(most: int = values.MAX_SIZE, least: int = 0) -> Decoder:
    def decode(name: str, value: object) -> int:
        if not isinstance(value, int):
            raise Invalid(f"{name} must be a whole number, not {values.shown(value)}")
        return values.whole_number(name, value, least=least, most=most)

    return decode


def one_of(kind: type[E], *, unknown: E | None = None) -> Callable[[str, object], E]:
    """Decode members of an enumeration. In answers, `unknown` stands for values that only a newer registry knows."""
    members = {str(member): member for member in kind}

    def decode(name: str, value: object) -> E:
        member = members.get(value) if isinstance(value, str) else None
        if member is not None:
            return member
        if unknown is not None and isinstance(value, str):
            _log_unknown(name, values.shown(value), str(unknown))
            return unknown
        raise Invalid(f"{name} must be one of {', '.join(kind)}, not {values.shown(value)}")

    return decode


@lru_cache  # once
def _log_unknown(name: str, shown: str, read_as: str) -> None:
    LOG.warning("the registry answers with the %s %s, which is unknown here and read as %s", name, shown, read_as)


def choice(choices: Sequence[str]) -> Decoder:
    def decode(name: str, value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise Invalid(f"{name} must be one of {', '.join(choices)}, not {values.shown(value)}")

    return decode


def or_none(decode: Decoder) -> Decoder:
    return lambda name, value: None if value is None else decode(name, value)


def list_of(decode: Decoder, most: int | None = None) -> Callable[[str, object], list[Any]]:
    def decode_all(name: str, value: object) -> list[Any]:
        if not isinstance(value, list) or (most is not None and len(value) > most):
            limit = "" if most is None else f" of at most {most}"
            raise Invalid(f"{name} must be a list{limit}, not {values.shown(value)}")
        return [decode(name, item) for item in value]

    return decode_all


def time(name: str, value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        raise Invalid(f"{name} must be a time such as 2011-03-04T23:47:58.145889, not {values.shown(value)}")
    return moment
