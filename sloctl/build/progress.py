"""What a build tells people while it runs: a bar on a terminal, lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import typer

from sloctl.build.builder import Event


class Report(Protocol):
    """Where words and progress go."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def watch(self, event: Event) -> None:
        """An event of the TensorRT builder."""


class Lines:
    """A line for each phase of the builder that has none above it, and for each of its warnings."""

    def say(self, text: str) -> None:
        """Prints it."""
        typer.echo(text)

    def watch(self, event: Event) -> None:
        """Prints what matters of it."""
        if event["event"] == "log" and event["severity"] == "warning":
            typer.echo(f"  TensorRT: {event['message']}")
        elif event["event"] == "progress" and not event["parent"]:
            typer.echo(f"  {event['phase']}: {event['step']} of {event['steps']}")


class Bars:
    """A bar for each phase that is under way, below the lines that stay."""

    def __init__(self) -> None:
        from rich.progress import Progress

        self.progress = Progress(transient=True)
        self._tasks: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Prints it above the bars."""
        self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def watch(self, event: Event) -> None:
        """Moves a bar."""
        if event["event"] != "progress":
            return
        phase, step, steps = event["phase"], event["step"], event["steps"] or 1
        if phase not in self._tasks:
            self._tasks[phase] = self.progress.add_task(phase, total=steps)
        self.progress.update(self._tasks[phase], completed=step)  # type: ignore[arg-type]  # a TaskID is an int
        if step >= steps:
            self.progress.remove_task(self._tasks.pop(phase))  # type: ignore[arg-type]


@contextmanager
def reporting() -> Iterator[Report]:
    """Bars where standard output is a terminal, else lines."""
    if not sys.stdout.isatty():
        yield Lines()
        return
    bars = Bars()
    with bars.progress:
        yield bars
