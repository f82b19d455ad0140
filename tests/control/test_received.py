"""Alerts from an Alertmanager: sent twice, out of order, too many, or never ended."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.control.received import ReceivedAlerts
from sloctl.control.webhook import Notice, Notification

LIVE = 60.0
LATE = 300.0  # Alertmanager's default group_interval, as the module says


def notice(firing=True, starts=100.0, ends=math.inf, fingerprint="f1", name="Burn", **labels):
    return Notice(fingerprint, {"alertname": name, **labels}, starts, ends, firing)


def resolved(starts=100.0, ends=150.0, **more):
    return notice(False, starts, ends, **more)


def told(alerts, *notices, now=1000.0):
    return alerts.take(Notification(notices, 0), now)


@pytest.fixture
def alerts():
    return ReceivedAlerts(LIVE, most=3)


def fires(alerts):
    return alerts.count("Burn", {})


def test_an_alert_fires_until_it_is_resolved(alerts):
    told(alerts, notice())
    assert fires(alerts) == 1
    told(alerts, resolved())
    assert fires(alerts) == 0
    assert (alerts.counts["firing"], alerts.counts["resolved"]) == (1, 1)


def test_what_comes_twice_counts_once(alerts):
    for _ in range(3):
        told(alerts, notice(), notice())
    assert fires(alerts) == 1
    for _ in range(2):
        told(alerts, resolved())
    assert (alerts.counts["firing"], alerts.counts["repeated"], alerts.counts["resolved"]) == (1, 6, 1)


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        pytest.param(notice(), 0, id="a retry of the firing one, overtaken by the end"),
        pytest.param(notice(starts=140.0), 0, id="another Alertmanager's idea of when the same episode began"),
        pytest.param(notice(starts=151.0), 1, id="a new episode"),
    ],
)
def test_after_an_end(alerts, then, expected):
    told(alerts, notice())
    told(alerts, resolved())
    told(alerts, then)
    assert fires(alerts) == expected


def test_an_end_that_overtook_its_beginning_stays(alerts):
    told(alerts, resolved())
    told(alerts, notice())
    assert fires(alerts) == 0
    assert alerts.counts["late"] == 1


def test_the_end_of_an_episode_before_does_not_end_this_one(alerts):
    told(alerts, notice(starts=200.0))
    told(alerts, resolved(100.0, 150.0))
    assert fires(alerts) == 1
    told(alerts, resolved(100.0, 250.0))  # as Alertmanager has it where another source saw it begin earlier
    assert fires(alerts) == 0


def test_what_still_fires_long_after_its_end_fires_again(alerts):
    told(alerts, notice())
    told(alerts, resolved())
    told(alerts, notice(), now=1000.0 + LATE - 1)
    assert fires(alerts) == 0
    told(alerts, notice(), now=1000.0 + LATE)
    assert fires(alerts) == 1


def test_an_alert_whose_end_never_comes_expires_and_each_repetition_puts_that_off(alerts):
    told(alerts, notice())
    told(alerts, notice(), now=1000.0 + LIVE - 1)
    assert alerts.expire(1000.0 + LIVE) == []
    (gone,) = alerts.expire(1000.0 + 2 * LIVE - 1)
    assert gone.fingerprint == "f1"
    assert fires(alerts) == 0
    assert alerts.counts["expired"] == 1
    told(alerts, notice(), now=1000.0 + 3 * LIVE)
    assert fires(alerts) == 1, "the sender is back, and it fires still"


def test_an_alert_with_an_end_of_its_own_expires_at_it(alerts):
    told(alerts, notice(ends=1010.0))
    assert alerts.expire(1009.0) == []
    assert len(alerts.expire(1010.0)) == 1


def test_the_bound_drops_new_alerts_and_keeps_those_that_are_known(alerts):
    told(alerts, *(notice(fingerprint=f"f{i}") for i in range(5)))
    assert (fires(alerts), alerts.counts["dropped"]) == (3, 2)
    told(alerts, notice(fingerprint="f0"))
    told(alerts, resolved(fingerprint="f1"), notice(fingerprint="f9"))
    assert (fires(alerts), alerts.counts["dropped"]) == (3, 2)


def test_ends_are_bounded_too(alerts):
    touched = [told(alerts, resolved(fingerprint=f"f{i}"), now=1000.0 + i) for i in range(10)]
    assert all(touched)
    told(alerts, notice(fingerprint="f0"), now=1010.0)
    told(alerts, notice(fingerprint="f9"), now=1010.0)
    assert fires(alerts) == 1, "the oldest end was forgotten, the latest was not"


def test_what_the_sender_left_out_is_counted(alerts):
    alerts.take(Notification((notice(),), 7), 1000.0)
    assert alerts.counts["truncated"] == 7


def test_labels_choose_among_alerts_of_a_name(alerts):
    told(
        alerts,
        notice(fingerprint="a", severity="page", sloctl_slo="x"),
        notice(fingerprint="b", severity="ticket", sloctl_slo="x"),
        notice(fingerprint="c", name="Other"),
    )
    assert alerts.count("Burn", {}) == 2
    assert alerts.count("Burn", {"sloctl_slo": "x", "severity": "page"}) == 1
    assert alerts.count("Burn", {"sloctl_slo": "y"}) == 0
    assert alerts.count("Other", {"severity": ""}) == 1


EPISODES = st.lists(st.integers(1, 50), min_size=2, max_size=12, unique=True).map(sorted)


@given(EPISODES, st.data())
def test_whatever_the_order_of_retries_the_newest_news_decides(times, data):
    """Episodes that do not touch, each told of twice and in any order, while ends are remembered."""
    notices = []
    for starts, ends in zip(times[::2], [*times[1::2], math.inf], strict=False):
        notices.append(notice(starts=float(starts)))
        if ends < math.inf:
            notices.append(resolved(float(starts), float(ends)))
    newest = notices[-1]
    alerts = ReceivedAlerts(LIVE, most=3)
    for each in [*data.draw(st.permutations(notices * 2)), newest]:
        told(alerts, each)
    assert fires(alerts) == newest.firing
