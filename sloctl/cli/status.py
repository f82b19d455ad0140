"""`sloctl status`: the whole at one glance."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sloctl.cli.client import DEFAULT_URL, Url, call

if TYPE_CHECKING:
    from rich.table import Table


def status(as_json: Annotated[bool, typer.Option("--json")] = False, url: Url = DEFAULT_URL) -> None:
    """Show health, models, SLOs, recent decisions and overrides. Exit status 1 while not ready."""
    answer = call(url, "/api/v1/status")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _show(answer)
    if not answer["ready"]:
        raise typer.Exit(1)


def _show(answer: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(emoji=False)  # "precision:up:" is none
    verdict = "[green]ready[/]" if answer["ready"] else "[red]not ready[/]: " + escape("; ".join(answer["reasons"]))
    if answer["ready"] and answer["troubles"]:
        verdict += "; but [red]" + escape("; ".join(answer["troubles"])) + "[/]"
    planes = ", ".join(
        f"{n} {p['phase']} (pid {p['pid']}, {p['restarts']} restarts)" for n, p in answer["planes"].items()
    )
    console.print(f"sloctl {answer['version']}: {verdict}\nplanes: {planes}")
    console.print(_models(answer["models"]))
    console.print(_slos(answer["slos"]))
    for alert in answer["alerts"]:
        console.print(_alert(alert))
    for alert in answer["receivedAlerts"]:
        labels = " ".join(f"{name}={value}" for name, value in alert["labels"].items() if name != "alertname")
        told = f"received {alert['name']}, firing since {alert['startsAt']}  {labels}"
        console.print(told, markup=False, highlight=False)
    for record in answer["decisions"][:5]:
        told = f"{record['at']}  {record['action']}: {record['before']} → {record['after']}  {record['reason']}"
        console.print(told, markup=False)
    for record in answer["overrides"]:
        held = f"{record['model']} {record['kind']} = {record['value']} until {record['expires']}"
        console.print(f"override {record['id']}: {held}", markup=False)


def _alert(alert: dict[str, Any]) -> str:
    from rich.markup import escape

    labels, colour = alert["labels"], "red" if alert["state"] == "firing" else "yellow"
    head = f"{alert['activeAt']}  [{colour}]{alert['state']}[/] {escape(labels['alertname'])} ({labels['severity']})"
    return f"{head}: {escape(alert['annotations'].get('summary', ''))}"


def _models(models: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(title="models", title_justify="left")
    for name in ("model", "variant", "offered/s", "served/s", "p50", "p99", "admitted", "breaker", "queue"):
        table.add_column(name)
    for model in models:
        latency = (f"{v * 1e3:.1f} ms" if v is not None else "-" for v in model["latency"].values())
        admit = " ".join(f"{name} {share:.0%}" for name, share in model["admit"].items())
        rates = (f"{model[key]:.1f}" for key in ("offeredRate", "servedRate"))
        table.add_row(
            model["name"],
            " ".join([model["variant"], *(f"{name} {tier['variant']}" for name, tier in model["tiers"].items())]),
            *rates,
            *latency,
            admit,
            _breakers(model),
            f"{model['queue']:.0f}",
        )
    return table


def _breakers(model: dict[str, Any]) -> str:
    """The model's, and those of variants that do not let all calls pass by themselves."""
    variants = model["variants"]
    apart = [f"{v['name']} {v['breaker']}" for v in variants if v["breaker"] not in ("closed", model["breaker"])]
    return " ".join([model["breaker"], *apart])


def _slos(slos: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(title="objectives", title_justify="left")
    for name in ("slo", "target", "budget left", "burn rates", "firing"):
        table.add_column(name)
    for slo in slos:
        firing = ", ".join(a["severity"] for a in slo["alerts"] if a["firing"]) or "-"
        table.add_row(slo["name"], f"{slo['target']:.4%}", *_left_and_burn(slo), firing)
    return table


def _left_and_burn(slo: dict[str, Any]) -> tuple[str, str]:
    """What is left and how fast it goes, or why that is not known; and why an SLO is left out at present."""
    from rich.markup import escape

    left = f"{slo['budgetRemaining']:.1%}"
    burn = "  ".join(f"{window} {rate:.1f}" for window, rate in slo["burnRates"].items())
    if slo["noData"] is not None:  # what was last known says nothing of now
        left, burn = "-", f"[yellow]no data[/]: {escape(slo['noData'])}"
    if slo["excluded"] is not None:
        burn += f"\n[yellow]left out[/]: {escape(slo['excluded'])}"
    return left, burn
