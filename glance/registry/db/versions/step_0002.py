# SPDX-License-Identifier: Apache-2.0
"""Indexes that fit the lists and what they are asked for, and two columns for them: whether an image is deleted, and
the start of a property's value."""

import sqlalchemy as sa
from alembic import op

from glance.registry.db.versions import add_column, text_of

revision = "0002"
down_revision = "0001"

OLD = {
    "ix_images_created_at": ["created_at"],
    "ix_images_name": ["name"],
    "ix_images_owner": ["owner"],
    "ix_images_visibility_status_number": ["visibility", "status", "number"],
}
ORDERS = {
    "number": ["number"],
    "id": ["id"],
    "created_at": ["created_at", "id"],
    **{
        key: [key, "created_at", "id"]
        for key in ("name", "status", "container_format", "disk_format", "size", "updated_at")
    },
}
FOUND = ("checksum", "os_hash_value", "min_disk", "min_ram", "protected", "hidden")
LIST = ["deleted", "visibility"]
NEW = {
    **{f"ix_images_list_{name}": ("images", [*LIST, *keys]) for name, keys in ORDERS.items()},
    **{f"ix_images_owner_{name}": ("images", ["owner", *LIST, *keys]) for name, keys in ORDERS.items()},
    **{f"ix_images_{field}": ("images", [field]) for field in FOUND},
    "ix_image_properties_value": ("image_properties", ["name", "start", "image"]),
    "ix_image_tags_tag": ("image_tags", ["tag", "image"]),
    "ix_image_members_status": ("image_members", ["member", "status", "image"]),
}


def upgrade() -> None:
    add_column("images", sa.Column("deleted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE images SET deleted = (status = 'deleted'), updated_at = COALESCE(updated_at, created_at)")
    add_column("image_properties", sa.Column("start", text_of(64), nullable=False, server_default=""))
    op.execute("UPDATE image_properties SET start = SUBSTR(value, 1, 64)")
    for name in OLD:
        op.drop_index(name, table_name="images", if_exists=True)
    for name, (table, columns) in NEW.items():
        op.create_index(name, table, columns, if_not_exists=True)


def downgrade() -> None:
    for name, (table, _) in NEW.items():
        op.drop_index(name, table_name=table)
    for name, columns in OLD.items():
        op.create_index(name, "images", columns)
    op.execute("UPDATE images SET updated_at = NULL WHERE updated_at = created_at")
    op.drop_column("images", "deleted")
    op.drop_column("image_properties", "start")
