"""Structured logs on standard error: JSON for machines, aligned text for a terminal.

Libraries that log through the standard library (OpenTelemetry, uvicorn) come out in the same form.
"""

import logging
import os
import sys
from typing import Any

import structlog

LEVELS = ("debug", "info", "warning", "error")
_VARIABLE = "SLOCTL_LOG"  # "<level>,<json|text>", handed from the supervisor to the planes

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

# Without the variables of each frame: they hold what clients sent.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


class _Handler(logging.StreamHandler[Any]):
    """Ours on the root logger, so that setting up twice replaces it and leaves other handlers alone."""


def configure_logging(level: str = "info", as_json: bool | None = None) -> None:
    """Sets logging up for this process and hands the choice to its children; None: JSON unless a terminal.

    Raises ValueError for a level that is not one of LEVELS.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is not one of {', '.join(LEVELS)}")
    if as_json is None:
        as_json = not sys.stderr.isatty()
    os.environ[_VARIABLE] = f"{level},{'json' if as_json else 'text'}"
    number = logging.getLevelNamesMapping()[level.upper()]
    _configure_standard(number, as_json)
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # so that a later set-up, as in a test, takes effect
    )


def configure_from_environment() -> None:
    """Sets logging up in a plane as the supervisor was told to."""
    level, _, form = os.environ.get(_VARIABLE, "info,json").partition(",")
    configure_logging(level if level in LEVELS else "info", form != "text")


def _configure_standard(level: int, as_json: bool) -> None:
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(as_json)],
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
        )
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.getLogger("apscheduler").setLevel(max(level, logging.WARNING))  # it tells of every job and every run


def _renderers(as_json: bool) -> list[Any]:
    if as_json:
        return [_TRACEBACKS, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback  # rich's shows the values of locals, secrets among them
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
