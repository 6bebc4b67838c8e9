# SPDX-License-Identifier: Apache-2.0
"""Alembic's environment: runs the steps of versions/ over the connection that migrate.py hands in."""

from alembic import context

from glance.registry.db.models import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
