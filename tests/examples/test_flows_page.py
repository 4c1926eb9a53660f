"""The examples of docs/flows.md, put together to one module, with its tests."""

import re
import sys
from types import ModuleType
from typing import Any, Self

import pytest
from tests.support.process import ROOT

from turnout.workers.flow import declared

PAGE = ROOT / "docs/flows.md"
TEXT = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
TESTS = re.findall(r"^def (test_\w+)", TEXT, re.MULTILINE)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("flows_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(TEXT, str(PAGE), "exec"), vars(module))
    module.sent = []  # type: ignore[attr-defined]

    async def send_mail(address: str) -> None:
        module.sent.append(address)

    async def note_in_crm(_: Any) -> None:
        """Fail at the first attempt."""
        module.noted = getattr(module, "noted", 0) + 1  # type: ignore[attr-defined]
        if module.noted == 1:
            raise ConnectionError("the CRM is busy")

    vars(module).update(send_mail=send_mail, note_in_crm=note_in_crm)
    return module


@pytest.mark.parametrize("name", TESTS)
def test_the_tests_of_the_page_pass(page: ModuleType, name: str) -> None:
    getattr(page, name)()


class Answer:
    def __init__(self, status: int) -> None:
        self.status = status

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def raise_for_status(self) -> None: ...


class Crm:
    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.calls: list[tuple[str, Any]] = []

    def put(self, path: str, json: Any) -> Answer:
        self.calls.append((path, json))
        return Answer(self.statuses.pop(0))


def test_the_first_flow_of_the_page_does_what_it_says(page: ModuleType) -> None:
    from turnout.workers.testing import run

    crm = Crm(429, 200)
    result = run(page.update_lead, json={"id": "7"}, resources={page.crm: crm})

    assert (result.state, result.delays, result.result) == ("succeeded", (60,), {"updated": "7"})
    assert crm.calls == [("/leads/7", {"id": "7"})] * 2


def test_the_page_names_every_option_of_a_flow() -> None:
    import inspect

    from turnout.workers import flow

    options = set(inspect.signature(flow).parameters) - {"address"}
    table = PAGE.read_text().partition("| option of `@flow`")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == options


def test_the_flows_of_the_page_are_declared(page: ModuleType) -> None:
    found = [each for value in vars(page).values() if (each := declared(value)) is not None]
    names = ["update-lead", "sync-customer", "welcome"]
    assert [each.address for each in found] == [f"sales/{name}" for name in names]
