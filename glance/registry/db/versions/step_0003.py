# SPDX-License-Identifier: Apache-2.0
"""Leases on images whose bytes are being worked on, copies in the background, and why bytes did not come.

Transfers that a version without leases has begun count as stalled: a lease that is over already."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from glance.registry.db.versions import add_column, text_of

revision = "0003"
down_revision = "0002"

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
INDEX = "ix_images_lease_until"


def upgrade() -> None:
    add_column("images", sa.Column("copy_from", sa.Text()))
    add_column("images", sa.Column("failure", text_of(255)))
    add_column("images", sa.Column("holder", text_of(64)))
    add_column("images", sa.Column("lease_until", MOMENT))
    op.execute("UPDATE images SET lease_until = created_at WHERE status = 'saving'")
    op.create_index(INDEX, "images", ["lease_until"], if_not_exists=True)


def downgrade() -> None:
    op.drop_index(INDEX, table_name="images")
    for column in ("lease_until", "holder", "failure", "copy_from"):
        op.drop_column("images", column)
