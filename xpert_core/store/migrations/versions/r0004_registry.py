"""Model registry, default models, and what is shared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: Tables whose rows an owner may share.
SHAREABLE = ("cohorts", "runs", "paired_cohorts", "jobs")


def upgrade() -> None:
    """Apply this change."""
    for table in SHAREABLE:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(
                sa.Column("shared", sa.Boolean(), server_default=sa.false(), nullable=False)
            )

    op.create_table(
        "default_models",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_default_models")),
    )
    op.create_table(
        "registered_models",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.Text(), server_default="local", nullable=False),
        sa.Column("model_id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("parents", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shared", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_registered_models_model_id_models")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registered_models")),
        sa.UniqueConstraint("owner", "model_id", name=op.f("uq_registered_models_owner_model_id")),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_registered_models_owner_name")),
    )
    with op.batch_alter_table("registered_models", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_registered_models_model_id"), ["model_id"], unique=False
        )


def downgrade() -> None:
    """Undo this change."""
    with op.batch_alter_table("registered_models", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_registered_models_model_id"))

    op.drop_table("registered_models")
    op.drop_table("default_models")
    for table in reversed(SHAREABLE):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("shared")
