# SPDX-License-Identifier: Apache-2.0
"""Value of the domain → JSON value, for what the two daemons speak with each other; decode.py is the way back.

Which fields need an encoder follows from their types, once, when a module is loaded: a list has hundreds of values,
and none of them is asked what it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

Encoder = Callable[[Any], object]


def encode_time(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


_ENCODERS: Mapping[type, Encoder] = {datetime: encode_time, tuple: list, frozenset: sorted, Mapping: dict}


def encoder_for(kind: Any) -> Encoder | None:
    """Return the encoder of the values of a type that are not None; None if JSON takes them as they are."""
    for one in get_args(kind) if isinstance(kind, UnionType) else (kind,):
        base = get_origin(one) or one
        if base in _ENCODERS:
            return _ENCODERS[base]
        if issubclass(base, StrEnum):
            return str
    return None


def encoders_for(dataclass: type) -> dict[str, Encoder]:
    """Return the encoders of those fields that need one."""
    hints = get_type_hints(dataclass)
    found = {item.name: encoder_for(hints[item.name]) for item in fields(dataclass)}
    return {name: encode for name, encode in found.items() if encode is not None}


def object_encoder(dataclass: type) -> Callable[[Any], dict[str, object]]:
    """Return a function that encodes instances of a dataclass as objects with a key per field."""
    names = tuple(item.name for item in fields(dataclass))
    values_of_fields = attrgetter(*names)
    encoders = tuple(encoders_for(dataclass).items())

    def encode(instance: Any) -> dict[str, object]:
        encoded = dict(zip(names, values_of_fields(instance), strict=True))
        for name, encode_field in encoders:
            if (value := encoded[name]) is not None:
                encoded[name] = encode_field(value)
        return encoded

    return encode
