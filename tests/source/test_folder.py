"""A folder of Parquet and CSV files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kincast.errors import SourceError
from kincast.source.infer import infer_schema
from kincast.source.open import open_source


def stored(folder: Path, table: str) -> dict[str, str]:
    return {column.name: column.stored for column in open_source(str(folder)).inspect().table(table).columns}


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_parquet_csv_and_gzip_side_by_side(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "one.parquet")
    write(tmp_path / "two.csv", "a,b", "1,x")
    (tmp_path / "three.csv.gz").write_bytes(gzip.compress(b"a,b\n1,x\n2,y\n"))
    write(tmp_path / "README.md", "not a table")
    source = open_source(str(tmp_path))
    assert [table.name for table in source.inspect()] == ["one", "three", "two"]
    assert source.scan("three").read_all().num_rows == 2


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["1", "-2", "+3"], "BIGINT"),
        (["1", "2.5", "3e2"], "DOUBLE"),
        (["1", "007", "3"], "VARCHAR"),  # a leading zero is part of a code
        (["12345678901234567890123", "2", "3"], "DOUBLE"),
        (["true", "FALSE", "true"], "BOOLEAN"),
        (["2024-01-31", "2024-02-01", "1999-12-31"], "DATE"),
        (["2024-01-31 10:00:00", "2024-02-01T00:00:00Z", "2024-02-01"], "TIMESTAMP"),
        (["10:00:00", "23:59", "0:01:02.5"], "TIME"),
        (["1", "x", "3"], "VARCHAR"),
        (["", "NA", r"\N"], "VARCHAR"),
        (["", "5", r"\N"], "BIGINT"),
    ],
)
def test_csv_types(tmp_path: Path, values: list[str], type_: str) -> None:
    write(tmp_path / "t.csv", "n,v", *(f"{i},{value}" for i, value in enumerate(values)))
    assert stored(tmp_path, "t")["v"] == type_


def test_types_are_those_of_the_whole_file(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "n,v", *(f"{i},{i}" for i in range(6000)), "6000,0.5")
    assert stored(tmp_path, "t") == {"n": "BIGINT", "v": "DOUBLE"}


def test_one_odd_value_among_hundreds_keeps_numbers_numbers_but_not_codes(tmp_path: Path) -> None:
    lines = [f"{i},{i}" for i in range(300)]
    write(tmp_path / "t.csv", "amount,item_code", *lines, "oops,A17")
    assert stored(tmp_path, "t") == {"amount": "BIGINT", "item_code": "VARCHAR"}


def test_nulls_quotes_byte_order_mark_and_short_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffid,text,x\n1,"a ""b"",\nc",1\n2,\\N,NA\n3\n'.encode())
    rows = open_source(str(tmp_path)).scan("t").read_all().to_pylist()
    assert rows == [
        {"id": "1", "text": 'a "b",\nc', "x": "1"},
        {"id": "2", "text": None, "x": None},
        {"id": "3", "text": None, "x": None},
    ]


def test_cells_beyond_the_header_are_not_lost(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "a,b", "1,2", "3,4,5")
    rows = open_source(str(tmp_path)).scan("t").read_all()
    assert rows.num_columns == 3
    assert rows.to_pylist()[1]["a"] == "3"
    assert "5" in rows.to_pylist()[1].values()


def test_names_that_differ_in_case_only(tmp_path: Path) -> None:
    write(tmp_path / "T.csv", "a,A", "1,2")
    write(tmp_path / "t.csv", "x", "1")
    source = open_source(str(tmp_path))
    assert [table.name for table in source.inspect()] == ["T", "t_1"]
    assert source.scan("T").read_all().to_pylist() == [{"a": "1", "A_1": "2"}]
    assert source.scan("t_1").read_all().to_pylist() == [{"x": "1"}]


def test_odd_folder_names(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]*?'x"
    folder.mkdir()
    write(folder / "two words.csv", "a", "1")
    pq.write_table(pa.table({"a": [1]}), folder / "p.q.parquet")
    source = open_source(str(folder))
    assert [table.name for table in source.inspect()] == ["p.q", "two words"]
    assert source.scan("two words").read_all().num_rows == source.scan("p.q").read_all().num_rows == 1


def test_not_utf8_says_where_and_how_to_convert(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,ok\n2,caf\xe9\n")
    with pytest.raises(SourceError, match="byte 0xe9 is not UTF-8") as caught:
        open_source(str(tmp_path)).inspect()
    assert str(caught.value).startswith(f"{tmp_path}/t.csv:3:")
    assert "iconv" in str(caught.value)


def test_not_utf8_behind_the_first_block(tmp_path: Path) -> None:
    filler = b"1,2\n" * 300_000  # the decoder reads blocks of one mebibyte
    (tmp_path / "t.csv").write_bytes(b"a,b\n" + filler + b"\xff,1\n")
    with pytest.raises(SourceError) as caught:
        open_source(str(tmp_path)).inspect()
    assert caught.value.where == f"{tmp_path}/t.csv:300002"


def test_a_folder_without_tables_and_a_table_that_is_there_twice(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the folder has no tables"):
        open_source(str(tmp_path)).inspect()
    write(tmp_path / "t.csv", "a", "1")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"table t is there twice: t.csv, t.parquet"):
        open_source(str(tmp_path)).inspect()


@pytest.mark.parametrize(("name", "content"), [("t.parquet", b"PAR1 no"), ("t.csv.gz", b"no gzip"), ("t.csv", b"")])
def test_broken_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        open_source(str(tmp_path)).inspect()
    assert str(tmp_path / name) in str(caught.value)


def test_write_refuses_names_that_leave_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "a", "1")
    for name in ("../x", ".hidden", "", "a\\b"):
        with pytest.raises(SourceError, match="cannot be the name of a file"):
            open_source(str(tmp_path)).write(name, pa.table({"a": [1]}))
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_header_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "id,created_at,x")
    source = open_source(str(tmp_path))
    assert infer_schema(source).schema.table("t").key == ("id",)
    assert source.scan("t").read_all().num_rows == 0
