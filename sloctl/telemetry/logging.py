"""Structured logs on standard error: JSON for machines, aligned text for a terminal."""

import logging
import os
import sys
from typing import Any

import structlog

_VARIABLE = "SLOCTL_LOG"  # "<level>,<json|text>", handed from the supervisor to the planes


def configure_logging(level: str = "info", as_json: bool | None = None) -> None:
    """Sets structlog up for this process and hands the choice to its children; None: JSON unless a terminal."""
    if as_json is None:
        as_json = not sys.stderr.isatty()
    os.environ[_VARIABLE] = f"{level},{'json' if as_json else 'text'}"
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def configure_from_environment() -> None:
    """Sets logging up in a plane as the supervisor was told to."""
    level, _, form = os.environ.get(_VARIABLE, "info,json").partition(",")
    configure_logging(level, form == "json")
