"""Rules as Sloth writes them, with its names, labels and expressions, for the dashboards that live on these.

They have Sloth's faults, too: its ratio over the period is an average of five-minute ratios, and not a number
after five minutes without traffic. sloctl's own rules (`sloctl.slo.prometheus`) have neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sloctl import __version__
from sloctl.config.base import format_duration
from sloctl.slo.alarms import alarms_of, lengths_of
from sloctl.slo.objective import Objective, QueryRatio, QueryShare, Tier
from sloctl.slo.prometheus import ALERT
from sloctl.slo.promql import events, filled, quote
from sloctl.slo.windows import Alarm, AlertWindow

Rule = dict[str, Any]


def rule_groups(objectives: Sequence[Objective], windows: Sequence[AlertWindow]) -> dict[str, Any]:
    """A rule file as plain data. Raises ValueError for an SLO that Sloth has no words for."""
    groups = []
    for objective in objectives:
        if objective.slices or objective.calendar or objective.alarms is not None:
            what = "time slices" if objective.slices else "calendar periods" if objective.calendar else "alert policies"
            raise ValueError(f"SLO {objective.name!r} has {what}, which Sloth's rules cannot express")
        # The dashboards read all windows, also those of alerts that are disabled.
        lengths = lengths_of(objective, alarms_of(replace(objective, tiers={}), windows))
        kinds = {
            "sli-recordings": _ratios(objective, lengths),
            "meta-recordings": _meta(objective, lengths),
            "alerts": _alerts(objective, alarms_of(objective, windows)),
        }
        identity = _ids(objective)["sloth_id"]
        groups += [{"name": f"sloth-slo-{kind}-{identity}", "rules": rules} for kind, rules in kinds.items() if rules]
    return {"groups": groups}


def _ids(objective: Objective) -> dict[str, str]:
    prefix = f"{objective.service}-"
    slo = objective.name.removeprefix(prefix)
    return {"sloth_id": prefix + slo, "sloth_service": objective.service, "sloth_slo": slo}


def _filter(objective: Objective) -> str:
    return "{" + ", ".join(f"{name}={quote(value)}" for name, value in _ids(objective).items()) + "}"


def _metric(window: float) -> str:
    return f"slo:sli_error:ratio_rate{_go_duration(window)}"


def _go_duration(seconds: float) -> str:
    # As Prometheus' own library writes it, which keeps weeks: not of 30d, but of 28d.
    weeks, rest = divmod(seconds, 604800)
    return f"{int(weeks)}w" if weeks and not rest else format_duration(seconds)


def _ratios(objective: Objective, lengths: Sequence[float]) -> list[Rule]:
    *windows, period = lengths
    rules = [_ratio(objective, window, _error(objective, window)) for window in windows]
    short = f"{_metric(lengths[0])}{_filter(objective)}[{_go_duration(period)}]"
    average = f"sum_over_time({short})\n/ ignoring (sloth_window)\ncount_over_time({short})\n"
    return [*rules, _ratio(objective, period, average)]


def _error(objective: Objective, window: float) -> str:
    indicator, length = objective.indicator, _go_duration(window)
    if isinstance(indicator, QueryShare) and indicator.failure:
        return f"({filled(indicator.query, length)})"
    if isinstance(indicator, QueryRatio) and indicator.bad is not None:
        return f"({filled(indicator.bad, length)})\n/\n({filled(indicator.total, length)})\n"
    good, total = events(indicator, window)
    return f"({total} - ({good}))\n/\n({total})\n"


def _ratio(objective: Objective, window: float, expression: str) -> Rule:
    labels = _ids(objective) | {"sloth_window": _go_duration(window)} | dict(objective.labels)
    return {"record": _metric(window), "expr": expression, "labels": _sorted(labels)}


def _meta(objective: Objective, lengths: Sequence[float]) -> list[Rule]:
    series, percent = _filter(objective), float(Decimal(str(objective.target)) * 100)
    labels = _ids(objective) | dict(objective.labels)
    info = {"sloth_version": f"sloctl-{__version__}", "sloth_mode": "cli-gen-prom", "sloth_spec": objective.origin}
    burn = f"{series}\n/ on(sloth_id, sloth_slo, sloth_service) group_left\nslo:error_budget:ratio{series}\n"
    recorded = {
        "slo:objective:ratio": f"vector({percent / 100!r})",
        "slo:error_budget:ratio": f"vector(1-{percent / 100!r})",
        "slo:time_period:days": f"vector({objective.period_seconds / 86400:.12g})",
        "slo:current_burn_rate:ratio": _metric(lengths[0]) + burn,
        "slo:period_burn_rate:ratio": _metric(lengths[-1]) + burn,
        "slo:period_error_budget_remaining:ratio": f"1 - slo:period_burn_rate:ratio{series}",
        "sloth_slo_info": "vector(1)",
    }
    more = {"sloth_slo_info": info | {"sloth_objective": f"{percent:.12g}"}}
    return [
        {"record": name, "expr": expression, "labels": _sorted(labels | more.get(name, {}))}
        for name, expression in recorded.items()
    ]


def _alerts(objective: Objective, alarms: Sequence[Alarm]) -> list[Rule]:
    return [
        _alert(
            objective,
            severity,
            objective.tiers.get(severity) or Tier(ALERT),
            [a for a in alarms if a.severity == severity],
        )
        for severity in dict.fromkeys(alarm.severity for alarm in alarms)
    ]


def _alert(objective: Objective, severity: str, tier: Tier, alarms: Sequence[Alarm]) -> Rule:
    budget = (100 - float(Decimal(str(objective.target)) * 100)) / 100
    series = _filter(objective)

    def over(window: float, factor: float) -> str:
        return f"    max({_metric(window)}{series} > ({factor:.12g} * {budget!r})) without (sloth_window)\n"

    pairs = [f"(\n{over(a.short, a.factor)}    and\n{over(a.long, a.factor)})\n" for a in alarms]
    name = "{{$labels.sloth_service}} {{$labels.sloth_slo}} SLO error budget burn rate is"
    texts = {"title": f"({severity}) {name} too fast.", "summary": f"{name} over expected."}
    return {
        "alert": tier.name,
        "expr": "or\n".join(pairs),
        "labels": _sorted({"sloth_severity": severity} | dict(tier.labels)),
        "annotations": _sorted(texts | dict(tier.annotations)),
    }


def _sorted(labels: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(labels.items()))
