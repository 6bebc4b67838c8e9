# SPDX-License-Identifier: Apache-2.0
"""The tables: wide enough for everything that any dialect knows of an image, from the first day.

Times are UTC without zone. Lists are sorted by one column, then created_at, then id, and are made of parts that have
one visibility, or one visibility and one owner (query.py); each such part has its index below, so a page costs the
same however long the list. `images.number` is the primary key and is never given twice, not even after the
newest image was deleted; `images.id` is the UUID by which newer APIs name the image. Deleted images keep their
row, or at least these two, so that neither name can come back.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {  # of constraints, so that later steps of the schema can name them
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite counts only a column declared INTEGER PRIMARY KEY; its integers have 64 bits all the same.
Number = BigInteger().with_variant(Integer(), "sqlite")
Moment = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
# MySQL counts bytes: its TEXT ends at 65,535, a property value may be as many characters of four bytes each.
Value = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


LISTED = ("name", "status", "container_format", "disk_format", "size", "updated_at")  # before created_at and id
FOUND = ("checksum", "os_hash_value", "min_disk", "min_ram", "protected", "hidden")  # by a filter; no list's order
START = 64  # characters of a property's value that are indexed: not every database takes all of it


def start_of(value: str) -> str:
    return value[:START]


def _lists() -> list[Index]:
    """For each order of a list, an index that serves it for one visibility, and one for one owner's part of that."""
    orders = {"number": ["number"], "id": ["id"], "created_at": ["created_at", "id"]}
    orders |= {key: [key, "created_at", "id"] for key in LISTED}
    return [
        *(Index(f"ix_images_list_{name}", "deleted", "visibility", *keys) for name, keys in orders.items()),
        *(Index(f"ix_images_owner_{name}", "owner", "deleted", "visibility", *keys) for name, keys in orders.items()),
    ]


class ImageRow(Base):
    __tablename__ = "images"
    __table_args__: Any = (
        *_lists(),
        *(Index(f"ix_images_{field}", field) for field in FOUND),
        Index("ix_images_lease_until", "lease_until"),
        Index("ix_images_charged", "owner", "charged"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(36), unique=True)
    name: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(30))
    visibility: Mapped[str] = mapped_column(String(30))
    owner: Mapped[str | None] = mapped_column(String(255))
    disk_format: Mapped[str | None] = mapped_column(String(30))
    container_format: Mapped[str | None] = mapped_column(String(30))
    size: Mapped[int | None] = mapped_column(BigInteger)
    virtual_size: Mapped[int | None] = mapped_column(BigInteger)
    checksum: Mapped[str | None] = mapped_column(String(32))
    os_hash_algo: Mapped[str | None] = mapped_column(String(64))
    os_hash_value: Mapped[str | None] = mapped_column(String(128))
    min_disk: Mapped[int] = mapped_column(Integer)
    min_ram: Mapped[int] = mapped_column(Integer)
    protected: Mapped[bool] = mapped_column(Boolean)
    hidden: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime | None] = mapped_column(Moment)
    deleted_at: Mapped[datetime | None] = mapped_column(Moment)
    deleted: Mapped[bool] = mapped_column(Boolean, server_default=false())
    copy_from: Mapped[str | None] = mapped_column(Text)
    failure: Mapped[str | None] = mapped_column(String(255))
    holder: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None] = mapped_column(Moment)
    charged: Mapped[int | None] = mapped_column(BigInteger)


class PurgedRow(Base):
    """What is left of a deleted image whose row was purged."""

    __tablename__ = "purged_images"

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(String(36), unique=True)


class QuotaLockRow(Base):
    """Held by whoever compares what a tenant has with his quota."""

    __tablename__ = "quota_locks"

    owner: Mapped[str] = mapped_column(String(255), primary_key=True)


def _image() -> Any:
    return mapped_column(Number, ForeignKey("images.number", ondelete="CASCADE"), primary_key=True)


class PropertyRow(Base):
    __tablename__ = "image_properties"
    __table_args__: Any = (Index("ix_image_properties_value", "name", "start", "image"),)

    image: Mapped[int] = _image()
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    value: Mapped[str] = mapped_column(Value)
    start: Mapped[str] = mapped_column(String(START))  # of the value


class LocationRow(Base):
    __tablename__ = "image_locations"

    image: Mapped[int] = _image()
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    url: Mapped[str] = mapped_column(Text)
    meta: Mapped[str | None] = mapped_column("metadata", Text)  # a JSON object; None: empty
    status: Mapped[str] = mapped_column(String(30), default="active")


class TagRow(Base):
    __tablename__ = "image_tags"
    __table_args__: Any = (Index("ix_image_tags_tag", "tag", "image"),)

    image: Mapped[int] = _image()
    tag: Mapped[str] = mapped_column(String(255), primary_key=True)


class MemberRow(Base):
    __tablename__ = "image_members"
    __table_args__: Any = (
        UniqueConstraint("member", "image"),
        Index("ix_image_members_status", "member", "status", "image"),
    )

    image: Mapped[int] = _image()
    member: Mapped[str] = mapped_column(String(255), primary_key=True)
    can_share: Mapped[bool] = mapped_column(Boolean)
    status: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime | None] = mapped_column(Moment)
