"""Loading: from the modules that `turnout worker` is given to the flows in them."""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from turnout.shared.errors import FlowError
from turnout.workers.flow import Flow, declared


def load(modules: Iterable[str]) -> dict[str, Flow]:
    """Import modules and collect the flows that they declare, or import from others.

    Args:
        modules: each a path to a .py file, or a dotted name.

    Returns:
        The flows by address.

    Raises:
        FlowError: a module cannot be imported, has no flow, or two flows share an address.
    """
    flows: dict[str, Flow] = {}
    for module in modules:
        found = _flows_of(module)
        if not found:
            raise FlowError(
                f"{module} declares no flow: put @flow('group/name') above a function in it"
            )
        for each in found:
            other = flows.setdefault(each.address, each)
            if other is not each:
                raise FlowError(
                    f"two flows are called {each.address}: at {other.source} and at {each.source}"
                )
    return flows


def _flows_of(module: str) -> list[Flow]:
    return [
        found for value in vars(_import(module)).values() if (found := declared(value)) is not None
    ]


def _import(module: str) -> ModuleType:
    is_path = module.endswith(".py") or os.sep in module
    try:
        return _import_file(Path(module)) if is_path else _import_name(module)
    except FlowError as error:
        raise FlowError(f"{_place(module, error)}: {error}") from None
    except SyntaxError as error:
        raise FlowError(f"{module}: {error.filename}:{error.lineno}: {error.msg}") from None
    # A module may raise anything, and sys.exit() while it is imported is a mistake as well.
    except (Exception, SystemExit) as error:
        raise FlowError(f"{_place(module, error)}: {type(error).__name__}: {error}") from error


def _import_name(name: str) -> ModuleType:
    # As `python -m` does: the user's modules are those of the working directory.
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise FlowError(
                f"there is no module {error.name!r}: give a path to a .py file, or a dotted name "
                f"that can be imported from {Path.cwd()}"
            ) from None
        raise


def _import_file(path: Path) -> ModuleType:
    """Import a file under its own name, as its neighbours would import it."""
    path = path.resolve()
    if path.suffix != ".py" or not path.is_file():
        raise FlowError("there is no such .py file")
    known = sys.modules.get(path.stem)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == path:
            return known
        raise FlowError(f"another module is called {path.stem!r} already: rename the file")
    # As `python file.py` does: a module finds its neighbours.
    _look_in(path.parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FlowError("Python knows no way to import it")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _look_in(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _place(module: str, error: BaseException) -> str:
    """Name the module, and the innermost line of the user's code that led to the error."""
    lines = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen ") and not _is_ours(frame.filename)
    ]
    return f"{module}: {lines[-1]}" if lines else module


def _is_ours(filename: str) -> bool:
    return Path(filename).parent == Path(__file__).parent
