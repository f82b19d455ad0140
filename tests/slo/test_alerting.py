"""Alerts as states: the life of an instance, what is frozen, and what a restart keeps."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.slo.alerting import RETENTION, Active, AlertStates, Instance, State

LABELS = {"alertname": "A", "sloctl_slo": "slo"}


def active(hold: float = 0.0, value: float = 1.0, **labels: str) -> Active:
    return Active(LABELS | labels, {"value": str(value)}, value, hold)


def states(it: AlertStates) -> list[State]:
    return [instance.state for instance in it.instances()]


def only(it: AlertStates) -> Instance:
    (instance,) = it.instances()
    return instance


def test_an_alert_without_a_hold_fires_at_once_and_resolves_when_its_condition_ends() -> None:
    it = AlertStates()
    assert [each.state for each in it.step(10, [active()])] == [State.FIRING]
    assert it.step(11, [active()]) == []
    assert [each.state for each in it.step(12, [])] == [State.RESOLVED]
    assert (only(it).active_at, only(it).fired_at, only(it).resolved_at) == (10, 10, 12)
    assert it.step(13, []) == []


def test_a_pending_alert_fires_once_it_has_held_for_as_long_as_it_must() -> None:
    it = AlertStates()
    assert it.step(0, [active(hold=60)]) == []
    assert it.step(59, [active(hold=60)]) == []
    assert states(it) == [State.PENDING]
    assert [each.fired_at for each in it.step(60, [active(hold=60)])] == [60]


def test_a_pending_alert_whose_condition_ends_is_forgotten_and_begins_anew() -> None:
    it = AlertStates()
    it.step(0, [active(hold=60)])
    assert it.step(30, []) == []
    assert it.instances() == []
    assert it.step(60, [active(hold=60)]) == []


def test_a_resolved_alert_that_comes_back_is_a_new_one() -> None:
    it = AlertStates()
    it.step(0, [active()])
    it.step(1, [])
    assert [each.fired_at for each in it.step(2, [active()])] == [2]
    assert states(it) == [State.FIRING]


def test_a_resolved_alert_is_kept_for_a_quarter_of_an_hour() -> None:
    it = AlertStates()
    it.step(0, [active()])
    it.step(1, [])
    it.step(1 + RETENTION, [])
    assert states(it) == [State.RESOLVED]
    it.step(2 + RETENTION, [])
    assert it.instances() == []


def test_annotations_and_value_are_of_the_last_moment() -> None:
    it = AlertStates()
    it.step(0, [active(value=1)])
    it.step(1, [active(value=2)])
    assert (only(it).value, only(it).annotations) == (2, {"value": "2"})


def test_an_alert_of_an_slo_without_data_neither_resolves_nor_is_forgotten() -> None:
    it = AlertStates()
    it.step(0, [active(), active(sloctl_slo="other")])
    (changed,) = it.step(10, [], no_data={"slo"})
    assert changed.labels["sloctl_slo"] == "other"
    assert states(it) == [State.FIRING, State.RESOLVED]
    assert {each.labels["alertname"]: each.state for each in it.step(20, [])} == {"A": State.RESOLVED}


def test_nothing_ends_while_not_everything_is_known_yet() -> None:
    it = AlertStates()
    it.step(0, [active(), active(hold=60, alertname="B")])
    assert it.step(10, [], ends=False) == []
    assert states(it) == [State.FIRING, State.PENDING]
    assert [each.state for each in it.step(11, [])] == [State.RESOLVED]


def test_a_restart_in_between_changes_nothing() -> None:
    it, again = AlertStates(), AlertStates()
    it.step(0, [active(), active(hold=60, alertname="B")])
    again.restore(json.loads(json.dumps(it.saved())))
    assert again.instances() == it.instances()
    assert again.step(1, [active(), active(hold=60, alertname="B")]) == []
    (fired,) = again.step(60, [active(), active(hold=60, alertname="B")])
    assert (fired.labels["alertname"], fired.active_at, fired.fired_at) == ("B", 0, 60)


@given(
    st.lists(st.tuples(st.integers(1, 900), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([0.0, 1.0, 60.0, 600.0]),
)
def test_it_fires_exactly_while_its_condition_has_held_long_enough(steps: list[tuple[int, bool]], hold: float) -> None:
    it, now, since = AlertStates(), 0.0, None
    told = False  # what somebody who hears of changes alone believes
    for wait, holds in steps:
        now += wait
        since = (now if since is None else since) if holds else None
        for change in it.step(now, [active(hold)] if holds else []):
            told = change.state is State.FIRING
        expected = since is not None and now - since >= hold
        assert (State.FIRING in states(it)) == expected == told


@pytest.mark.parametrize("order", [("alertname", "sloctl_slo"), ("sloctl_slo", "alertname")])
def test_the_order_of_labels_makes_no_other_alert(order: tuple[str, ...]) -> None:
    it = AlertStates()
    it.step(0, [active()])
    it.step(1, [Active({name: LABELS[name] for name in order}, {}, 1.0)])
    assert only(it).active_at == 0


def test_time_without_data_is_no_time_for_which_a_condition_held() -> None:
    it = AlertStates()
    it.step(0, [active(hold=600)])
    for now in range(10, 3600, 10):
        assert it.step(now, [], no_data={"slo"}) == []
    assert it.step(3600, [active(hold=600)]) == []
    assert [each.state for each in it.step(4200, [active(hold=600)])] == [State.FIRING]
