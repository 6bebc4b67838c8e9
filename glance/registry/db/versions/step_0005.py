# SPDX-License-Identifier: Apache-2.0
"""Bytes that count against the quota of a tenant, and the locks under which they are summed up.

Images that there are count with their size, but for those whose bytes lie at third parties."""

import sqlalchemy as sa
from alembic import op

from glance.registry.db.versions import add_column, options, text_of

revision = "0005"
down_revision = "0004"

INDEX = "ix_images_charged"
OWN = """\
UPDATE images SET charged = size WHERE status IN ('active', 'pending_delete') AND EXISTS (
    SELECT 1 FROM image_locations WHERE image = images.number
    AND url NOT LIKE 'http://%' AND url NOT LIKE 'https://%')"""


def upgrade() -> None:
    add_column("images", sa.Column("charged", sa.BigInteger()))
    op.execute(sa.text(OWN))
    op.create_index(INDEX, "images", ["owner", "charged"], if_not_exists=True)
    op.create_table(
        "quota_locks",
        sa.Column("owner", text_of(255), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_quota_locks")),
        **options(),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("quota_locks")
    op.drop_index(INDEX, table_name="images")
    op.drop_column("images", "charged")
