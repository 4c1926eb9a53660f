"""Logging: one event a line, as JSON for collectors or coloured for people, never with a secret."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from turnout.shared import keys

#: Libraries that write the values of statements at level debug, or how they work at info.
_TALKATIVE = ("aiosqlite", "alembic", "sqlalchemy")


def configure(level: str = "info", form: Literal["console", "json"] = "json") -> None:
    """Send everything that is logged, by us or by a library, to standard error.

    Args:
        level: the least severe level that is shown: debug, info, warning or error.
        form: "json" or "console".
    """
    use_logging(form)
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(form, renderer))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def use_logging(form: Literal["console", "json"] = "console") -> None:
    """Hand what we log to `logging`, whose handlers decide what becomes of it."""
    structlog.configure(
        processors=[*_processors(form), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def plain() -> logging.Formatter:
    """Return what makes a line of text, without colours, of anything that is logged."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    return _formatter("console", renderer)


def always(**fields: object) -> None:
    """Put fields on every line that this process logs; called before there is an event loop."""
    structlog.contextvars.bind_contextvars(**fields)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; pass what varies as keyword arguments."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _processors(form: Literal["console", "json"]) -> list[structlog.typing.Processor]:
    # People watch what happens now, on this machine.
    moment = (
        structlog.processors.TimeStamper(fmt="iso", utc=True)
        if form == "json"
        else structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    )
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        moment,
        structlog.processors.format_exc_info,
        _scrub,
    ]


def _formatter(
    form: Literal["console", "json"], renderer: structlog.typing.Processor
) -> logging.Formatter:
    """Return what makes a line of ours, and one of a library that knows nothing of structlog."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_processors(form),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def _scrub(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take the secrets out of every text: the last line of defence, not the first."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = keys.scrub(value)
    return event
