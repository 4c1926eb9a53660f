"""The database: there, of our schema, writable, with room on disk; and which router is active."""

import shutil
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from turnout.router import models
from turnout.router.database import MIGRATIONS, Database, parse_url
from turnout.router.doctor.finding import Finding, ok, problem, warning
from turnout.router.doctor.place import Place

SUBJECT = "database"

_ROOM = 1_000_000_000


async def check(place: Place) -> list[Finding]:
    """Open it and ask; what is written is what was there."""
    url = parse_url(place.database_url)
    is_file = url.drivername.startswith("sqlite")
    findings = [_file(Path(str(url.database)))] if is_file else []
    if any(each.level == "problem" for each in findings):
        return findings  # opening it would make it
    async with place.open_database() as database:
        return [
            *findings,
            await _schema(database),
            await _writable(database),
            await _active(database),
        ]


def _file(path: Path) -> Finding:
    if not path.exists():
        return problem(SUBJECT, f"there is no {path}", "start the router, which makes it")
    free = shutil.disk_usage(path.absolute().parent).free
    room = f"{free / 1e9:.1f} GB of disk left beside {path.name}"
    return ok(SUBJECT, room) if free > _ROOM else warning(SUBJECT, room, "free disk")


async def _schema(database: Database) -> Finding:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    async with database.reading() as connection:
        found = await connection.execute(text("SELECT version_num FROM alembic_version"))
        version = found.scalar_one()
    if version != newest:
        return problem(
            SUBJECT,
            f"its schema is {version}, that of this version is {newest}",
            "start the router of this version, which migrates it; never an older one",
        )
    return ok(SUBJECT, f"schema {version}")


async def _writable(database: Database) -> Finding:
    try:
        async with database.writing() as connection:
            await connection.execute(update(models.Lease).values(beat=models.Lease.beat))
    except DBAPIError as error:
        return problem(SUBJECT, f"it cannot be written: {error.orig}", "give its user the right to")
    return ok(SUBJECT, "it can be written")


async def _active(database: Database) -> Finding:
    async with database.reading() as connection:
        holder = (await connection.execute(select(models.Lease.holder))).scalar_one()
    if not holder:
        return problem(SUBJECT, "no router is active", "start the router")
    return ok(SUBJECT, f"the active router is process {holder.split(' ', 1)[1]}")
