"""The documentation, held against the code."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings
from tests.support.process import ROOT

from turnout.ingress import responses
from turnout.ingress.responses import Refusal
from turnout.ingress.settings import IngressSettings
from turnout.router.settings import RouterSettings
from turnout.router.up.settings import UpSettings
from turnout.workers.settings import WorkerSettings

SERVICES = (IngressSettings, RouterSettings, WorkerSettings)
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *ROOT.glob("examples/*.md")]

_ROW = re.compile(r"^\| `(TURNOUT_\w+)` \| (.+?) \| .+ \|$", re.MULTILINE)


@pytest.mark.parametrize("cls", SERVICES)
def test_every_setting_is_documented_with_its_default(cls: type[BaseSettings]) -> None:
    rows = dict(reversed(_ROW.findall((ROOT / "docs/operating.md").read_text())))
    for name, field in cls.model_fields.items():
        told = rows.pop(f"TURNOUT_{name.upper()}", None)
        assert told is not None, f"{name} is not in docs/operating.md"
        default = getattr(field.default, "get_secret_value", lambda d=field.default: d)()
        if default is not None:
            text = str(default).lower() if isinstance(default, bool) else str(default)
            assert told == f"`{text}`", name


def test_no_setting_is_documented_that_does_not_exist() -> None:
    known = {f"TURNOUT_{name.upper()}" for cls in SERVICES for name in cls.model_fields}
    documented = {name for name, _ in _ROW.findall((ROOT / "docs/operating.md").read_text())}
    assert documented - known == {"TURNOUT_ADMIN_URL", "TURNOUT_ADMIN_CA"}
    assert {f"TURNOUT_{name.upper()}" for name in UpSettings.model_fields} <= known


def test_every_refusal_is_documented_with_its_status() -> None:
    refusals = [value for value in vars(responses).values() if isinstance(value, Refusal)]
    refusals += [
        responses.method_not_allowed(("POST",)),
        responses.unsupported_media_type(("text/*",)),
        responses.body_too_large(1),
        responses.header_too_large(1, 1),
        responses.headers_too_large(1),
        responses.too_many_in_flight(1),
        responses.rate_limited("key", 1, 1, 1),
    ]
    rows = re.findall(
        r"^\| (\d+) \| `(\w+)` \|", (ROOT / "docs/refusals.md").read_text(), re.MULTILINE
    )
    assert {(str(each.status.value), each.code) for each in refusals} == set(rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
