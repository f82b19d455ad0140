"""Alertmanager's payload: what is taken from it, and what is refused with which words."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.control.webhook import MOST_ALERTS, Notice, WebhookError, decode

ALERT = {
    "status": "firing",
    "labels": {"alertname": "SloctlErrorBudgetBurn", "severity": "page"},
    "annotations": {"summary": "it burns"},
    "startsAt": "2026-01-01T00:00:00.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus:9090/graph",
    "fingerprint": "4b1e1f0a2c3d4e5f",
}
MESSAGE = {
    "receiver": "sloctl", "status": "firing", "alerts": [ALERT], "groupLabels": {}, "commonLabels": {},
    "commonAnnotations": {}, "externalURL": "http://alertmanager:9093", "version": "4", "groupKey": "{}:{}",
    "truncatedAlerts": 2,
}  # fmt: skip


def message(**fields):
    return json.dumps({**MESSAGE, **fields}).encode()


def alert(**fields):
    return message(alerts=[{**ALERT, **fields}])


def test_a_message_of_alertmanager():
    found = decode(message())
    start = pytest.approx(1767225600.123456)
    assert found.notices == (Notice("4b1e1f0a2c3d4e5f", ALERT["labels"], start, math.inf, True),)
    assert found.truncated == 2


def test_a_resolved_alert_has_its_end():
    (found,) = decode(alert(status="resolved", endsAt="2026-01-01T01:00:00+01:00")).notices
    assert (found.firing, found.ends) == (False, 1767225600.0)


def test_an_older_message_leaves_nothing_out():
    old = {key: value for key, value in MESSAGE.items() if key != "truncatedAlerts"}
    assert decode(json.dumps(old).encode()).truncated == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (message(version="3"), "$.version"),
        (message(version=4), "$.version"),
        (b"[]", "Expected `object`"),
        (b"{", "truncated"),
        (b'{"version": "4"}', "`alerts`"),
        (b"[" * 100_000, "version 4"),
        (b'{"version": "4", "alerts": [' + b"[" * 100_000, "$.alerts[0]"),
        (b'{"version": "4", "alerts": [], "more": ' + b"[" * 100_000, "version 4"),
        (b"\xff", "version 4"),
        (alert(startsAt="yesterday"), "$.alerts[0].startsAt"),
        (alert(startsAt="2026-01-01T00:00:00"), "timezone"),
        (alert(startsAt="0001-01-01T00:00:00Z"), "1970 to 9000"),
        (alert(startsAt="9999-12-31T23:59:59Z"), "1970 to 9000"),
        (alert(status="fires"), "$.alerts[0].status"),
        (alert(fingerprint=""), "$.alerts[0].fingerprint"),
        (alert(labels={}), "$.alerts[0].labels"),
        (alert(labels={"alertname": 1}), "$.alerts[0].labels"),
        (alert(labels={"alertname": "x" * 2000}), "$.alerts[0].labels"),
        (alert(labels={f"l{i}": "" for i in range(65)}), "$.alerts[0].labels"),
        (message(alerts=[ALERT] * (MOST_ALERTS + 1)), "$.alerts"),
        (message(truncatedAlerts=-1), "$.truncatedAlerts"),
    ],
    ids=range(21),
)
def test_what_is_no_such_message_is_refused_and_the_place_is_named(body, says):
    with pytest.raises(WebhookError) as refused:
        decode(body)
    assert "version 4" in str(refused.value)
    assert says in str(refused.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_nothing_but_a_refusal_comes_of_other_json(value):
    with pytest.raises(WebhookError):
        decode(json.dumps({**MESSAGE, "alerts": [value]}).encode())
