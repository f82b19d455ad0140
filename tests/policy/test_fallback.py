"""The health fallback: where it goes, when it returns, and who stops it."""

import pytest

from sloctl.policy.document import PolicyDocument
from sloctl.policy.engine import Override, PolicyEngine, State
from sloctl.policy.facts import StaticFacts, Vocabulary

VARIANTS = ("fp32", "fp16", "int8")
ACCURACY = {"fp32": 0.99, "fp16": 0.98, "int8": 0.9}
COOLDOWN = 10.0


class Steered:
    """Steps the policy of a model; `failing` names the variants whose health fails, `loading` those not there yet."""

    def __init__(self, **spec):
        self.engine = self._made(spec)
        self.spec = spec
        self.variant = "fp32"
        self.failing, self.loading = set(), set()
        self.now = 0.0
        self.decisions = []

    def _made(self, spec):
        raw = {"model": "m", "ladder": list(VARIANTS), "cooldown": f"{COOLDOWN:g}s", "dwell": "1s", **spec}
        document = {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": "p"}, "spec": raw}
        return PolicyEngine(PolicyDocument.model_validate(document), Vocabulary((), {"m": VARIANTS}, ("normal",)))

    def restart(self):
        memory = self.engine.memory()
        self.engine = self._made(self.spec)
        self.engine.restore(memory)

    def step(self, seconds=1.0, overrides=()):
        for _ in range(round(seconds)):
            self.now += 1.0
            values = {"data_plane_up": True, "offered_rate": 1.0}
            for variant in VARIANTS:
                bad = variant in self.failing
                values[f'failing("{variant}")'] = bad
                values[f'health_ok("{variant}")'] = not bad and variant not in self.loading
                values[f'health("{variant}")'] = 4.0 if bad else 5.0
                values[f'accuracy("{variant}")'] = ACCURACY[variant]
            state = State(self.variant, (1.0,), "closed")
            outcome = self.engine.step(self.now, StaticFacts(values), state, overrides=overrides)
            self.variant = outcome.directive.variant
            self.decisions += outcome.decisions
        return self.variant


def test_it_leaves_at_once_with_a_reason_and_returns_after_the_cooldown():
    it = Steered()
    assert it.step() == "fp32"
    it.failing = {"fp32"}
    assert it.step() == "fp16"
    decision = it.decisions[-1]
    assert (decision.rule, decision.action, decision.before, decision.after) == (
        "health",
        "precision:down",
        "fp32",
        "fp16",
    )
    assert decision.reason == "fp32 fails at level inference; fp16 stands on all 5"
    it.step(60)
    it.failing = set()
    assert it.step(COOLDOWN - 1) == "fp16"
    assert it.step(2) == "fp32"
    assert (it.decisions[-1].rule, it.decisions[-1].action) == ("health", "precision:up")
    assert len(it.decisions) == 2


@pytest.mark.parametrize(
    ("spec", "failing", "loading", "goes"),
    [
        pytest.param({}, {"fp32", "fp16"}, set(), "int8", id="past one that fails too"),
        pytest.param({}, {"fp32"}, {"fp16"}, "int8", id="past one that is still loading"),
        pytest.param({"accuracyFloor": 0.95}, {"fp32", "fp16"}, set(), "fp32", id="never below the floor"),
        pytest.param({}, set(VARIANTS), set(), "fp32", id="nowhere where all fail"),
        pytest.param({}, set(), {"fp32"}, "fp32", id="nowhere while it is only loading"),
        pytest.param({"healthFallback": False}, {"fp32"}, set(), "fp32", id="nowhere where it is turned off"),
        pytest.param({"ladder": []}, {"fp32"}, set(), "fp16", id="down the model's own list without a ladder"),
    ],
)
def test_where_it_goes(spec, failing, loading, goes):
    it = Steered(**spec)
    it.failing, it.loading = failing, loading
    assert it.step(3) == goes
    assert bool(it.decisions) == (goes != "fp32")


def test_from_the_last_rung_it_goes_up():
    it = Steered()
    it.variant = "int8"
    it.failing = {"int8"}
    assert it.step() == "fp16"
    assert it.decisions[-1].action == "precision:up"


def test_no_rule_leads_to_a_variant_that_fails():
    up = {"name": "up", "when": "offered_rate < 10", "action": {"precision": "up"}}
    it = Steered(rules=[up], cooldown="1s")
    it.failing = {"fp32"}
    it.step(30)
    assert it.variant == "fp16"
    refused = [d for d in it.decisions if d.action == "refused"]
    assert [d.reason.split(" (")[0] for d in refused] == ["fp32 refused: fp32 fails its health checks"]


def test_a_person_keeps_it_where_it_is():
    it = Steered()
    it.failing = {"fp32"}
    held = [Override("m", "variant", "fp32", 1000.0)]
    assert it.step(5, held) == "fp32"


def test_it_returns_after_a_restart_too():
    it = Steered()
    it.failing = {"fp32"}
    it.step()
    it.restart()
    it.failing = set()
    assert it.step(COOLDOWN + 2) == "fp32"


def test_where_a_rule_moved_on_it_stays():
    down = {"name": "down", "when": "offered_rate > 0", "for": "3s", "action": {"precision": "int8"}}
    it = Steered(rules=[down])
    it.failing = {"fp32"}
    it.step(8)
    assert it.variant == "int8"
    it.failing = set()
    assert it.step(60) == "int8"


def test_a_dry_run_only_says_so():
    it = Steered(dryRun=True)
    it.failing = {"fp32"}
    assert it.step(3) == "fp32"
    assert [(d.rule, d.dry_run) for d in it.decisions] == [("health", True)]
