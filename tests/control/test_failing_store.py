"""A store that cannot be written must not keep a tick from deciding."""

import sqlite3
from collections import Counter
from dataclasses import fields

from sloctl.control.controller import Controller
from sloctl.control.store import Store
from sloctl.policy.engine import Decision


def test_a_decision_that_cannot_be_kept_is_counted_and_traced_and_ends_no_tick(tmp_path):
    store, traced = Store(tmp_path), []
    controller = object.__new__(Controller)  # a whole one needs a running daemon
    controller.store, controller._wall, controller._trace = store, lambda: 1000.0, traced.append
    controller._decided = Counter()
    decision = Decision(**{field.name: "x" for field in fields(Decision)})
    controller._record(decision)
    with sqlite3.connect(store.path) as other:
        other.execute("DROP TABLE decisions")
    controller._record(decision)
    assert [record["id"] for record in traced] == [1, 0]
    assert controller._decided.total() == 2
    store.close()
