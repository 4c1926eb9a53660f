"""How Alembic runs the migrations: on the connection that `Database.migrate` hands over."""

from alembic import context

from turnout.router.history.models import Run  # its metadata has the tables of the registry too

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Run.metadata,
    render_as_batch=True,  # SQLite changes a table by building it anew
)
with context.begin_transaction():
    context.run_migrations()
