"""`sloctl backtest`: what the alerts of SLOs would have done over what was recorded."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sloctl.cli.client import fail

if TYPE_CHECKING:
    from sloctl.cases.backtest import Incident, Record, Result
    from sloctl.slo.objective import Objective

_LONG = 86400.0
_STEP, _FINE = 15.0, 1.0


def backtest(
    files: Annotated[list[Path], typer.Argument(help="Files of SLOs.")],
    trace: Annotated[Path | None, typer.Option(help="A trace that the daemon recorded (telemetry.trace).")] = None,
    prometheus: Annotated[str | None, typer.Option(help="Address of a Prometheus to ask instead.")] = None,
    start: Annotated[datetime | None, typer.Option("--from", help="In UTC, for a Prometheus.")] = None,
    end: Annotated[datetime | None, typer.Option("--to", help="In UTC, for a Prometheus.")] = None,
    step: Annotated[str | None, typer.Option(help="Between looks; 1s, beyond a day 15s, of a Prometheus 1m.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="A bearer token for the Prometheus.")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates to trust.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain HTTP to another machine.")] = False,
    windows: Annotated[Path | None, typer.Option(help="Alerting windows in place of the SRE workbook's.")] = None,
    incidents: Annotated[Path | None, typer.Option(help="What really happened (kind: Incidents).")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the picture there.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show which alerts would have fired, when, what budget they would have saved, and which incidents they tell of.

    Burn rates and budgets are those of what is recorded: before its beginning nothing is known to have happened. Exit
    status: 0 done, 1 wrong input, 3 the Prometheus does not answer.
    """
    from sloctl.cases.backtest import backtest as run
    from sloctl.cases.backtest_svg import chart
    from sloctl.config.base import parse_duration
    from sloctl.config.documents import load_bundle
    from sloctl.config.problems import ConfigError, require
    from sloctl.policy.trace import TraceError

    if (trace is None) == (prometheus is None):
        fail("name either --trace or --prometheus")
    try:
        bundle = load_bundle([*files, *([windows] if windows else [])])
        require(bundle.problems)
        happened = _incidents(incidents, bundle.objectives) if incidents else []
        seconds = parse_duration(step) if step else None
        if trace is not None:
            record = _traced(trace, bundle.objectives)
        else:
            asked = (prometheus or "", start, end, seconds, token_file, ca_file, insecure)
            record = _asked(bundle.objectives, *asked)
    except (ConfigError, TraceError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    if len(record.times) < 2:
        fail("nothing is recorded for this time")
    spans = float(record.times[-1] - record.times[0])
    result = run(record, bundle.windows, seconds or (_STEP if spans > _LONG else _FINE))
    if svg is not None:
        try:
            svg.write_text(chart(result, happened, str(trace or prometheus)), encoding="utf-8")
        except OSError as error:
            fail(f"cannot write {svg}: {error.strerror}")
    if as_json:
        typer.echo(json.dumps(_described(result, happened), indent=2))
    else:
        _show(record, result, happened)


def _incidents(path: Path, objectives: "tuple[Objective, ...]") -> "list[Incident]":
    from sloctl.cases.incidents import Incidents
    from sloctl.config.documents import Files
    from sloctl.config.messages import validated
    from sloctl.config.problems import require

    files = Files.read([path])
    problems, found = list(files.problems), []
    for document in files.documents:
        model, wrong = validated(document, Incidents)
        problems += wrong
        found += model.all() if model else []
    require(problems)
    known = {each.name for each in objectives}
    for incident in found:
        if incident.slo is not None and incident.slo not in known:
            raise ValueError(f"{path}: {incident.name}: there is no SLO {incident.slo!r}; there is {', '.join(known)}")
    return found


def _traced(path: Path, objectives: "tuple[Objective, ...]") -> "Record":
    from sloctl.cases.records import from_trace
    from sloctl.cli.traces import lines_of

    with lines_of(path) as lines:
        record = from_trace(lines, objectives)
    left_out = {each.name for each in objectives} - {each.name for each in record.objectives}
    if left_out:
        typer.echo(f"not in this trace: {', '.join(sorted(left_out))}", err=True)
    return record


def _asked(
    objectives: "tuple[Objective, ...]",
    url: str,
    start: datetime | None,
    end: datetime | None,
    step: float | None,
    token_file: Path | None,
    ca_file: Path | None,
    insecure: bool,
) -> "Record":
    from pydantic import ValidationError

    from sloctl.cases.records import from_prometheus
    from sloctl.config.daemon import PrometheusConfig
    from sloctl.control.prometheus_api import PrometheusApi, SourceError

    if start is None or end is None or start >= end:
        raise ValueError("a Prometheus wants --from and --to, such as --from 2026-11-01 --to 2026-11-08")
    if step is not None and (step < 1 or step != int(step)):
        raise ValueError("--step of a Prometheus is in whole seconds")
    names = {"tokenFile": token_file, "caFile": ca_file}
    paths = {name: str(path.resolve()) for name, path in names.items() if path is not None}
    try:
        config = PrometheusConfig.model_validate({"url": url, "timeout": "30s", "insecure": insecure, **paths})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ").replace("insecure: true", "--insecure")
        raise ValueError(f"{url}: {said}") from None
    first, last = (int(_utc(moment)) for moment in (start, end))
    try:
        return from_prometheus(PrometheusApi(config, Path()).query_range, objectives, first, last, int(step or 60))
    except SourceError as error:
        _unanswered(url, error)


def _unanswered(url: str, error: Exception) -> NoReturn:
    typer.echo(f"error: {url}: {error}", err=True)
    raise typer.Exit(3)


def _utc(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()


def _show(record: "Record", result: "Result", incidents: "list[Incident]") -> None:
    from rich.console import Console
    from rich.table import Table

    from sloctl.config.base import format_duration

    console = Console(soft_wrap=True)
    spans = format_duration(round(float(record.times[-1] - record.times[0])))
    console.print(f"{len(record.objectives)} SLOs over {spans}: {len(result.episodes)} alerts", highlight=False)
    table = Table()
    for name in ("alert", "began (UTC)", "lasted", "burn rate", "budget left", "spent"):
        table.add_column(name)
    for each in result.episodes:
        lasted = format_duration(round(each.ended - each.began)) if each.ended is not None else "still fires"
        spent = (f"{each.burn:.1f}", f"{each.left:.1%}", f"{each.cost:.1%}")
        began = datetime.fromtimestamp(each.began, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(f"{each.slo} {each.tier}", began, lasted, *spent)
    if result.episodes:
        console.print(table)
    if incidents:
        _show_incidents(console, result, incidents)


def _show_incidents(console: Any, result: "Result", incidents: "list[Incident]") -> None:
    from sloctl.config.base import format_duration

    detections, false = result.detections(incidents), result.false(incidents)
    for each in detections:
        delay = each.delay
        said = (
            "missed"
            if each.episode is None or delay is None
            else (f"told after {format_duration(round(delay))} by {each.episode.slo} {each.episode.tier}")
        )
        console.print(f"{each.incident.name}: {said}", highlight=False, markup=False)
    told = sum(each.episode is not None for each in detections)
    right = len(result.episodes) - len(false)
    console.print(
        f"{told} of {len(incidents)} incidents told (recall {told / len(incidents):.0%}); {len(false)} false alerts"
        + (f" (precision {right / len(result.episodes):.0%})" if result.episodes else ""),
        highlight=False,
    )


def _described(result: "Result", incidents: "list[Incident]") -> dict[str, Any]:
    from sloctl.telemetry.timestamps import rfc3339

    false = result.false(incidents)
    alerts = [
        {
            "slo": each.slo,
            "tier": each.tier,
            "began": rfc3339(each.began),
            "ended": rfc3339(each.ended) if each.ended is not None else None,
            "burnRate": each.burn,
            "budgetLeft": each.left,
            "spentMeanwhile": each.cost,
            **({"false": each in false} if incidents else {}),
        }
        for each in result.episodes
    ]
    told = [
        {"name": each.incident.name, "told": each.episode is not None, "delaySeconds": each.delay}
        for each in result.detections(incidents)
    ]
    return {"alerts": alerts, "incidents": told}
