"""The control plane's memory across restarts: SLO history, decisions, overrides, received alerts and small
state, in SQLite.

One writer (the tick), write-ahead log, `synchronous=FULL`: what was committed survives a power cut. A
database that cannot be read is set aside under a new name, never deleted, and a new one begins.
"""

import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from sloctl.control.maintenance import ByHand
from sloctl.control.received import ReceivedAlert

log = structlog.get_logger("sloctl.store")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history (
    slo TEXT NOT NULL, ring INTEGER NOT NULL, slot INTEGER NOT NULL, good INTEGER NOT NULL, total INTEGER NOT NULL,
    PRIMARY KEY (ring, slot, slo)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, policy TEXT NOT NULL, model TEXT NOT NULL, rule TEXT NOT NULL,
    action TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, reason TEXT NOT NULL, facts TEXT NOT NULL,
    dry_run INTEGER NOT NULL, context TEXT NOT NULL DEFAULT '{}');
CREATE TABLE IF NOT EXISTS overrides (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL,
    expires REAL NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS received_alerts (
    fingerprint TEXT PRIMARY KEY, labels TEXT NOT NULL, firing INTEGER NOT NULL, starts REAL NOT NULL,
    ends REAL NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS maintenance (
    id INTEGER PRIMARY KEY, begin REAL NOT NULL, slos TEXT NOT NULL, end REAL NOT NULL, reason TEXT NOT NULL,
    who TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, action TEXT NOT NULL,
    detail TEXT NOT NULL);
PRAGMA user_version = 3;
"""
# Before version 3 the slots of an SLO lay together, so a second of many SLOs was written to as many pages.
_BY_SLOT = """
BEGIN IMMEDIATE;
ALTER TABLE history RENAME TO history_by_slo;
CREATE TABLE history (
    slo TEXT NOT NULL, ring INTEGER NOT NULL, slot INTEGER NOT NULL, good INTEGER NOT NULL, total INTEGER NOT NULL,
    PRIMARY KEY (ring, slot, slo)) WITHOUT ROWID;
INSERT INTO history SELECT slo, ring, slot, good, total FROM history_by_slo;
DROP TABLE history_by_slo;
COMMIT;
"""
_COLUMNS = ("id", "at", "policy", "model", "rule", "action", "before", "after", "reason", "facts", "dry_run", "context")
_MOST_EVENTS = 10_000
_MOST_DECISIONS = 1_000_000
_JSON = ("facts", "context")

HistoryRow = tuple[str, int, int, int, int]


class StateDirError(Exception):
    """The state directory cannot be used; the message says why and what to do."""


def prepare_state_dir(folder: Path) -> None:
    """Makes the folder and proves that it can be written. Raises StateDirError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StateDirError(
            f"state directory {folder} is not writable: {os.strerror(error.errno or 0).lower()}; "
            "give it to the daemon's user or set another in stateDir"
        ) from None


class Store:
    """The database. Methods are called from one thread at a time; reads see what was committed."""

    def __init__(self, folder: Path) -> None:
        """Raises StateDirError. A damaged database is set aside, and a new one begins."""
        prepare_state_dir(folder)
        self.path = folder / "sloctl.db"
        try:
            self._db = self._open()
        except sqlite3.OperationalError as error:  # a full disk, a lock: what is in the file is well
            raise StateDirError(f"{self.path} cannot be opened: {error}") from None
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            verdict = db.execute("PRAGMA quick_check").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            db.executescript(_SCHEMA)
            if "context" not in [row[1] for row in db.execute("PRAGMA table_info(decisions)")]:
                db.execute("ALTER TABLE decisions ADD COLUMN context TEXT NOT NULL DEFAULT '{}'")  # before version 2
            places = {row[1]: row[5] for row in db.execute("PRAGMA table_info(history)")}  # in the key, from 1
            if places["slo"] == 1:
                db.executescript(_BY_SLOT)
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _set_aside(self, error: Exception) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S")
        kept = self.path.with_name(f"{self.path.name}.corrupt-{stamp}-{os.getpid()}")
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(kept.with_name(kept.name + suffix))
        log.error("state database cannot be read: set aside, a new one begins", kept=str(kept), error=str(error))

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    def save(self, rows: Iterable[HistoryRow], state: Mapping[str, Any], oldest: Mapping[int, int]) -> None:
        """One transaction: history rows, state by key, and the removal of slots older than `oldest[ring]`."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?)", rows)
            self._put(state)
            for ring, slot in oldest.items():
                self._db.execute("DELETE FROM history WHERE ring = ? AND slot < ?", (ring, slot))

    def history(self) -> list[HistoryRow]:
        """All kept slots, oldest first."""
        return self._db.execute("SELECT slo, ring, slot, good, total FROM history ORDER BY slot").fetchall()

    def forget_others(self, slos: Collection[str]) -> None:
        """Drops the slots of all SLOs but these: one that begins anew must not meet counts from before."""
        with self._transaction():
            for (name,) in self._db.execute("SELECT DISTINCT slo FROM history").fetchall():
                if name not in slos:
                    self._db.execute("DELETE FROM history WHERE slo = ?", (name,))

    def state(self, key: str) -> Any:
        """A saved value, or None."""
        row = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def _put(self, state: Mapping[str, Any]) -> None:
        rows = [(key, json.dumps(value)) for key, value in state.items()]
        self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", rows)

    def add_decision(self, at: float, record: Mapping[str, Any]) -> int:
        """Appends a decision (`at` in Unix seconds) and returns its number."""
        plain = {**record, "at": at} | {name: json.dumps(record.get(name, {})) for name in _JSON}
        values = [plain[name] for name in _COLUMNS[1:]]
        marks = ", ".join("?" * len(values))
        query = f"INSERT INTO decisions ({', '.join(_COLUMNS[1:])}) VALUES ({marks})"  # noqa: S608  our own names
        cursor = self._db.execute(query, values)
        return int(cursor.lastrowid or 0)

    def decisions(self, limit: int = 100, model: str | None = None) -> list[dict[str, Any]]:
        """The latest decisions, newest first."""
        where, values = ("WHERE model = ?", [model]) if model else ("", [])
        return self._decisions(where, values, limit)

    def decision(self, number: int) -> dict[str, Any] | None:
        """The decision of that number, or None."""
        return next(iter(self._decisions("WHERE id = ?", [number], 1)), None)

    def _decisions(self, where: str, values: list[Any], limit: int) -> list[dict[str, Any]]:
        query = f"SELECT {', '.join(_COLUMNS)} FROM decisions {where} ORDER BY id DESC LIMIT ?"  # noqa: S608
        found = [dict(zip(_COLUMNS, row, strict=True)) for row in self._db.execute(query, [*values, limit])]
        for record in found:
            record |= {name: json.loads(record[name]) for name in _JSON}
            record["dry_run"] = bool(record["dry_run"])
        return found

    def add_override(self, at: float, model: str, kind: str, value: Any, expires: float, reason: str) -> int:
        """Keeps an override by hand (`at` and `expires` in Unix seconds) and returns its number."""
        cursor = self._db.execute(
            "INSERT INTO overrides (at, model, kind, value, expires, reason) VALUES (?, ?, ?, ?, ?, ?)",
            (at, model, kind, json.dumps(value), expires, reason),
        )
        return int(cursor.lastrowid or 0)

    def drop_override(self, number: int) -> bool:
        """Ends an override; False if there was none of that number."""
        return self._db.execute("DELETE FROM overrides WHERE id = ?", (number,)).rowcount > 0

    def overrides(self, now: float) -> list[dict[str, Any]]:
        """Overrides that have not expired at `now` (Unix seconds), oldest first."""
        names = ("id", "at", "model", "kind", "value", "expires", "reason")
        query = f"SELECT {', '.join(names)} FROM overrides WHERE expires > ? ORDER BY id"  # noqa: S608
        found = [dict(zip(names, row, strict=True)) for row in self._db.execute(query, (now,))]
        for record in found:
            record["value"] = json.loads(record["value"])
        return found

    def begin_maintenance(self, begin: float, slos: Sequence[str], end: float, reason: str, who: str) -> int:
        """Keeps maintenance by hand, in Unix seconds, and returns its number."""
        values = (begin, json.dumps(list(slos)), end, reason, who)
        query = "INSERT INTO maintenance (begin, slos, end, reason, who) VALUES (?, ?, ?, ?, ?)"
        return int(self._db.execute(query, values).lastrowid or 0)

    def end_maintenance(self, number: int, now: float) -> bool:
        """Ends it now; False if there is none of that number, or it has ended."""
        query = "UPDATE maintenance SET end = ? WHERE id = ? AND end > ?"
        return self._db.execute(query, (now, number, now)).rowcount > 0

    def maintenance(self, since: float) -> list[ByHand]:
        """Maintenance by hand that had not ended at `since`."""
        rows = self._db.execute("SELECT id, slos, begin, end, reason FROM maintenance WHERE end > ?", (since,))
        return [ByHand(number, tuple(json.loads(slos)), begin, end, why) for number, slos, begin, end, why in rows]

    def add_event(self, at: float, kind: str, subject: str, action: str, detail: str) -> None:
        """Adds a line to the trail of what happened; the oldest beyond 10,000 go."""
        query = "INSERT INTO events (at, kind, subject, action, detail) VALUES (?, ?, ?, ?, ?)"
        number = self._db.execute(query, (at, kind, subject, action, detail)).lastrowid or 0
        self._db.execute("DELETE FROM events WHERE id <= ?", (number - _MOST_EVENTS,))

    def events(self, kind: str, limit: int) -> list[dict[str, Any]]:
        """The latest lines of the trail of a kind, newest first."""
        names = ("at", "subject", "action", "detail")
        query = f"SELECT {', '.join(names)} FROM events WHERE kind = ? ORDER BY id DESC LIMIT ?"  # noqa: S608
        return [dict(zip(names, row, strict=True)) for row in self._db.execute(query, (kind, limit))]

    def prune(self, before: float) -> int:
        """Forgets decisions from before a moment, and overrides and maintenance that had ended by then; how many.

        Of decisions never more than the newest million are kept.
        """
        newest = self._db.execute("SELECT max(id) FROM decisions").fetchone()[0] or 0
        with self._transaction():
            return sum(
                self._db.execute(query, values).rowcount
                for query, values in (
                    ("DELETE FROM decisions WHERE at < ? OR id <= ?", (before, newest - _MOST_DECISIONS)),
                    ("DELETE FROM overrides WHERE expires < ?", (before,)),
                    ("DELETE FROM maintenance WHERE end < ?", (before,)),
                )
            )

    def save_received(self, alerts: Iterable[ReceivedAlert], now: float) -> None:
        """Keeps alerts in place of what was known of them, and forgets those that have expired at `now`."""
        rows = [(a.fingerprint, json.dumps(a.labels), a.firing, a.starts, a.ends, a.expires) for a in alerts]
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO received_alerts VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("DELETE FROM received_alerts WHERE expires <= ?", (now,))

    def received(self) -> list[ReceivedAlert]:
        """The alerts that were kept."""
        rows = self._db.execute("SELECT fingerprint, labels, firing, starts, ends, expires FROM received_alerts")
        return [ReceivedAlert(each, json.loads(labels), bool(firing), *times) for each, labels, firing, *times in rows]

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK on an exception, also on that of COMMIT."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:  # after some errors SQLite has rolled back by itself
                self._db.execute("ROLLBACK")
