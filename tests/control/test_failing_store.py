"""A store that cannot be written must not keep a tick from deciding."""

import json
import sqlite3
import threading
from collections import Counter
from dataclasses import fields
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sloctl.control.api import Api
from sloctl.control.controller import Controller, RequestError
from sloctl.control.keeping import Keeping
from sloctl.control.store import StateDirError, Store
from sloctl.policy.engine import Decision
from tests.support.asking import ask


def test_a_decision_that_cannot_be_kept_is_counted_and_traced_and_ends_no_tick(tmp_path):
    store, traced = Store(tmp_path), []
    controller = object.__new__(Controller)  # a whole one needs a running daemon
    controller.store, controller._wall, controller._trace = store, lambda: 1000.0, traced.append
    controller._decided, controller._keeping = Counter(), Keeping()
    decision = Decision(**{field.name: "x" for field in fields(Decision)})
    controller._record(decision)
    with sqlite3.connect(store.path) as other:
        other.execute("DROP TABLE decisions")
    controller._record(decision)
    assert [record["id"] for record in traced] == [1, 0]
    assert controller._decided.total() == 2
    assert controller._keeping.failures == 1
    store.close()


def fill_up(store: Store) -> None:
    """No page more than there are: what SQLite then says is that of a full disk."""
    store._db.execute("PRAGMA max_page_count=1")


def make_room(store: Store) -> None:
    store._db.execute(f"PRAGMA max_page_count={2**30}")


def test_what_a_full_disk_does_not_take_is_counted_told_once_and_taken_again_when_there_is_room(tmp_path):
    store, keeping, size = Store(tmp_path), Keeping(), 100_000
    fill_up(store)
    with capture_logs() as logs:
        for _ in range(3):
            assert keeping.attempt("state", lambda: store.save([], {"progress": "x" * size}, {})) is None
        assert keeping.failures == 3
        make_room(store)
        keeping.attempt("state", lambda: store.save([], {"progress": "y" * size}, {}))
    assert keeping.failures == 3
    assert store.state("progress") == "y" * size
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    store.close()


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path):
    store = Store(tmp_path)
    other = sqlite3.connect(store.path, isolation_level=None)
    store._db.execute("PRAGMA journal_mode=DELETE")
    store._db.execute("PRAGMA busy_timeout=0")
    other.execute("BEGIN")
    other.execute("SELECT * FROM state").fetchall()  # a reader, such as a backup
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.save([], {"a": 1}, {})
    other.execute("COMMIT")
    store.save([], {"a": 2}, {})
    assert store.state("a") == 2
    other.close()
    store.close()


def test_a_store_that_cannot_be_opened_for_want_of_room_is_not_set_aside(tmp_path, monkeypatch):
    Store(tmp_path).close()

    def full(_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "_open", full)
    with pytest.raises(StateDirError, match="disk is full"):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "corrupt" in path.name] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "overrides"),
        ("DELETE", "overrides/1"),
        ("POST", "maintenance"),
        ("POST", "alerts"),
        ("GET", "overrides"),
    ],
)
async def test_who_asks_for_what_cannot_be_kept_is_told_of_the_store(method, path):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    names = ("add_override", "drop_override", "overrides", "begin_maintenance", "notify")
    api = Api(SimpleNamespace(**dict.fromkeys(names, full)), None)
    status, body = await ask(api, method, f"/api/v1/{path}", "localhost")
    assert status == 503
    assert "database or disk is full" in json.loads(body)["error"]


class Reloading(Controller):
    """A controller without a daemon, whose reloads have nothing wrong."""

    def __init__(self, store, monkeypatch):
        bundle = SimpleNamespace(texts=lambda: {"slo.yaml": "x" * 100_000}, objectives=(), policies=())
        monkeypatch.setattr("sloctl.control.controller.reload_bundle", lambda _: bundle)
        monkeypatch.setattr("sloctl.control.controller.settle", lambda: None)
        self.runtime, self.store, self._board = None, store, SimpleNamespace(identity="board")
        self._lock, self._keeping, self._clock = threading.RLock(), Keeping(), lambda: 0.0
        self._judge = SimpleNamespace(evaluator=SimpleNamespace(unsaved=lambda: ([], {})))
        self._alerts, self._saved_alerts = SimpleNamespace(revision=0, saved=list), 0
        self._reloads, self._reload_ok, self.taken = Counter(), True, []

    def _progress(self):
        return {}

    def _take(self, bundle, saved):
        self.taken.append(bundle)


def test_a_reload_is_accepted_and_kept_or_refused_and_told(tmp_path, monkeypatch):
    """With room for what is saved every second alone, too: the files are larger."""
    store = Store(tmp_path)
    controller = Reloading(store, monkeypatch)
    assert controller.save()
    fill_up(store)
    assert controller.save(), "what is there is written over"
    with capture_logs() as logs, pytest.raises(RequestError, match="the store cannot be written") as refused:
        controller.reload()
    assert (refused.value.status, controller.taken, store.state("bundle")) == (503, [], None)
    assert [entry["event"] for entry in logs if "reload refused" in entry["event"]]
    make_room(store)
    controller.reload()
    assert len(controller.taken) == 1
    assert store.state("bundle")["texts"] == {"slo.yaml": "x" * 100_000}
    assert controller._reloads == {"refused": 1, "accepted": 1}
    store.close()
