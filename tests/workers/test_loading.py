import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from turnout.shared.errors import FlowError
from turnout.workers.loading import load

Write = Callable[[str, str], str]

HELLO = """\
from turnout.workers import flow

@flow("demo/hello")
def hello(event): ...
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module below the working directory; afterwards none of them was imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_is_loaded_by_its_path(write: Write) -> None:
    assert list(load([write("my_flows.py", HELLO)])) == ["demo/hello"]


def test_a_module_is_loaded_by_its_name(write: Write) -> None:
    write("shop/__init__.py", "")
    write("shop/flows.py", HELLO)

    assert list(load(["shop.flows"])) == ["demo/hello"]


def test_a_file_finds_its_neighbours(write: Write) -> None:
    write("somewhere/helping.py", 'ADDRESS = "demo/hello"')
    path = write("somewhere/my_flows.py", HELLO.replace('"demo/hello"', "helping.ADDRESS"))
    text = Path(path).read_text()
    write("somewhere/my_flows.py", "import helping\n" + text)

    assert list(load([path])) == ["demo/hello"]


def test_a_flow_that_two_modules_share_is_one_flow(write: Write) -> None:
    first = write("first.py", HELLO)
    second = write("second.py", "from first import hello")

    assert list(load([first, second, first])) == ["demo/hello"]


def test_two_flows_of_one_address_are_refused_naming_both_places(write: Write) -> None:
    modules = [write("first.py", HELLO), write("second.py", "\n\n" + HELLO)]

    with pytest.raises(
        FlowError,
        match=r"two flows are called demo/hello: at \S+/first.py:3 and at \S+/second.py:5",
    ):
        load(modules)


@pytest.mark.parametrize("address", ["demo/hello", "demo/other"])
def test_a_flow_that_another_one_would_hide_by_its_name_is_not_lost(
    write: Write, address: str
) -> None:
    path = write("my_flows.py", HELLO + HELLO.replace("demo/hello", address))

    with pytest.raises(
        FlowError, match=r"my_flows.py:7: flow \S+: hello would replace .*/my_flows.py:3, which is"
    ):
        load([path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "mistaken.py declares no flow"),
        ("x = 1\ny = (", r"mistaken.py:2: '\(' was never closed"),
        ("x = 1\n\ny = z", "mistaken.py:3: NameError: name 'z' is not defined"),
        ("import nowhere_to_be_found", "mistaken.py:1: ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(3)", "mistaken.py:2: SystemExit: 3"),
        (HELLO.replace("demo/hello", "hello"), "mistaken.py:3: flow 'hello' has no group"),
        (
            HELLO.replace("(event)", "()"),
            "mistaken.py:3: flow demo/hello: hello must take the event",
        ),
    ],
)
def test_an_error_names_the_module_the_line_and_the_mistake(
    write: Write, text: str, message: str
) -> None:
    path = write("mistaken.py", text)

    with pytest.raises(FlowError, match=message) as raised:
        load([path])
    assert str(raised.value).startswith("mistaken.py")


def test_a_mistake_in_a_neighbour_is_named_there(write: Write) -> None:
    write("neighbour.py", "x = 1\ny = 1 / 0")
    path = write("my_flows.py", "import neighbour")

    with pytest.raises(FlowError, match=r"^my_flows.py: \S+/neighbour.py:2: ZeroDivisionError"):
        load([path])


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("absent.py", "absent.py: there is no such .py file"),
        ("some/where", "some/where: there is no such .py file"),
        ("absent", "absent: there is no module 'absent'"),
        ("absent.flows", "absent.flows: there is no module 'absent'"),
    ],
)
def test_a_module_that_does_not_exist_is_named(write: Write, module: str, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        load([module])


def test_a_file_called_as_a_library_is_refused(write: Write) -> None:
    with pytest.raises(FlowError, match="another module is called 'json' already"):
        load([write("json.py", HELLO)])


def test_a_module_that_failed_can_be_loaded_once_it_is_right(write: Write) -> None:
    path = write("my_flows.py", "1 / 0")
    with pytest.raises(FlowError):
        load([path])

    write("my_flows.py", HELLO)
    assert list(load([path])) == ["demo/hello"]
