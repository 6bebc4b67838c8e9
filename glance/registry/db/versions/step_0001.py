# SPDX-License-Identifier: Apache-2.0
"""The first schema: images and what belongs to them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from glance.registry.db.versions import options, text_of

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
VALUE = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "images",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("name", text_of(255)),
        sa.Column("status", text_of(30), nullable=False),
        sa.Column("visibility", text_of(30), nullable=False),
        sa.Column("owner", text_of(255)),
        sa.Column("disk_format", text_of(30)),
        sa.Column("container_format", text_of(30)),
        sa.Column("size", sa.BigInteger()),
        sa.Column("virtual_size", sa.BigInteger()),
        sa.Column("checksum", text_of(32)),
        sa.Column("os_hash_algo", text_of(64)),
        sa.Column("os_hash_value", text_of(128)),
        sa.Column("min_disk", sa.Integer(), nullable=False),
        sa.Column("min_ram", sa.Integer(), nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT),
        sa.Column("deleted_at", MOMENT),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_images")),
        sa.UniqueConstraint("id", name=op.f("uq_images_id")),
        **options(),
        if_not_exists=True,
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_images_created_at"), "images", ["created_at"], if_not_exists=True)
    op.create_index(op.f("ix_images_name"), "images", ["name"], if_not_exists=True)
    op.create_index(op.f("ix_images_owner"), "images", ["owner"], if_not_exists=True)
    op.create_index(
        op.f("ix_images_visibility_status_number"), "images", ["visibility", "status", "number"], if_not_exists=True
    )
    op.create_table(
        "image_locations",
        sa.Column("image", NUMBER, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text()),
        sa.Column("status", text_of(30), nullable=False),
        sa.ForeignKeyConstraint(
            ["image"], ["images.number"], name=op.f("fk_image_locations_image"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image", "position", name=op.f("pk_image_locations")),
        **options(),
        if_not_exists=True,
    )
    op.create_table(
        "image_members",
        sa.Column("image", NUMBER, nullable=False),
        sa.Column("member", text_of(255), nullable=False),
        sa.Column("can_share", sa.Boolean(), nullable=False),
        sa.Column("status", text_of(20), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT),
        sa.ForeignKeyConstraint(
            ["image"], ["images.number"], name=op.f("fk_image_members_image"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image", "member", name=op.f("pk_image_members")),
        sa.UniqueConstraint("member", "image", name=op.f("uq_image_members_member_image")),
        **options(),
        if_not_exists=True,
    )
    op.create_table(
        "image_properties",
        sa.Column("image", NUMBER, nullable=False),
        sa.Column("name", text_of(255), nullable=False),
        sa.Column("value", VALUE, nullable=False),
        sa.ForeignKeyConstraint(
            ["image"], ["images.number"], name=op.f("fk_image_properties_image"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image", "name", name=op.f("pk_image_properties")),
        **options(),
        if_not_exists=True,
    )
    op.create_table(
        "image_tags",
        sa.Column("image", NUMBER, nullable=False),
        sa.Column("tag", text_of(255), nullable=False),
        sa.ForeignKeyConstraint(["image"], ["images.number"], name=op.f("fk_image_tags_image"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("image", "tag", name=op.f("pk_image_tags")),
        **options(),
        if_not_exists=True,
    )


def downgrade() -> None:
    for table in ("image_tags", "image_properties", "image_members", "image_locations", "images"):
        op.drop_table(table)
