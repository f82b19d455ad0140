"""Traces from files: Parquet holds what CSV does, and what cannot be read is refused in words."""

import sys
from pathlib import Path

import pytest

from sloctl.cli.traces import lines_of
from sloctl.policy.facts import fact_key
from sloctl.policy.trace import TraceError, read

CSV = 'at,offered_rate,gpu_throttled,variant,"offered(""low"")"\n1000.5,900.25,true,fp32,\n1001.5,,false,int8,3\n'


def test_parquet_is_read_as_the_same_trace(tmp_path: Path) -> None:
    csv = pytest.importorskip("pyarrow.csv")
    parquet = pytest.importorskip("pyarrow.parquet")
    plain, packed = tmp_path / "m.csv", tmp_path / "m.parquet"
    plain.write_text(CSV)
    parquet.write_table(csv.read_csv(plain), packed)
    read_back = []
    for path in (plain, packed):
        with lines_of(path) as lines:
            times, rows = read(lines, 10)
        read_back.append((times, [{key: repr(value) for key, value in row.items()} for row in rows]))
    assert read_back[0] == read_back[1]
    assert read_back[0][1][0][fact_key("gpu_throttled")] == "True"


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "m.parquet"
    path.write_text(CSV)
    with pytest.raises(TraceError, match=r"m\.parquet: not readable as Parquet"), lines_of(path) as lines:
        read(lines, 10)


def test_without_pyarrow_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "m.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(TraceError, match=r"m\.parquet: .*pip install 'sloctl\[parquet\]'"), lines_of(path) as lines:
        read(lines, 10)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"at,offered_rate\n1,\xff\n")
    with pytest.raises(TraceError, match=r"m\.csv: not UTF-8"), lines_of(path) as lines:
        read(lines, 10)
