# SPDX-License-Identifier: Apache-2.0
"""Indexes that fit the lists, and a column that says whether an image is deleted, for them to begin with."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

OLD = {
    "ix_images_created_at": ["created_at"],
    "ix_images_name": ["name"],
    "ix_images_owner": ["owner"],
    "ix_images_visibility_status_number": ["visibility", "status", "number"],
}
NEW = {
    "ix_images_list_number": ["number"],
    "ix_images_list_id": ["id"],
    "ix_images_list_created_at": ["created_at", "id"],
    **{
        f"ix_images_list_{key}": [key, "created_at", "id"]
        for key in ("name", "status", "container_format", "disk_format", "size", "updated_at")
    },
}


def upgrade() -> None:
    op.add_column("images", sa.Column("deleted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE images SET deleted = (status = 'deleted'), updated_at = COALESCE(updated_at, created_at)")
    for name in OLD:
        op.drop_index(name, table_name="images")
    for name, columns in NEW.items():
        op.create_index(name, "images", ["deleted", "visibility", *columns])
    op.create_index("ix_images_owner_created_at", "images", ["owner", "deleted", "created_at", "id"])


def downgrade() -> None:
    for name in (*NEW, "ix_images_owner_created_at"):
        op.drop_index(name, table_name="images")
    for name, columns in OLD.items():
        op.create_index(name, "images", columns)
    op.execute("UPDATE images SET updated_at = NULL WHERE updated_at = created_at")
    op.drop_column("images", "deleted")
