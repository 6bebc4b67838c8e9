# SPDX-License-Identifier: Apache-2.0
"""One image through several APIs: what one of them writes, another reads.

Each dialect says in its own words what the scenarios say in common ones; each scenario is run for every pair of
dialects, in process (tests/api) and over real daemons (tests/functional). A new API is one more class in DIALECTS.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

BYTES = bytes(range(256)) * 20
OCTETS = {"Content-Type": "application/octet-stream"}
FORMATS = {  # type of 2011 → disk and container format
    "machine": ("ami", "ami"), "kernel": ("aki", "aki"), "ramdisk": ("ari", "ari"), "raw": ("raw", "bare"), "vhd": ("vhd", "bare"),
    "qcow2": ("qcow2", "bare"), "iso": ("iso", "bare"),
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Ask = Callable[[str, str, dict[str, str], bytes | None], Answer]  # method, path, headers, body


@dataclass(frozen=True)
class Seen:
    """What every dialect can tell of an image."""

    name: str
    formats: tuple[str, str] = ("raw", "bare")
    size: int = 0
    status: str = "queued"
    public: bool = True
    properties: dict[str, str] = field(default_factory=dict)


class Dialect(ABC):
    """`id` is an image's name in the URLs of this dialect."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    @abstractmethod
    def create(self, image: Seen, body: bytes | None = None) -> Answer:
        """Make an image; its size and status follow from the body."""

    @abstractmethod
    def change(self, image_id: str, *, name: str | None = None, public: bool | None = None, **own: str) -> Answer:
        """`own` are properties, to be set beside those that are there."""

    @abstractmethod
    def upload(self, image_id: str, body: bytes) -> Answer: ...

    @abstractmethod
    def look(self, image_id: str) -> Seen | int:
        """The image, or the status of an answer that has none."""

    @abstractmethod
    def download(self, image_id: str) -> bytes | int: ...

    @abstractmethod
    def delete(self, image_id: str) -> Answer: ...

    @abstractmethod
    def listed(self) -> dict[str, str]:
        """Name → id of the public images."""


class Headers(Dialect):
    """What both APIs with metadata in headers share."""

    path: str

    def create(self, image: Seen, body: bytes | None = None) -> Answer:
        own = {f"property-{key}": value for key, value in image.properties.items()}
        fields = {"name": image.name, "is_public": str(image.public), **self.formats(image.formats), **own}
        return self.ask("POST", self.path, {**OCTETS, **_headers(fields)}, body)

    def change(self, image_id: str, *, name: str | None = None, public: bool | None = None, **own: str) -> Answer:
        fields = {f"property-{key}": value for key, value in own.items()}
        if name is not None:
            fields["name"] = name
        if public is not None:
            fields["is_public"] = str(public)
        keep = {"X-Glance-Registry-Purge-Props": "false"}
        return self.ask("PUT", f"{self.path}/{image_id}", {**keep, **_headers(fields)}, None)

    def upload(self, image_id: str, body: bytes) -> Answer:
        return self.ask("PUT", f"{self.path}/{image_id}", OCTETS, body)

    def look(self, image_id: str) -> Seen | int:
        answer = self.ask("HEAD", f"{self.path}/{image_id}", {}, None)
        if answer.status != 200:
            return answer.status
        told = {
            name.lower().removeprefix("x-image-meta-"): value.encode("latin-1").decode()
            for name, value in answer.headers.items()
        }
        prefix = "property-"
        return Seen(
            name=told["name"],
            formats=self.formats_told(told),
            size=int(told["size"]),
            status=told["status"],
            public=told["is_public"] == "True",
            properties={key.removeprefix(prefix): value for key, value in told.items() if key.startswith(prefix)},
        )

    def download(self, image_id: str) -> bytes | int:
        answer = self.ask("GET", f"{self.path}/{image_id}", {}, None)
        return answer.body if answer.status == 200 else answer.status

    def delete(self, image_id: str) -> Answer:
        return self.ask("DELETE", f"{self.path}/{image_id}", {}, None)

    def listed(self) -> dict[str, str]:
        answer = self.ask("GET", f"{self.path}?limit=1000", {}, None)
        return {image["name"]: str(image["id"]) for image in answer.json()["images"]}

    @abstractmethod
    def formats(self, formats: tuple[str, str]) -> dict[str, str]: ...

    @abstractmethod
    def formats_told(self, told: dict[str, str]) -> tuple[str, str]: ...


class Classic(Headers):
    path = "/images"

    def formats(self, formats: tuple[str, str]) -> dict[str, str]:
        return {"type": next(name for name, pair in FORMATS.items() if pair == formats)}

    def formats_told(self, told: dict[str, str]) -> tuple[str, str]:
        return FORMATS[told["type"]]


