"""The store: what was saved is there after a restart, and a broken file is kept aside."""

import math
import sqlite3
from dataclasses import replace

import pytest

from sloctl.control.received import ReceivedAlert
from sloctl.control.store import StateDirError, Store, prepare_state_dir

DECISION = {
    "policy": "p", "model": "m", "rule": "r", "action": "precision:down", "before": "fp32", "after": "int8",
    "reason": "it burns", "facts": {"offered_rate": 12.0}, "dry_run": False, "context": {"when": "offered_rate > 1"},
}  # fmt: skip


def test_history_state_and_decisions_survive_a_restart(tmp_path):
    store = Store(tmp_path)
    store.save([("latency", 1, 10, 9, 10), ("latency", 1, 11, 19, 20)], {"progress": {"axis": 1.5}}, {})
    number = store.add_decision(1000.0, DECISION)
    store.close()
    again = Store(tmp_path)
    assert again.history() == [("latency", 1, 10, 9, 10), ("latency", 1, 11, 19, 20)]
    assert again.state("progress") == {"axis": 1.5}
    assert again.decisions() == [{"id": number, "at": 1000.0, **DECISION}]
    again.close()


def test_a_database_from_before_decisions_had_a_context_is_taken_on(tmp_path):
    store = Store(tmp_path)
    number = store.add_decision(1000.0, DECISION)
    store.close()
    with sqlite3.connect(tmp_path / "sloctl.db") as db:
        db.execute("ALTER TABLE decisions DROP COLUMN context")
    db.close()
    again = Store(tmp_path)
    assert again.decision(number) == {"id": number, "at": 1000.0, **DECISION, "context": {}}
    assert again.decision(number + 1) is None
    again.close()


def test_a_database_from_before_slots_lay_together_is_taken_on(tmp_path):
    store = Store(tmp_path)
    store.close()
    rows = [("a", 1, 10, 1, 2), ("a", 60, 1, 3, 4), ("b", 1, 10, 5, 6)]
    with sqlite3.connect(tmp_path / "sloctl.db") as db:
        db.execute("DROP TABLE history")
        columns = ", ".join(f"{name} INTEGER NOT NULL" for name in ("ring", "slot", "good", "total"))
        db.execute(f"CREATE TABLE history (slo TEXT NOT NULL, {columns}, PRIMARY KEY (slo, ring, slot)) WITHOUT ROWID")
        db.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?)", rows)
    db.close()
    for _ in range(2):
        again = Store(tmp_path)
        assert sorted(again.history()) == rows
        again.close()


def test_slots_past_their_retention_go_and_others_stay(tmp_path):
    store = Store(tmp_path)
    store.save([("a", 1, 10, 1, 1), ("a", 1, 20, 1, 1), ("a", 60, 10, 1, 1)], {}, {})
    store.save([], {}, {1: 15})
    assert store.history() == [("a", 60, 10, 1, 1), ("a", 1, 20, 1, 1)]
    store.close()


def test_slots_of_slos_that_begin_anew_are_forgotten(tmp_path):
    store = Store(tmp_path)
    store.save([("goes-on", 1, 10, 1, 1), ("anew", 1, 10, 900, 900), ("anew", -2, 5, 7, 7)], {}, {})
    store.forget_others({"goes-on"})
    assert store.history() == [("goes-on", 1, 10, 1, 1)]
    store.close()


def test_a_failed_transaction_changes_nothing(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(sqlite3.Error):
        store.save([("a", 1, 1, 1, 1), ("a", 1, None, 1, 1)], {"progress": 1}, {})
    assert store.history() == []
    assert store.state("progress") is None
    store.close()


def test_received_alerts_survive_a_restart_until_they_expire(tmp_path):
    store = Store(tmp_path)
    first = ReceivedAlert("a", {"alertname": "Burn"}, True, 10.0, math.inf, 100.0)
    second = ReceivedAlert("b", {"alertname": "Burn"}, False, 10.0, 20.0, 200.0)
    store.save_received([first, second], 50.0)
    store.close()
    again = Store(tmp_path)
    assert again.received() == [first, second]
    again.save_received([replace(second, expires=300.0)], 100.0)
    assert again.received() == [replace(second, expires=300.0)]
    again.close()


def test_overrides_end_at_their_expiry_or_by_hand(tmp_path):
    store = Store(tmp_path)
    first = store.add_override(0.0, "m", "variant", "int8", 100.0, "why")
    second = store.add_override(0.0, "m", "admit", {"low": 0.5}, 200.0, "")
    assert [record["id"] for record in store.overrides(50.0)] == [first, second]
    assert [record["value"] for record in store.overrides(150.0)] == [{"low": 0.5}]
    assert store.drop_override(second)
    assert not store.drop_override(second)
    assert store.overrides(150.0) == []
    store.close()


@pytest.mark.parametrize("damage", [b"this is no database at all", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_corrupt_database_is_set_aside_whole_and_a_new_one_begins(tmp_path, damage):
    (tmp_path / "sloctl.db").write_bytes(damage)
    store = Store(tmp_path)
    assert store.history() == []
    store.close()
    kept = [
        path for path in tmp_path.iterdir() if ".corrupt-" in path.name and not path.name.endswith(("-wal", "-shm"))
    ]
    assert [path.read_bytes() for path in kept] == [damage]


def test_a_state_directory_that_is_a_file_is_refused_with_what_to_do(tmp_path):
    taken = tmp_path / "state"
    taken.write_text("mine")
    with pytest.raises(StateDirError, match="stateDir"):
        prepare_state_dir(taken)
    assert taken.read_text() == "mine"


def test_what_is_older_than_wished_is_forgotten_and_what_still_holds_is_not(tmp_path):
    store = Store(tmp_path)
    old, new = (store.add_decision(at, DECISION) for at in (1000.0, 5000.0))
    store.add_override(1000.0, "m", "variant", "int8", 2000.0, "over")
    held = store.add_override(1000.0, "m", "variant", "int8", 9000.0, "still")
    store.begin_maintenance(1000.0, ["a"], 2000.0, "over", "")
    going = store.begin_maintenance(1000.0, ["a"], 9000.0, "still", "")
    assert store.prune(before=3000.0) == 3
    assert [decision["id"] for decision in store.decisions()] == [new]
    assert store.decision(old) is None
    assert [override["id"] for override in store.overrides(0.0)] == [held]
    assert [each.number for each in store.maintenance(0.0)] == [going]
    assert store.prune(before=3000.0) == 0
    store.close()
