"""The planner: from what each variant carries and the load that comes, the most accurate variant that will do.

A variant carries a load where the load is at most (1 − margin) of its measured capacity, and the expected burn of
the objective is at most `maxBurn`. When the serving variant does not carry what is offered now or expected within the
horizon, the planner proposes the most accurate one below it that does, and the fastest where none does. It proposes a
step up to the most accurate one above that would carry the load even if it were so much more that `hysteresis` besides
is spare, and only after the load was followed for a whole `window` without a jump. What lies between the two levels
changes nothing.

With `maximise: accuracy` it compares the expected accuracy over all that is offered (`Option.effective`) in place of
asking what carries: down to the best one below that gives more at the load, up to the best one above that would give
more even at the load with `hysteresis` on top.

Capacity is as measured, over how much slower the variant runs now (`slowdown`), in rows a second, and so is the load:
requests a second times the rows of one. It reads offered load, which shedding does not lower, and proposes only: the
arbiter holds it to dwell, cooldown, floor and limit, and every rule that is pending against a step up stands above it.
"""

import math
from collections.abc import Iterator, Sequence

from sloctl.policy.decisions import Tick
from sloctl.policy.document import PLANNER, PlannerSpec
from sloctl.policy.explain import number
from sloctl.policy.facts import Value
from sloctl.policy.forecast import Forecast
from sloctl.policy.goal import goal_of
from sloctl.policy.option import Option
from sloctl.policy.slowdown import Slowdown
from sloctl.policy.trace import key_of


class Planner:
    """Proposes a variant. `target` is what it wants after `update`, None where the serving one shall stay."""

    name = PLANNER

    def __init__(self, spec: PlannerSpec, ladder: Sequence[str], floor: float | None) -> None:
        self._spec = spec
        self._ladder = tuple(ladder)
        self._floor = floor
        self._goal = goal_of(spec)
        self._forecast = Forecast(spec.window)
        self._slowdown = Slowdown()
        self._load = math.nan  # of the last tick that had data, in rows/s
        self.severity = spec.severity
        self.target: str | None = None
        self.reason = "no data yet"
        self.facts: dict[str, Value] = {}
        self.context: dict[str, Value] = {}
        self.refused: str | None = None

    def update(self, tick: Tick, serving: str) -> None:
        """Looks at the facts of a tick."""
        self.facts, self.target = {}, None
        offered, rows = self._read(tick, "offered_rate"), self._rows(tick)
        self._forecast.observe(tick.now, offered * rows, rows)
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

    def opposes(self, tick: Tick, serving: str, target: str) -> bool:
        """Whether a step up from the serving variant, that somebody else would take, leads to where it would not go."""
        place = self._ladder.index
        if not {serving, target} <= set(self._ladder) or place(target) >= place(serving) or math.isnan(self._load):
            return False
        option = self._option(tick, target)
        known = self._goal.known(option, self._load)
        return known and self._goal.up(self._option(tick, serving), [option], self._load) is None

    def _plan(self, tick: Tick, serving: str) -> None:
        goal, place = self._goal, self._ladder.index
        least, most = self._forecast.seen()
        load = max(self._forecast.ahead(self._spec.horizon), least)
        current = self._option(tick, serving) if serving in self._ladder else None
        if current is None or not goal.known(current, load):
            known = "is not on the ladder" if current is None else "has no data"
            self.reason = f"no plan: {serving} {known}"
            return
        self._load = load
        self._note(current, load, max(self._forecast.now(), least))
        at = place(serving)
        above, below = self._ladder[:at], self._ladder[at + 1 :]
        if goal.enough(current, self._usable(tick, below), load):
            found = goal.up(current, self._usable(tick, above), load) if self._forecast.settled else None
        else:
            # What stands out may be noise, and is no reason to go; once it is one, its whole must be carried.
            load = self._jumped_to(load)
            found = self._settled(current, [*self._usable(tick, below)], load, most)
        up = found is not None and place(found.variant) < at
        self.target = found.variant if found else None
        self.reason = self._explain(load, current, found, up=up)
        if found is not None:
            self.context["targetCapacity"] = found.capacity

    def _jumped_to(self, load: float) -> float:
        """The load to carry in a jump: at least the whole of a reading, and what has come since the last ones."""
        if self._forecast.jumped_for() is None:
            return load
        return max(load, *[rate for rate in (self._forecast.newest, self._forecast.arriving()) if rate == rate])

    def _note(self, current: Option, load: float, load_now: float) -> None:
        """What an account of a decision needs besides its facts."""
        spec = self._spec
        self.context = {
            "load": load,
            "load_now": load_now,
            "burn": current.burn(load),
            "maxBurn": spec.max_burn,
            "margin": spec.margin,
            "hysteresis": spec.hysteresis,
            "severity": self.severity,
            "capacity": current.capacity,
        }
        if spec.maximise:
            carries = current.carries(load, spec.margin, spec.max_burn)
            self.context |= {"maximise": spec.maximise, "carries": carries}

    def _settled(self, current: Option, below: Sequence[Option], load: float, most: float) -> Option | None:
        """Where to go down to; None while a jump may go on, as a reading covers two seconds.

        Nothing waits for the fastest, nor for the one that is right for the least and for the `most` that came.
        """
        jumped, found = self._forecast.jumped_for(), self._goal.down(current, below, load)
        if found is None or jumped is None or jumped >= self._spec.settle:
            return found
        if found.capacity >= max(option.capacity for option in below):
            return found
        return found if self._goal.down(current, below, max(load, most)) is found else None

    def _usable(self, tick: Tick, variants: Sequence[str]) -> Iterator[Option]:
        """Those of some variants that stand on all health levels, are let by their breaker, and not below the floor."""
        for variant in variants:
            accurate = self._floor is None or self._read(tick, "accuracy", variant) >= self._floor
            if accurate and self._healthy(tick, variant) and not self._shut(tick, variant):
                yield self._option(tick, variant)

    def _healthy(self, tick: Tick, variant: str) -> bool:
        args = (variant,)
        value = self.facts[key_of("health_ok", args)] = tick.facts.get("health_ok", args)
        return value is True

    def _shut(self, tick: Tick, variant: str) -> bool:
        """Whether the variant's own breaker keeps it out of use."""
        args = (variant,)
        value = tick.facts.get("breaker", args)
        if value in {"open", "forced_open"}:
            self.facts[key_of("breaker", args)] = value
            return True
        return False

    def _option(self, tick: Tick, variant: str) -> Option:
        slowdown, slo = self._slowdown.of(variant, tick.now), self._spec.objective
        batch_time = self._read(tick, "batch_time", variant)
        return Option(
            variant=variant,
            capacity=self._read(tick, "capacity", variant) / slowdown,
            batch_time=0.0 if math.isnan(batch_time) else batch_time * slowdown,
            slowdown=slowdown,
            accuracy=self._read(tick, "accuracy", variant) if self._spec.maximise else math.nan,
            objective=self._read(tick, "objective", slo),
            budget=self._read(tick, "error_budget", slo),
        )

    def _rows(self, tick: Tick) -> float:
        """Rows of a request: capacity is in rows, and so must load be. One where nobody has seen a request yet."""
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
            f"({number(self._forecast.newest)} rows/s now, {trend}); {self._goal.describe(current, load, up=False)}"
        )
        return text if found is None else f"{text}; {self._goal.describe(found, load, up=up)}"
