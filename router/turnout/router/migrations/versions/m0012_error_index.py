"""An index by which runs with one error are found."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_INDEX = "ix_runs_error_type_id"


def upgrade() -> None:
    """Create it, for the few runs that have an error."""
    failed = sa.text("error_type IS NOT NULL")
    op.create_index(
        _INDEX, "runs", ["error_type", "id"], sqlite_where=failed, postgresql_where=failed
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index(_INDEX, "runs")
