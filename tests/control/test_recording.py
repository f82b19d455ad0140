"""The recorder: a row a second, files of bounded size, and a disk that fails stops nothing."""

from pathlib import Path

import pytest

from sloctl.control.recording import Recorder
from sloctl.policy import trace
from sloctl.policy.decisions import Decision
from sloctl.policy.facts import StaticFacts, Vocabulary

FACTS = StaticFacts({"offered_rate": 5.0})
SWITCH = Decision("p", "m", "r", "precision:down", "a", "b", "", {}, False, 0.0)


def count(slo: str) -> tuple[float, float]:
    return {"a": (1.0, 2.0)}.get(slo, (0.0, 0.0))


def recorder(folder: Path, max_bytes: int = 1 << 20, keep: int = 2, slos: tuple[str, ...] = ("slo",)) -> Recorder:
    made = Recorder(folder, max_bytes, keep)
    made.describe(Vocabulary(slos, {"m": ("a", "b")}, ("high",)))
    return made


def rows(path: Path) -> int:
    return len(trace.read(path.read_text().splitlines(), 10_000)[1])


def test_a_row_a_second_holds_the_decisions_since_the_last(tmp_path: Path) -> None:
    it = recorder(tmp_path / "traces")
    for quarter in range(12):
        it.record("m", quarter / 4, 1000 + quarter / 4, FACTS, (SWITCH,) if quarter == 5 else (), count)
    path = tmp_path / "traces" / "m.csv"
    assert rows(path) == 3
    assert [line.endswith("precision:down a → b [r]") for line in path.read_text().splitlines()[1:]] == [
        False,
        False,
        True,
    ]


def test_files_are_bounded_and_so_is_their_number(tmp_path: Path) -> None:
    it = recorder(tmp_path, max_bytes=2000)
    for second in range(300):
        it.record("m", float(second), 1000.0 + second, FACTS, (), count)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "m.csv.1", "m.csv.2"]
    assert all(path.stat().st_size < 2500 and rows(path) for path in tmp_path.iterdir())


def test_other_columns_and_another_start_begin_a_new_file(tmp_path: Path) -> None:
    it = recorder(tmp_path)
    it.record("m", 0.0, 1000.0, FACTS, (), count)
    it.describe(Vocabulary(("slo", "second"), {"m": ("a", "b")}, ("high",)))
    it.record("m", 1.0, 1001.0, FACTS, (), count)
    assert [rows(tmp_path / name) for name in ("m.csv", "m.csv.1")] == [1, 1]
    recorder(tmp_path).record("m", 0.0, 1002.0, FACTS, (), count)
    assert rows(tmp_path / "m.csv.2") == 1


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    it = recorder(tmp_path / "file")
    for second in range(3):
        it.record("m", float(second), 1000.0 + second, FACTS, (), count)
    assert capsys.readouterr().out.count("trace not written") == 1
