# SPDX-License-Identifier: Apache-2.0
"""The names of images whose rows were purged."""

import sqlalchemy as sa
from alembic import op

from glance.registry.db.versions import options, text_of

revision = "0004"
down_revision = "0003"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "purged_images",
        sa.Column("number", NUMBER, autoincrement=False, nullable=False),
        sa.Column("id", text_of(36), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_purged_images")),
        sa.UniqueConstraint("id", name=op.f("uq_purged_images_id")),
        **options(),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("purged_images")
