"""Whether the controller did its work: named checks over what two runs measured. Pure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sloctl.cli import demo_plan as p
from sloctl.cli.demo_run import Decided, Run
from sloctl.load.results import Summary, by_phase, first_bad_second, lag

SWITCH_WITHIN = 2.0  # seconds from the first bad second
HIGH_SHARE = 0.95  # of the highest class served within the objective in the surge
GAIN = 1.2  # goodput with the controller over without
LAG = 0.2  # of the objective: a driver later than that measures itself


@dataclass(frozen=True, slots=True)
class Check:
    """One check, with what was measured."""

    name: str
    passed: bool
    measured: str


def verdict(on: Run, off: Run) -> list[Check]:
    """All checks of a run with the controller against one without."""
    alone = (_switch, _in_time, _shed, _high, _opened, _closed, _lifted, _back, _answered)
    return [*(check(on) for check in alone), *_gains(on, off), *(_driver(run) for run in (on, off))]


def first_down(run: Run) -> Decided | None:
    """The first step down in precision from the rise on."""
    start, _ = run.schedule.span(p.RISE)
    return next((d for d in run.decisions if d.action == "precision:down" and d.at >= start), None)


def bad_second(run: Run) -> float | None:
    """When the first bad second began, from the rise on."""
    start, _ = run.schedule.span(p.RISE)
    return first_bad_second(run.records, start, run.scenario.objective, run.scenario.target)


def _switch(run: Run) -> Check:
    down, (_, end) = first_down(run), run.schedule.span(p.SURGE)
    said = f"{down.before} → {down.after} at {down.at:.1f} s" if down else "no switch"
    return Check("switched to the faster precision under load", down is not None and down.at <= end, said)


def _in_time(run: Run) -> Check:
    name = f"switched within {SWITCH_WITHIN:g} s of the first bad second"
    down, bad = first_down(run), bad_second(run)
    if down is None:
        return Check(name, False, "no switch")
    if bad is None or down.at <= bad:
        return Check(name, True, "before any" if bad is None else f"{bad - down.at:.1f} s before it")
    return Check(name, down.at - bad <= SWITCH_WITHIN, f"{down.at - bad:.2f} s after it began")


def _shed(run: Run) -> Check:
    start, end = run.schedule.span(p.SURGE)
    began = next((d.at for d in run.decisions if d.action == "shed:start" and start <= d.at <= end), None)
    refused = _summary(run, p.SURGE).refused
    said = f"{refused} requests refused" + (
        f", from {began:.1f} s on" if began is not None else ", no decision to shed"
    )
    return Check("shed load in the surge", began is not None and refused > 0, said)


def _high(run: Run) -> Check:
    highest = run.scenario.priorities[0]
    share = _summary(run, p.SURGE).good_share.get(highest, math.nan)
    return Check(f"kept {highest} priority whole in the surge", share >= HIGH_SHARE, f"{share:.1%} good")


def _opened(run: Run) -> Check:
    start, end = run.schedule.span(p.FAULTS)
    opened = [s.at for s in run.samples if s.breaker == "open" and start <= s.at <= end]
    said = f"{opened[0] - start - p.FAULTS_AFTER:.1f} s after the first fault" if opened else "it stayed closed"
    return Check("breaker opened during the engine faults", bool(opened), said)


def _closed(run: Run) -> Check:
    cleared = run.schedule.span(p.FAULTS)[0] + p.FAULTS_AFTER + p.FAULTS_FOR
    last_open = max((s.at for s in run.samples if s.breaker != "closed"), default=None)
    closed = bool(run.samples) and run.samples[-1].breaker == "closed" and last_open is not None
    said = f"{max(last_open - cleared, 0):.1f} s after the last fault" if closed and last_open else "it did not"
    return Check("breaker closed again by itself", closed, said)


def _lifted(run: Run) -> Check:
    admit = run.samples[-1].admit if run.samples else {}
    said = " ".join(f"{name} {share:.0%}" for name, share in admit.items()) or "nothing seen"
    return Check("admitted everybody again in the end", bool(admit) and min(admit.values()) >= 0.999, said)


def _back(run: Run) -> Check:
    # Once is enough: a noisy neighbour in the last seconds may well ask for another step down.
    first, (start, _) = run.scenario.variants[0], run.schedule.span(p.FAULTS)
    up = next((d.at for d in run.decisions if d.action == "precision:up" and d.at >= start), None)
    seen = up is not None and any(s.variant == first and s.at >= up for s in run.samples)
    return Check(f"returned to {first} in the calm", seen, f"at {up:.1f} s" if up is not None else "no step up")


def _answered(run: Run) -> Check:
    lost = len(run.schedule.arrivals) - len(run.records) + sum(record.status == 0 for record in run.records)
    return Check("no request was left without an answer", lost == 0, f"{lost} of {len(run.schedule.arrivals)}")


def _gains(on: Run, off: Run) -> Iterator[Check]:
    for phase in (p.RISE, p.SURGE):
        with_it, without = _summary(on, phase).goodput, _summary(off, phase).goodput
        said = f"{with_it:.0f}/s against {without:.0f}/s"
        yield Check(f"goodput in the {phase} at least {GAIN:g} times that without", with_it > GAIN * without, said)


def _driver(run: Run) -> Check:
    late, most = lag(run.records), LAG * run.scenario.objective
    which = "with" if run.controller else "without"
    name = f"the driver kept to its schedule {which} the controller"
    return Check(name, late <= most, f"p99 {late * 1e3:.1f} ms late, at most {most * 1e3:.0f} ms")


def _summary(run: Run, phase: str) -> Summary:
    return by_phase(run.records, run.schedule, run.scenario.objective)[phase]
