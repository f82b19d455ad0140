"""The planner: from what each variant carries and the load that comes, the most accurate variant that will do.

A variant carries a load where the load is at most (1 − margin) of its measured capacity, and the expected burn of
the objective is at most `maxBurn`. When the serving variant does not carry what is offered now or expected within the
horizon, the planner proposes the most accurate one below it that does, and the fastest where none does. It proposes a
step up to the most accurate one above that would carry the load with `hysteresis` more to spare, and only after the
load was followed for a whole `window` without a jump. What lies between the two levels changes nothing.

Capacity is as measured, over how much slower the variant runs now (`slowdown`). It reads offered load, which shedding
does not lower, and proposes only: the arbiter holds it to dwell, cooldown, floor and limit, and every rule that is
pending against a step up stands above it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sloctl.policy.decisions import Tick
from sloctl.policy.delay import late_share
from sloctl.policy.document import PLANNER, PlannerSpec
from sloctl.policy.explain import number
from sloctl.policy.facts import Value
from sloctl.policy.forecast import Forecast
from sloctl.policy.slowdown import Slowdown
from sloctl.policy.trace import key_of


@dataclass(frozen=True, slots=True)
class Option:
    """A variant, its capacity in rows/s as it is now, how much slower that is than measured, and the burn that is
    expected of it at the load planned for.
    """

    variant: str
    capacity: float
    slowdown: float
    burn: float

    def carries(self, load: float, spare: float, most: float) -> bool:
        """Whether it carries `load` with a share of its capacity to spare and burns at most so fast."""
        return load <= (1 - spare) * self.capacity and self.burn <= most

    def describe(self, spare: float) -> str:
        """`int8 carries 850 of 1000 with a margin of 15 %, expected burn 0.02`."""
        carried = number((1 - spare) * self.capacity)
        room = f"with {spare:.0%} to spare" if spare else "at most"
        burn = number(self.burn) if self.burn >= 0.001 else "under 0.001"
        slower = f", {self.slowdown:.2f} times slower than measured" if self.slowdown > 1 else ""
        return f"{self.variant} carries {carried} of {number(self.capacity)} {room}{slower}, expected burn {burn}"


class Planner:
    """Proposes a variant. `target` is what it wants after `update`, None where the serving one shall stay."""

    name = PLANNER

    def __init__(self, spec: PlannerSpec, ladder: Sequence[str], floor: float | None) -> None:
        self._spec = spec
        self._ladder = tuple(ladder)
        self._floor = floor
        self._forecast = Forecast(spec.window)
        self._slowdown = Slowdown()
        self.severity = spec.severity
        self.target: str | None = None
        self.reason = "no data yet"
        self.facts: dict[str, Value] = {}
        self.context: dict[str, Value] = {}
        self.refused: str | None = None

    def update(self, tick: Tick, serving: str) -> None:
        """Looks at the facts of a tick."""
        self.facts, self.target = {}, None
        offered = self._read(tick, "offered_rate")
        self._forecast.observe(tick.now, offered)
        self._slowdown.observe(tick.now, serving, self._read(tick, "slowdown", serving))
        if math.isnan(offered):
            self.reason = "no plan: offered_rate has no data"
        else:
            self._plan(tick, serving)
        if self.target is None:
            self.refused = None

    def hold(self) -> None:
        """A tick without any data: nothing is wanted."""
        self.target = None

    def _plan(self, tick: Tick, serving: str) -> None:
        rows = self._rows(tick)
        load = self._forecast.ahead(self._spec.horizon) * rows
        current = self._option(tick, serving, load) if serving in self._ladder else None
        if current is None or math.isnan(load + current.capacity + current.burn):
            known = "is not on the ladder" if current is None else "has no data"
            self.reason = f"no plan: {serving} {known}"
            return
        self.context = {
            "load": load,
            "load_now": self._forecast.now() * rows,
            "burn": current.burn,
            "maxBurn": self._spec.max_burn,
            "margin": self._spec.margin,
            "hysteresis": self._spec.hysteresis,
            "severity": self.severity,
        }
        at = self._ladder.index(serving)
        if current.carries(load, self._spec.margin, self._spec.max_burn):
            found = self._up([self._option(tick, variant, load) for variant in self._ladder[:at]], tick, load)
        else:
            # What stands out may be noise, and is no reason to go; once it is one, its whole must be carried.
            load = max(load, self._forecast.newest * rows) if self._forecast.jumped_for() is not None else load
            current = self._option(tick, serving, load)
            below = [self._option(tick, variant, load) for variant in self._ladder[at + 1 :]]
            found = self._down(below, current, tick, load)
        self.target = found.variant if found else None
        self.context["capacity"] = current.capacity
        if found is not None:
            self.context["targetCapacity"] = found.capacity
        self.reason = self._explain(load, current, found, up=found is not None and found.variant in self._ladder[:at])

    def _up(self, above: Sequence[Option], tick: Tick, load: float) -> Option | None:
        spare = self._spec.margin + self._spec.hysteresis
        if not self._forecast.settled:
            return None
        fit = (option for option in above if option.carries(load, spare, self._spec.max_burn))
        return next((option for option in fit if self._usable(tick, option.variant)), None)

    def _down(self, below: Sequence[Option], current: Option, tick: Tick, load: float) -> Option | None:
        usable = [o for o in below if o.capacity > current.capacity and self._usable(tick, o.variant)]
        fit = [option for option in usable if option.carries(load, self._spec.margin, self._spec.max_burn)]
        fastest = max(usable, key=lambda option: option.capacity, default=None)
        found = fit[0] if fit else fastest
        jumped = self._forecast.jumped_for()
        if found is not fastest and jumped is not None and jumped < self._spec.settle:
            return None  # a reading covers two seconds: the whole of a jump is not in it yet
        return found

    def _usable(self, tick: Tick, variant: str) -> bool:
        """Whether a variant stands on all its health levels and is not below the floor."""
        accurate = self._floor is None or self._read(tick, "accuracy", variant) >= self._floor
        return accurate and self._healthy(tick, variant)

    def _healthy(self, tick: Tick, variant: str) -> bool:
        args = (variant,)
        value = self.facts[key_of("health_ok", args)] = tick.facts.get("health_ok", args)
        return value is True

    def _option(self, tick: Tick, variant: str, load: float) -> Option:
        slowdown = self._slowdown.of(variant, tick.now)
        capacity = self._read(tick, "capacity", variant) / slowdown
        batch_time = self._read(tick, "batch_time", variant) * slowdown
        objective = self._read(tick, "objective", self._spec.objective)
        late = late_share(load, capacity, 0.0 if math.isnan(batch_time) else batch_time, objective)
        burn = late / self._read(tick, "error_budget", self._spec.objective)
        return Option(variant, capacity, slowdown, math.nan if math.isnan(objective) else burn)

    def _rows(self, tick: Tick) -> float:
        """Rows of a request: capacity is in rows, load in requests."""
        rows = self._read(tick, "request_rows")
        return 1.0 if math.isnan(rows) else rows

    def _read(self, tick: Tick, name: str, *args: float | str) -> float:
        value = self.facts[key_of(name, args)] = tick.number(name, *args)
        return value

    def _explain(self, load: float, current: Option, found: Option | None, *, up: bool) -> str:
        slope = self._forecast.slope
        trend = f"{'rising' if slope > 0 else 'falling'} by {number(abs(slope))}/s each second" if slope else "steady"
        text = (
            f"{number(load)} rows/s expected within {number(self._spec.horizon)} s "
            f"({number(self._forecast.newest)} requests/s now, {trend}); {current.describe(self._spec.margin)}"
        )
        if found is None:
            return text
        spare = self._spec.margin + self._spec.hysteresis if up else self._spec.margin
        return f"{text}; {found.describe(spare)}"
