"""The demo while it plays: a live screen on a terminal, plain lines elsewhere. Renders views, asks nobody."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sloctl.cli.demo_run import Decided, Sample, Status, View, model_of
from sloctl.load.results import Fate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_BARS = "▁▂▃▄▅▆▇█"
_REFRESH = 4  # a second
_LINE_EVERY = 1.0  # seconds
_SHOWN = 5  # decisions


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars from 0 to the largest."""
    values = values[-width:]
    most = max(values, default=0.0)
    if most <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[round(max(value, 0.0) / most * (len(_BARS) - 1))] for value in values)


def milliseconds(seconds: float | None) -> str:
    """A latency for people."""
    return "-" if seconds is None or seconds != seconds else f"{seconds * 1e3:.0f} ms"


def shares(admit: dict[str, float]) -> str:
    """Admitted shares by class."""
    return "  ".join(f"{name} {share:.0%}" for name, share in admit.items())


def decision_text(decision: Decided) -> str:
    """A decision in a line."""
    change = f"{decision.before} → {decision.after}"
    return f"{decision.at:6.2f} s  {decision.action}: {change}  ({decision.rule}: {decision.reason})"


# --- plain lines


def line(view: View) -> str:
    """A view in one line."""
    phase = view.run.schedule.phase_at(view.at).name
    head = f"{view.at:5.1f} s  {phase:<10}"
    if view.status is None:
        return f"{head}  the control plane does not answer"
    model, slo = model_of(view.status), _slo(view)
    burn = " ".join(f"{window} {rate:.1f}" for window, rate in _burn(slo))
    return (
        f"{head}  {model['variant']:<5} offered {model['offeredRate']:4.0f}/s served {model['servedRate']:4.0f}/s"
        f"  p99 {milliseconds(model['latency']['p99']):>7}  burn {burn}  admit {shares(model['admit'])}"
        f"  breaker {model['breaker']}{'' if view.status['ready'] else '  NOT READY'}"
    )


@contextmanager
def plain(write: Callable[[str], None]) -> Iterator[Callable[[View], None]]:
    """Writes a line a second, and each decision as it comes."""
    told: set[Decided] = set()
    last = -_LINE_EVERY

    def show(view: View) -> None:
        nonlocal last
        for decision in view.decisions:
            if decision not in told:
                told.add(decision)
                write(f"         ▸ {decision_text(decision).strip()}")
        if view.at - last >= _LINE_EVERY:
            last = view.at
            write(line(view))

    yield show


# --- a live screen


@contextmanager
def live(console: "Console") -> Iterator[Callable[[View], None]]:
    """Shows the last view on the terminal, four times a second."""
    from rich.live import Live
    from rich.text import Text

    shown: list[View] = []

    def latest() -> "RenderableType":
        return screen(shown[-1]) if shown else Text("the daemon starts, and warms its engines …")

    def show(view: View) -> None:
        shown[:] = [view]

    with Live(get_renderable=latest, console=console, refresh_per_second=_REFRESH, transient=True):
        yield show


def screen(view: View) -> "RenderableType":
    """The whole screen of a view."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    which = "controller on" if view.run.controller else "controller off"
    title = f"sloctl demo, {which}"
    if view.status is None:
        return Panel(Text("the control plane does not answer", style="red"), title=title)
    return Group(
        Panel(_now(view, view.status), title=title, title_align="left"),
        Panel(_history(view.recent), title="the last minute", title_align="left"),
        Panel(decisions_table(view.decisions[-_SHOWN:]), title="decisions", title_align="left"),
    )


def _now(view: View, status: Status) -> "RenderableType":
    from rich.table import Table

    model, slo = model_of(status), _slo(view)
    schedule = view.run.schedule
    grid = Table.grid(padding=(0, 3))
    ready = "[green]ready[/]" if status["ready"] else "[red]not ready[/]"
    grid.add_row("phase", f"[bold]{schedule.phase_at(view.at).name}[/]   {view.at:.0f} of {schedule.seconds:.0f} s")
    grid.add_row("health", f"{ready}   breaker {_mark(model['breaker'], 'closed')}")
    grid.add_row("precision", f"{_mark(model['variant'], view.run.scenario.variants[0])}   {_ladder(view)}")
    grid.add_row("admitted", shares(model["admit"]))
    grid.add_row(
        "load",
        f"offered {model['offeredRate']:.0f}/s   served {model['servedRate']:.0f}/s   queue {model['queue']:.0f}",
    )
    latency = model["latency"]
    grid.add_row("latency", f"p50 {milliseconds(latency['p50'])}   p99 {milliseconds(latency['p99'])}")
    if slo:
        burn = "   ".join(f"{window} {rate:.1f}" for window, rate in _burn(slo))
        firing = ", ".join(alert["severity"] for alert in slo["alerts"] if alert["firing"])
        alarm = f"   [red]{firing}[/]" if firing else ""
        grid.add_row(slo["name"], f"burn rate {burn}   budget left {slo['budgetRemaining']:.1%}{alarm}")
    fates = "   ".join(f"{fate.value} {view.fates[fate]}" for fate in Fate)
    grid.add_row("this phase", fates)
    return grid


def _history(recent: Sequence[Sample]) -> "RenderableType":
    from rich.table import Table

    grid = Table.grid(padding=(0, 3))
    # A mean over each second, so that a minute fits.
    series: dict[str, list[float]] = {
        "offered/s": _thinned(sample.offered for sample in recent),
        "served/s": _thinned(sample.served for sample in recent),
        "p99 ms": _thinned((sample.p99 or 0.0) * 1e3 for sample in recent),
    }
    for name, values in series.items():
        grid.add_row(name, sparkline(values, 60), f"max {max(values[-60:], default=0):.0f}")
    return grid


def _thinned(values: Iterable[float], by: int = 4) -> list[float]:
    found = list(values)
    chunks = [found[start : start + by] for start in range(0, len(found), by)]
    return [sum(chunk) / len(chunk) for chunk in chunks]


def decisions_table(decisions: Sequence[Decided]) -> "RenderableType":
    """Decisions with their reasons, one under the other."""
    from rich.table import Table
    from rich.text import Text

    if not decisions:
        return Text("none", style="dim")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True)
    for decision in decisions:
        what = Text.assemble((f"{decision.action}  ", "bold"), f"{decision.before} → {decision.after}")
        why = Text(f"{decision.rule}: {decision.reason}", style="dim")
        grid.add_row(f"{decision.at:.2f} s", Text("\n").join([what, why]))
    return grid


def _slo(view: View) -> Status | None:
    return (
        next((slo for slo in view.status["slos"] if slo["name"] == view.run.scenario.slo), None)
        if view.status
        else None
    )


def _burn(slo: Status | None) -> list[tuple[str, float]]:
    return list(slo["burnRates"].items()) if slo else []


def _ladder(view: View) -> str:
    run = view.run
    parts = [f"{name} carries {run.capacities[name]:.0f}/s" for name in run.scenario.variants]
    return f"[dim]{', '.join(parts)}[/]"


def _mark(value: str, usual: str) -> str:
    return f"[green]{value}[/]" if value == usual else f"[yellow]{value}[/]"
