"""`sloctl simulate`: a policy over a load, hours in seconds."""

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sloctl.cli.client import fail
from sloctl.simulate.load import DOCS, Shape

if TYPE_CHECKING:
    from sloctl.config.project import Project
    from sloctl.simulate.load import Course
    from sloctl.simulate.plant import Variant
    from sloctl.simulate.run import Result, Setup

_MOST_ROWS = 1_000_000  # of a trace: eleven days
_MOST_TICKS = 2_000_000
_LONG = 6 * 3600.0
_SHOWN = 20  # decisions in the table


def simulate(
    trace: Annotated[
        Path | None, typer.Argument(help="A trace that the daemon recorded (telemetry.trace), or its Parquet.")
    ] = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="The daemon's configuration file.")] = Path(
        "sloctl.yaml"
    ),
    synthetic: Annotated[
        Shape | None,
        typer.Option(help="Instead of a trace: " + "; ".join(f"{shape}: {text}" for shape, text in DOCS.items()) + "."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of a synthetic load.")] = 0,
    model: Annotated[str | None, typer.Option(help="The model; by default the first with a policy.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CAPACITY[:ACCURACY] of a variant without a manifest, in rows/s, 0 to 1."),
    ] = None,
    duration: Annotated[str | None, typer.Option(help="Of a synthetic load, such as 2h.")] = None,
    tick: Annotated[
        str | None, typer.Option(help="Of the simulation; by default the daemon's, and 1s beyond six hours.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the picture there.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Run the daemon's own policy and SLO code over a recorded or synthetic load, against a model of the variants.

    Variants are as their manifests measured them (or --variant). The same seed gives the same result. The queueing
    model and what it leaves out are described in docs/simulation.md. Exit status: 0 done, 1 wrong input.
    """
    from sloctl.config.problems import ConfigError
    from sloctl.config.project import load_project
    from sloctl.policy.trace import TraceError
    from sloctl.simulate.run import simulate as run

    if (trace is None) == (synthetic is None):
        fail("name either a trace or --synthetic with a shape")
    try:
        project = load_project(config)
        setup = setup_of(project, model, _given(variant or []))
        step = _Step(tick, project.daemon.control.tick)
        course = _recorded(trace, setup, step) if trace else _synthetic(synthetic, setup, duration, step, seed)
    except (ConfigError, TraceError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    begun = time.perf_counter()
    result = run(setup, course)
    took = time.perf_counter() - begun
    name = str(trace) if trace else f"{synthetic}, seed {seed}"
    if svg is not None:
        _write(svg, result, f"{setup.model}: {name}")
    if as_json:
        typer.echo(json.dumps(_described(setup, result, name), indent=2))
    else:
        _show(setup, result, name, took)


def setup_of(project: "Project", model: str | None, given: "dict[str, Variant]") -> "Setup":
    """Everything of a project that a simulation of one model needs. Raises ValueError."""
    from sloctl.cli.measured import manifests
    from sloctl.simulate.plant import Limits, Variant
    from sloctl.simulate.run import Setup

    policies = {policy.spec.model: policy for policy in project.bundle.policies}
    chosen = model or next(iter(policies), None)
    if chosen is None or chosen not in policies:
        there = f"; there is one for {', '.join(policies)}" if policies else ""
        raise ValueError(f"no policy for {chosen or 'any model'} among the daemon's policies{there}")
    config = next(each for each in project.runtime.daemon.models if each.name == chosen)
    found = manifests(project.daemon, project.path.parent).get(chosen, {})
    variants = []
    for name in config.names:
        manifest = found.get(name)
        if name in given:
            variants.append(given[name])
        elif manifest is not None and manifest.latency_seconds:
            table = {rows: s for rows, s in manifest.latency_seconds.items() if rows <= config.max_batch}
            accuracy = manifest.accuracy.value if manifest.accuracy else math.nan
            variants.append(Variant(name, accuracy, table or dict(manifest.latency_seconds)))
        else:
            raise ValueError(
                f"{chosen}/{name} was not measured: import it into {project.runtime.repository}, "
                f"or say --variant {name}=CAPACITY:ACCURACY"
            )
    if any(rule.action.tiers for rule in policies[chosen].spec.rules):
        raise ValueError(f"the policy of {chosen} has tiers, and a simulation serves all classes with one variant")
    return Setup(
        policy=policies[chosen],
        objectives=project.bundle.objectives,
        windows=project.bundle.windows,
        variants=tuple(variants),
        classes=tuple(project.daemon.priorities),
        limits=Limits(config.deadline, config.max_queue, config.admission.seconds),
        max_batch=config.max_batch,
        reopens=config.breaker.wait_duration_in_open_state,
    )


def _given(texts: list[str]) -> "dict[str, Variant]":
    from sloctl.simulate.plant import Variant

    found = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        capacity, _, accuracy = numbers.partition(":")
        try:
            rate, value = float(capacity), float(accuracy) if accuracy else math.nan
        except ValueError:
            rate = value = math.nan
        if not (name and 0 < rate < math.inf) or (accuracy and not 0 <= value <= 1):
            raise ValueError(f"--variant {text}: expected NAME=CAPACITY[:ACCURACY], such as int8=1200:0.97")
        found[name] = Variant(name, value, {1: 1 / rate})
    return found


def _seconds(text: str, option: str) -> float:
    from sloctl.config.base import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{option} {text}: {error}") from None
    if not 0.01 <= seconds <= 366 * 86400:
        raise ValueError(f"{option} {text}: between 10ms and 366d")
    return seconds


class _Step:
    """The length of a tick: as given, or the daemon's own, or a second where that would take minutes."""

    def __init__(self, given: str | None, daemon: float) -> None:
        self._given, self._daemon = given, daemon

    def of(self, length: float) -> float:
        """Seconds of a tick for a load of `length` seconds. Raises ValueError for more ticks than are sensible."""
        if self._given is not None:
            dt = _seconds(self._given, "--tick")
        else:
            dt = self._daemon if length <= _LONG else max(1.0, self._daemon)
        if length / dt > _MOST_TICKS:
            raise ValueError(f"{length / dt:.0f} ticks, more than {_MOST_TICKS}: a longer --tick, or less of the load")
        return dt


def _synthetic(shape: Shape | None, setup: "Setup", duration: str | None, step: _Step, seed: int) -> "Course":
    from sloctl.simulate.load import Scale, length_of, synthetic

    spec = setup.policy.spec
    margin = spec.planner.margin if spec.planner else 0.15
    scale = Scale.of([each.capacity for each in setup.variants], margin, spec.cooldown)
    chosen = shape or Shape.STEP
    length = _seconds(duration, "--duration") if duration else length_of(chosen)
    return synthetic(chosen, scale, len(setup.classes), length, step.of(length), seed)


def _recorded(path: Path, setup: "Setup", step: _Step) -> "Course":
    from sloctl.cli.traces import lines_of
    from sloctl.policy.trace import TraceError, read
    from sloctl.simulate.load import recorded

    with lines_of(path) as lines:
        times, rows = read(lines, _MOST_ROWS)
    if not rows:
        raise TraceError(f"{path}: no rows")
    if not any(("request_rows", ()) in row for row in rows):
        typer.echo(f"{path} does not tell the rows of requests (request_rows): each counts as one row", err=True)
    return recorded(times, rows, setup.classes, step.of(times[-1] - times[0]))


def _write(path: Path, result: "Result", title: str) -> None:
    from sloctl.simulate.svg import chart

    try:
        path.write_text(chart(result, title), encoding="utf-8")
    except OSError as error:
        fail(f"{path}: {error.strerror}")


def _described(setup: "Setup", result: "Result", name: str) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if value != value else value

    return {
        "model": setup.model,
        "load": name,
        "seconds": result.seconds,
        "offered": result.offered,
        "inTime": result.in_time,
        "objectiveSeconds": result.objective,
        "outcomes": {outcome: count for outcome, count in result.outcomes.items() if count},
        "effectiveAccuracy": number(result.effective_accuracy),
        "offeredAccuracy": number(result.offered_accuracy),
        "switches": result.switches,
        "budgetUsed": result.budgets,
        "variants": {
            variant: {"seconds": share.seconds, "answered": share.answered, "inTime": share.in_time}
            for variant, share in result.shares.items()
        },
        "decisions": [
            {
                "at": each.at,
                "rule": each.rule,
                "action": each.action,
                "before": each.before,
                "after": each.after,
                "reason": each.reason,
            }
            for each in result.decisions
        ],
    }


def _show(setup: "Setup", result: "Result", name: str, took: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from sloctl.config.base import format_duration

    console = Console(highlight=False)
    length = format_duration(round(result.seconds))
    table = Table(title=f"{setup.model}: {name}, {length}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    offered = result.offered or 1.0
    table.add_row("requests offered", f"{result.offered:.0f}")
    table.add_row(f"answered within {result.objective:g} s", f"{result.in_time:.0f} ({result.in_time / offered:.2%})")
    for outcome, count in result.outcomes.items():
        if count >= 0.5 and outcome != "ok":
            table.add_row(f"  {outcome}", f"{count:.0f} ({count / offered:.2%})")
    accuracy = result.effective_accuracy
    table.add_row("effective accuracy", f"{accuracy:.4f}" if accuracy == accuracy else "not measured")
    whole = result.offered_accuracy
    table.add_row("effective accuracy over all offered", f"{whole:.4f}" if whole == whole else "not measured")
    table.add_row("switches of precision", str(result.switches))
    for variant, share in result.shares.items():
        table.add_row(f"time in {variant}", f"{share.seconds / result.seconds:.1%}")
    for slo, used in result.budgets.items():
        table.add_row(f"budget used of {slo}", f"{used:.1%}")
    console.print(table)
    for each in result.decisions[:_SHOWN]:
        text = f"{each.at:>9.1f} s  {each.action}: {each.before} → {each.after}  [{each.rule}] {each.reason}"
        console.print(text, markup=False, emoji=False, soft_wrap=True)
    if len(result.decisions) > _SHOWN:
        console.print(f"and {len(result.decisions) - _SHOWN} more decisions; --json has them all")
    console.print(f"took {took:.2f} s, {took / result.seconds * 3600:.2f} s an hour")
