"""How Alembic runs the migrations: on the connection that `Database.migrate` hands over."""

from alembic import context

from turnout.router.history import models as _history  # noqa: F401 - these know their tables
from turnout.router.letters import models as _letters  # noqa: F401
from turnout.router.models import Base
from turnout.router.replay import models as _replay  # noqa: F401

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a table by building it anew
)
with context.begin_transaction():
    context.run_migrations()
