import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from turnout.shared.errors import FlowError
from turnout.workers import lifespan
from turnout.workers.resources import Lifespan, Resources, declared, opened

MODULE = """
from turnout.workers import lifespan

told = []

@lifespan
async def database():
    told.append("database opens")
    yield "the pool"
    told.append("database closes")

@lifespan
def client():
    told.append("client opens")
    yield "the client"
    told.append("client closes")
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load(monkeypatch, MODULE)


def load(monkeypatch: pytest.MonkeyPatch, text: str) -> ModuleType:
    made = ModuleType("resources_of_this_test")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec(compile(text, "resources.py", "exec"), vars(made))
    return made


def of(module: ModuleType) -> list[Lifespan[Any]]:
    """Return what is declared in the module; other tests' modules are imported, too."""
    return [each for each in declared() if each in vars(module).values()]


async def test_resources_are_open_within_and_closed_the_other_way_round(
    module: ModuleType,
) -> None:
    assert of(module) == [module.database, module.client]

    async with opened(of(module)) as resources:
        assert resources[module.database] == "the pool"
        assert resources[module.client] == "the client"
        module.told.append("runs")

    assert module.told == [
        *("database opens", "client opens", "runs", "client closes", "database closes"),
    ]


async def test_one_that_cannot_be_opened_is_named_and_the_others_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = MODULE + "\n@lifespan\nasync def broken():\n    raise OSError('refused')\n    yield"
    module = load(monkeypatch, text)

    with pytest.raises(
        FlowError, match=r"lifespan broken at resources.py:\d+> cannot be opened: OSError: refused"
    ):
        async with opened(of(module)):
            pytest.fail("it was entered")
    assert module.told[-2:] == ["client closes", "database closes"]


async def test_one_that_cannot_be_closed_does_not_keep_the_others_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = MODULE + "\n@lifespan\ndef broken():\n    yield\n    raise OSError('refused')"
    module = load(monkeypatch, text)

    async with opened(of(module)):
        pass
    assert module.told[-2:] == ["client closes", "database closes"]


async def test_a_lifespan_can_be_opened_by_whoever_wants_it(module: ModuleType) -> None:
    async with module.database() as pool, module.client() as client:
        assert (pool, client) == ("the pool", "the client")


def test_what_a_module_has_no_more_is_not_opened(module: ModuleType) -> None:
    del module.database
    assert of(module) == [module.client]


def test_one_that_is_not_open_is_named_with_what_to_do(module: ModuleType) -> None:
    with pytest.raises(FlowError, match=r"lifespan database .* is not open here: pass it"):
        Resources({}, "pass it")[module.database]


def test_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FlowError, match=r"database would replace the one .* at resources.py:6"):
        load(monkeypatch, MODULE + "\n@lifespan\ndef database():\n    yield")


def _returns() -> Any: ...


def _takes(something: int) -> Iterator[int]:
    yield something


async def _coroutine() -> AsyncIterator[int]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "message"),
    [(_returns, "must `yield`"), (_coroutine, "must `yield`"), (_takes, "take no arguments")],
)
def test_a_function_that_cannot_be_a_lifespan_is_refused(function: Any, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        lifespan(function)


def test_resources_are_typed() -> None:
    """Checked by mypy, which knows what a lifespan yields."""

    @lifespan
    async def number() -> AsyncIterator[int]:
        yield 1

    resource: int = Resources({number: 1}, "")[number]
    assert resource == 1
    assert Path(number.source.rpartition(":")[0]) == Path(__file__)