class V1(Headers):
    path = "/v1/images"

    def formats(self, formats: tuple[str, str]) -> dict[str, str]:
        return dict(zip(("disk_format", "container_format"), formats, strict=True))

    def formats_told(self, told: dict[str, str]) -> tuple[str, str]:
        return told["disk_format"], told["container_format"]


DIALECTS: tuple[type[Dialect], ...] = (Classic, V1)


def _headers(fields: Mapping[str, str]) -> dict[str, str]:
    return {f"X-Image-Meta-{name}": value.encode().decode("latin-1") for name, value in fields.items()}


# Scenarios: `one` writes, `other` reads. Each takes a name that no other image has.


def an_upload(one: Dialect, other: Dialect, name: str) -> None:
    assert one.create(Seen(name), BYTES).status in (200, 201)
    image_id = other.listed()[name]
    assert other.look(image_id) == Seen(name, size=len(BYTES), status="active")
    assert other.download(image_id) == BYTES


def a_reservation(one: Dialect, other: Dialect, name: str) -> None:
    one.create(Seen(name))
    assert other.look(other.listed()[name]) == Seen(name)
    assert other.download(other.listed()[name]) == 404


def bytes_by_the_other(one: Dialect, other: Dialect, name: str) -> None:
    one.create(Seen(name))
    assert other.upload(other.listed()[name], BYTES).status == 200
    assert one.look(one.listed()[name]) == Seen(name, size=len(BYTES), status="active")
    assert one.upload(one.listed()[name], b"again").status == 409
    assert other.upload(other.listed()[name], b"again").status == 409
    assert one.download(one.listed()[name]) == BYTES


def formats(one: Dialect, other: Dialect, name: str) -> None:
    for kind, pair in FORMATS.items():
        one.create(Seen(f"{name} {kind}", formats=pair))
        seen = other.look(other.listed()[f"{name} {kind}"])
        assert isinstance(seen, Seen)
        assert seen.formats == pair


def scripts_of_all_kinds(one: Dialect, other: Dialect, name: str) -> None:
    name = f"{name} Ünï 漢字 🐧 100% %41"
    one.create(Seen(name, properties={"os": name}))
    assert other.look(other.listed()[name]) == Seen(name, properties={"os": name})


def an_update(one: Dialect, other: Dialect, name: str) -> None:
    one.create(Seen(name, properties={"a": "1"}), BYTES)
    image_id = other.listed()[name]
    assert other.change(image_id, name=f"{name} 2", b="2").status == 200
    seen = Seen(f"{name} 2", size=len(BYTES), status="active", properties={"a": "1", "b": "2"})
    assert one.look(one.listed()[f"{name} 2"]) == other.look(image_id) == seen
    assert name not in one.listed()


def what_is_public(one: Dialect, other: Dialect, name: str) -> None:
    one.create(Seen(name))
    mine, theirs = one.listed()[name], other.listed()[name]
    one.change(mine, public=False)
    assert name not in one.listed()
    assert name not in other.listed()
    assert one.look(mine) == other.look(theirs) == Seen(name, public=False)
    other.change(theirs, public=True)
    assert name in one.listed()


def a_deletion(one: Dialect, other: Dialect, name: str) -> None:
    one.create(Seen(name), BYTES)
    mine, theirs = one.listed()[name], other.listed()[name]
    assert one.delete(mine).status == 200
    assert name not in other.listed()
    assert other.download(theirs) == 404
    assert other.delete(theirs).status == 404
    assert one.upload(mine, BYTES).status in (403, 404)  # v1 tells admins that it was deleted


def wrong_values(one: Dialect, other: Dialect, name: str) -> None:
    for wrong in (Seen(name + "x" * 256), Seen(name, properties={"k" * 256: "v"})):
        assert one.create(wrong, BYTES).status == 400
    assert not [listed for listed in other.listed() if listed.startswith(name)]
    one.create(Seen(name))
    assert other.change(other.listed()[name], name="x" * 256).status == 400
    assert one.look(one.listed()[name]) == Seen(name)


def what_is_not_there(one: Dialect, other: Dialect, name: str) -> None:
    one.create(Seen(name), BYTES)
    for image_id in ("0", "x", "999999", "71c675ab-d94f-49cd-a114-e12490b328d9", "..%2f1", "%20"):
        assert other.look(image_id) == other.download(image_id) == 404
        assert other.change(image_id, name="x").status == other.upload(image_id, b"x").status == 404
        assert other.delete(image_id).status == 404
    assert one.download(one.listed()[name]) == BYTES


SCENARIOS = (
    an_upload, a_reservation, bytes_by_the_other, formats, scripts_of_all_kinds, an_update, what_is_public, a_deletion, wrong_values,
    what_is_not_there,
)  # fmt: skip
PAIRS = tuple(product(DIALECTS, repeat=2))
