# SPDX-License-Identifier: Apache-2.0
"""Bytes ↔ JSON value; read strictly: what two parsers could understand differently is refused."""

import json
import math
from typing import NoReturn

from glance.core.errors import Invalid

MAX_DIGITS = 100  # of a whole number: int() takes the square of the time for twice as many


def parse(data: bytes) -> object:
    """The value of a JSON text in UTF-8. Raises Invalid for anything else: duplicate keys, NaN,
    and numbers that would become infinite included."""
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_no_number,
        )
    except UnicodeDecodeError:
        raise Invalid("a JSON body must be UTF-8") from None
    except (ValueError, RecursionError) as error:  # JSONDecodeError, for example
        raise Invalid("the body is not JSON, or is nested too deeply") from error
    return value


def write(value: object, *, ensure_ascii: bool = True) -> bytes:
    """Return JSON in ASCII, or in UTF-8, which is at most a third as long where text is not ASCII.

    A lone surrogate, which UTF-8 cannot represent, makes text that parse() refuses."""
    return json.dumps(value, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Invalid("the body has an object with the same key twice")
    return found


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise Invalid("the body has a number that is too large")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Invalid("the body has a number that is too large")
    return number


def _no_number(text: str) -> NoReturn:
    raise Invalid(f"{text} is not a JSON number")
