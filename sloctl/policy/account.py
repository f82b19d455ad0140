"""An account of one decision: what the arbiter weighed, and what would have prevented it."""

from collections.abc import Iterator, Mapping
from typing import Any

from sloctl.policy.counterfactual import preventing
from sloctl.policy.document import PLANNER
from sloctl.policy.explain import number
from sloctl.policy.facts import NAN
from sloctl.policy.fallback import FALLBACK
from sloctl.policy.overrides import RULE as OVERRIDE
from sloctl.policy.syntax import ExpressionError

Record = Mapping[str, Any]
"""A decision as it was kept: `rule`, `action`, `before`, `after`, `reason`, `facts`, `context`."""


def weighed(record: Record) -> list[str]:
    """What the arbiter had before it, a sentence each; empty for decisions that it does not take."""
    context = record["context"]
    if "dwell" not in context:
        return []
    quiet = context.get("quiet")
    since = "no switch before" if quiet is None else f"{number(quiet)} s after the switch before"
    most = number(context["most"])
    found = [
        f"{since} (dwell {number(context['dwell'])} s, before a step up {number(context['cooldown'])} s)",
        f"{number(context['switches'])} of at most {most} switches in the last hour",
    ]
    return found + [f"proposed as well: {context['others']}"] * bool(context.get("others"))


def preventions(record: Record) -> list[str]:
    """What would have prevented a decision, a sentence each: first thresholds, then bounds."""
    if record["rule"] == OVERRIDE:
        return ["no rule: it was set by hand, or what was set has expired (`sloctl override` shows and clears)"]
    if record["action"] == "refused":
        return [*_let_pass(record["context"])]
    if record["rule"] == FALLBACK:
        return ["healthFallback: false; no number decides over a variant that fails its health checks"]
    found = [*(_planner(record) if record["rule"] == PLANNER else _rule(record))]
    if found and (others := record["context"].get("others")):
        found.append(f"by these alone there would have come in its place: {others}")
    found += _bounds(record)
    return found or ["no number of the rule decides; the rule itself would have to be another"]


def _rule(record: Record) -> Iterator[str]:
    context = record["context"]
    if "expression" not in context:
        return
    field = "until" if context["expression"] == context.get("until") else "when"
    try:
        facts = {name: NAN if value is None else value for name, value in record["facts"].items()}
        alone, together = preventing(context["expression"], facts)
    except ExpressionError:
        return
    for change in alone:
        yield f"in `{field}` of {record['rule']}: {change}"
    if together:
        parts = "; and ".join(str(change) for change in together)
        yield f"in `{field}` of {record['rule']}, only together: {parts}"
    held = context.get("held")
    if field == "when" and held is not None:
        yield f"`for` of {record['rule']} longer than {number(held)} s, had the condition ended by then"


def _planner(record: Record) -> Iterator[str]:
    """The margin, burn, horizon or hysteresis at which the plan would have been another."""
    facts, context = record["facts"], record["context"]
    if "burn" not in context:  # kept by an older version
        return
    load, margin = context["load"], context["margin"]
    if context.get("maximise"):
        if context.get("carries") is True and record["action"].endswith(":down"):
            yield f"planner.maximise left out: {record['before']} carries the load with {number(margin)} to spare"
        return
    if record["action"].endswith(":down"):
        measured = _known(facts, f'capacity("{record["before"]}")')
        capacity = context.get("capacity", measured)
        yield from _carried(record["before"], 1 - load / capacity, context)
        if load <= (1 - margin) * measured and capacity < measured:
            yield f"{record['before']} as fast as measured, {number(measured)} rows/s in place of {number(capacity)}"
        if context["load_now"] < load:
            yield f"planner.horizon shorter, had {number(context['load_now'])} rows/s been carried: so many came then"
    else:
        capacity = context.get("targetCapacity", _known(facts, f'capacity("{record["after"]}")'))
        room = 1 - load / capacity - margin
        yield f"planner.hysteresis above {number(room)} in place of {number(context['hysteresis'])}"


def _carried(variant: str, room: float, context: Mapping[str, Any]) -> Iterator[str]:
    """What would have let a variant carry the load of which it had `room` (a share of its capacity) to spare."""
    margin, burn, most = context["margin"], context["burn"], context["maxBurn"]
    if room <= 0:
        yield f"neither margin nor maxBurn: {number(context['load'])} rows/s are more than {variant} can do at all"
        return
    wider = [f"planner.margin of at most {number(room)} in place of {number(margin)}"] * (room < margin)
    slower = [f"planner.maxBurn of at least {number(burn)} in place of {number(most)}"] * (burn > most)
    yield ", together with ".join([*wider, *slower])


def _known(facts: Mapping[str, Any], key: str) -> float:
    value = facts.get(key)
    return NAN if value is None else float(value)


def _bounds(record: Record) -> Iterator[str]:
    context, quiet = record["context"], record["context"].get("quiet")
    if "dwell" not in context:
        return
    if quiet is not None:
        bound = "cooldown" if record["action"].endswith(":up") else "dwell"
        yield f"{bound} longer than {number(quiet)} s in place of {number(context[bound])} s: later, if still wanted"
    if context["switches"]:  # it is at least 1; its last one is kept for a step down
        most = context["switches"] + record["action"].endswith(":up")
        yield f"maxSwitchesPerHour of {number(most)} in place of {number(context['most'])}"
    accuracy = _known(context, "accuracy")
    if accuracy == accuracy:
        yield f"accuracyFloor above {number(accuracy)}, the accuracy of {context['target']}"


def _let_pass(context: Mapping[str, Any]) -> Iterator[str]:
    """What would have let a refused proposal pass."""
    match context.get("refusedBy"):
        case "accuracyFloor" if "accuracy" in context:
            accuracy, floor = number(context["accuracy"]), number(context["floor"])
            yield f"accuracyFloor of at most {accuracy} in place of {floor}: {context['target']} would have been let in"
        case "accuracyFloor":
            yield f"a measured accuracy of {context['target']}: without one it counts as below accuracyFloor"
        case "maxSwitchesPerHour":
            most = context["switches"] + 1 + context["up"]  # a step up leaves one for a step down
            yield f"maxSwitchesPerHour of at least {number(most)} in place of {number(context['most'])}"
        case _:
            yield "it was refused; what refused it is in its reason"
