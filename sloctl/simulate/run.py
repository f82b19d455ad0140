"""One simulation: the daemon's own policy engine and SLO evaluator in a loop with the plant, a tick at a time."""

import math
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sloctl.policy.decisions import Decision, State
from sloctl.policy.document import PolicyDocument
from sloctl.policy.engine import PolicyEngine
from sloctl.policy.facts import Vocabulary
from sloctl.simulate.counting import Counter, latency_objective
from sloctl.simulate.facts import SimulatedFacts
from sloctl.simulate.load import Course
from sloctl.simulate.plant import Flow, Limits, Plant, Variant
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Objective
from sloctl.slo.windows import AlertWindow

_POINTS = 600  # of a chart


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated. `variants` most accurate first, `classes` highest first, `reopens` the breaker's wait."""

    policy: PolicyDocument
    objectives: tuple[Objective, ...]
    windows: tuple[AlertWindow, ...]
    variants: tuple[Variant, ...]
    classes: tuple[str, ...]
    limits: Limits
    max_batch: int
    reopens: float

    @property
    def model(self) -> str:
        """The model's name."""
        return self.policy.spec.model


@dataclass(slots=True)
class Share:
    """What one variant did: seconds, answers, and those of them in time."""

    seconds: float = 0.0
    answered: float = 0.0
    in_time: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a chart: means over its time; `at` in seconds, rates in requests/s, `budgets` left by SLO."""

    at: float
    offered: float
    in_time: float
    capacity: float
    variant: str
    budgets: Mapping[str, float]


@dataclass(slots=True)
class Result:
    """What came of it. `objective` is the threshold in seconds that 'in time' is held against."""

    seconds: float
    objective: float
    shares: dict[str, Share]
    decisions: list[Decision] = field(default_factory=list)
    outcomes: Tally[str] = field(default_factory=Tally)
    offered: float = 0.0
    budgets: dict[str, float] = field(default_factory=dict)  # used, by SLO
    points: list[Point] = field(default_factory=list)
    accuracies: dict[str, float] = field(default_factory=dict)

    @property
    def in_time(self) -> float:
        """Requests answered within the objective."""
        return sum(share.in_time for share in self.shares.values())

    @property
    def switches(self) -> int:
        """Changes of the serving variant; what a dry run decides is none."""
        return sum(each.action.startswith("precision:") and not each.dry_run for each in self.decisions)

    @property
    def effective_accuracy(self) -> float:
        """Mean accuracy of the answers that came in time; NaN where one that answered was never measured."""
        return self._accurate / self.in_time if self.in_time else math.nan

    @property
    def offered_accuracy(self) -> float:
        """The same over all that was offered: no answer in time is a wrong one."""
        return self._accurate / self.offered if self.in_time else math.nan

    @property
    def _accurate(self) -> float:
        parts = [(share.in_time, self.accuracies[name]) for name, share in self.shares.items() if share.in_time]
        return sum(count * accuracy for count, accuracy in parts)


def simulate(setup: Setup, course: Course) -> Result:
    """Runs a course through. Raises ExpressionError for a policy that was not checked."""
    return _Simulation(setup, course).run()


class _Simulation:
    def __init__(self, setup: Setup, course: Course) -> None:
        names = tuple(variant.name for variant in setup.variants)
        self._setup, self._course = setup, course
        self._plant = Plant(setup.variants, setup.limits)
        self._counter = Counter(setup.objectives, setup.model, setup.classes)
        self._evaluator = Evaluator(setup.objectives, setup.windows)
        self._facts = SimulatedFacts(self._plant, self._evaluator, setup.classes, setup.max_batch)
        slos = tuple(objective.name for objective in setup.objectives)
        self._engine = PolicyEngine(setup.policy, Vocabulary(slos, {setup.model: names}, setup.classes))
        self._state = State(names[0], (1.0,) * len(setup.classes), "closed")
        self._since = self._reopens = 0.0
        objective = latency_objective(setup.objectives, setup.model) or setup.limits.deadline
        self._result = Result(course.seconds, objective, {name: Share() for name in names})
        self._result.accuracies = {variant.name: variant.accuracy for variant in setup.variants}
        self._chart = _Chart(max(math.ceil(len(course.arrivals) / _POINTS), 1))

    def run(self) -> Result:
        none = self._counter.add(
            Plant(self._setup.variants, self._setup.limits).step(
                self._course.dt,
                (0.0,) * len(self._setup.classes),
                self._state.variant,
                self._state.admit,
                open_=False,
                errors=0.0,
            ),
            self._state.variant,
        )
        self._evaluator.advance(self._course.start, *none)
        for tick, arrivals in enumerate(self._course.arrivals.tolist()):
            self._tick(tick, arrivals)
        simulated = [o for o in self._setup.objectives if o.name not in self._counter.left_out]
        self._result.budgets = {o.name: 1 - self._evaluator.budget_remaining(o.name) for o in simulated}
        return self._result

    def _tick(self, tick: int, arrivals: Sequence[float]) -> None:
        course, state, facts = self._course, self._state, self._facts
        now, row = (tick + 1) * course.dt, course.row(tick)
        errors = float(row.get(("error_ratio", ()), 0.0))
        self._plant.slowdown, self._plant.rows = course.slowdown(tick), course.request_rows(tick)
        flow = self._plant.step(
            course.dt,
            arrivals,
            state.variant,
            state.admit,
            open_=state.breaker == "open",
            errors=errors if errors == errors else 0.0,
        )
        facts.push(flow)
        self._evaluator.advance(course.start + now, *self._counter.add(flow, state.variant))
        facts.row, facts.wall, facts.variant, facts.breaker = row, course.start + now, state.variant, state.breaker
        facts.time_in_variant = now - self._since
        self._account(now, flow, state.variant)
        outcome = self._engine.step(now, facts, state)
        self._result.decisions += outcome.decisions
        self._steer(now, outcome.directive.variant, outcome.directive.admit, outcome.directive.breaker)

    def _steer(self, now: float, variant: str, admit: tuple[float, ...], command: str | None) -> None:
        if variant != self._state.variant:
            self._since = now
        breaker = self._state.breaker
        if command == "trip":
            breaker, self._reopens = "open", now + self._setup.reopens
        elif command is not None or (breaker == "open" and now >= self._reopens):
            breaker = "closed"  # half-open lasts a few requests, which is less than a tick
        self._state = State(variant, admit, breaker)

    def _account(self, now: float, flow: Flow, variant: str) -> None:
        result, share = self._result, self._result.shares[variant]
        in_time = flow.answered * (1 - flow.later(result.objective))
        share.seconds += flow.seconds
        share.answered += flow.answered
        share.in_time += in_time
        result.offered += sum(flow.offered)
        result.outcomes.update({outcome: sum(counts) for outcome, counts in flow.outcomes.items()})
        self._chart.add(flow, in_time)
        if self._chart.due:
            budgets = {o.name: self._evaluator.budget_remaining(o.name) for o in self._setup.objectives}
            capacity = self._plant.carries(variant)
            result.points.append(self._chart.point(now, capacity, variant, budgets))


class _Chart:
    """Sums ticks up to points."""

    def __init__(self, ticks: int) -> None:
        self._ticks = ticks
        self._begin()

    def _begin(self) -> None:
        self._count, self._seconds, self._offered, self._in_time = 0, 0.0, 0.0, 0.0

    def add(self, flow: Flow, in_time: float) -> None:
        self._count += 1
        self._seconds += flow.seconds
        self._offered += sum(flow.offered)
        self._in_time += in_time

    @property
    def due(self) -> bool:
        return self._count >= self._ticks

    def point(self, at: float, capacity: float, variant: str, budgets: Mapping[str, float]) -> Point:
        found = Point(at, self._offered / self._seconds, self._in_time / self._seconds, capacity, variant, budgets)
        self._begin()
        return found
