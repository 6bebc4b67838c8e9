# SPDX-License-Identifier: Apache-2.0
"""Leases on images whose bytes are being worked on, copies in the background, and why bytes did not come.

Transfers that a version without leases has begun count as stalled: a lease that is over already."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
INDEX = "ix_images_lease_until"


def upgrade() -> None:
    op.add_column("images", sa.Column("copy_from", sa.Text()))
    op.add_column("images", sa.Column("failure", sa.String(length=255)))
    op.add_column("images", sa.Column("holder", sa.String(length=64)))
    op.add_column("images", sa.Column("lease_until", MOMENT))
    op.execute("UPDATE images SET lease_until = created_at WHERE status = 'saving'")
    op.create_index(INDEX, "images", ["lease_until"])


def downgrade() -> None:
    op.drop_index(INDEX, table_name="images")
    for column in ("lease_until", "holder", "failure", "copy_from"):
        op.drop_column("images", column)
