"""The wheel, installed where nothing else of the project is, has all that is needed."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from tests.support.process import ROOT

PARTS = ("ingress", "router", "workers", "shared")

IMPORTS = """
import importlib, pathlib, sys, turnout
for name in sys.argv[1:]:
    print(pathlib.Path(importlib.import_module(name).__file__).resolve())
assert getattr(turnout, "__file__", None) is None, "turnout has an __init__.py"
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A virtual environment with the wheel; what it depends on is borrowed from ours.

    Of a directory that a .pth file adds, further .pth files are not read: so the project itself,
    which is installed for editing here, does not come along.
    """
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=True)
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(
        [directory / "bin/python", *install, "--disable-pip-version-check"],
        check=True,
        capture_output=True,
    )
    (packages,) = directory.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory


def python(environment: Path, *arguments: str) -> str:
    """Run the environment's Python, which sees neither the checkout nor our variables."""
    done = subprocess.run(
        [environment / "bin/python", "-I", *arguments],
        cwd=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_the_wheel_holds_the_four_parts_whole_and_nothing_else(wheel: Path) -> None:
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    written = {
        str(path.relative_to(ROOT / part))
        for part in PARTS
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == written
    assert "turnout/__init__.py" not in shipped
    assert {f"turnout/{part}/py.typed" for part in PARTS} <= shipped


def test_all_parts_and_the_migrations_are_imported_from_the_wheel(environment: Path) -> None:
    modules = [f"turnout.{part}" for part in PARTS]
    modules += [f"turnout.{part}.service" for part in PARTS]
    modules += ["turnout.router.cli", "turnout.router.up", "turnout.router.compose.volumes"]
    modules += [
        f"turnout.router.migrations.versions.{path.stem}"
        for path in (ROOT / "router/turnout/router/migrations/versions").glob("m*.py")
    ]
    for line in python(environment, "-c", IMPORTS, *modules).splitlines():
        assert Path(line).is_relative_to(environment.resolve()), line


def test_the_console_script_runs(environment: Path) -> None:
    done = subprocess.run(
        [environment / "bin/turnout", "--version"],
        cwd=environment,
        env={"PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("turnout ")


def test_a_fresh_database_gets_its_schema_from_the_wheel(environment: Path) -> None:
    script = """
import asyncio
from turnout.router.database import open_database
from turnout.router.registry import Registry
async def main():
    async with open_database("sqlite+aiosqlite:///fresh.db") as database:
        await database.migrate()
        print(len((await Registry(database).snapshot()).flows))
asyncio.run(main())
"""
    assert python(environment, "-c", script) == "0\n"
