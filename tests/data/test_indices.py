"""Climate indices from text files, in each of the forms in use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.errors import DataError
from data.indices import read_index, read_indices

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "index.txt"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        "2004  2 28  0.365\n2004  3  1 -1.096\n2004  3  2     NA\n",
        "2004  2 28  0.365\n2004  3  1 -1.096\n2004  3  2*******\n",
        "2004  2 28  0.365\n2004  3  1 -1.096\n2004  3  2\n",
        "2004 2 28 0.365\n2004 3 1 -1.096\n2004 3 2 -99.99\n",
        "# made by hand\n\ndate,nao\n2004-02-28,0.365\n2004-03-01, -1.096\n2004-03-02,\n",
        "2004-03-02,nan\n2004-03-01,-1.096\n2004-02-28,0.365\n",
    ],
)
def test_daily_values_in_columns_or_with_commas(write: Write, text: str) -> None:
    index = read_index("nao", write(text))
    expected = pd.Series(
        [0.365, -1.096, np.nan],
        pd.DatetimeIndex(["2004-02-28", "2004-03-01", "2004-03-02"], name="time"),
        name="nao",
    )
    pd.testing.assert_series_equal(index, expected, check_index_type=False, check_freq=False)


def test_columns_that_touch_are_told_by_their_width(write: Write) -> None:
    index = read_index("nao", write("1950 12 31 -0.416\n1951  1  1-10.616\n1951 10 12 12.345\n"))
    assert index.tolist() == [-0.416, -10.616, 12.345]
    assert index.index.strftime("%Y-%m-%d").tolist() == ["1950-12-31", "1951-01-01", "1951-10-12"]


TABLE = " 1870  -1.00 -1.20 -0.83 -0.81 -1.27 -1.08 -1.04 -0.88 -0.53 -0.92 -0.79 -0.79\n"
LAST = " 1871   0.51" + " -99.99" * 11


@pytest.mark.parametrize(
    "text",
    [TABLE + LAST, TABLE + LAST + "\n", f" 1870 1871\n{TABLE}{LAST}\n  -99.99\nNina34\n http of nobody 12\n"],
)
def test_a_year_and_twelve_values_a_line(write: Write, text: str) -> None:
    index = read_index("nino34", write(text))
    assert len(index) == 24
    assert index["1870-12-01"] == -0.79
    assert index["1871-01-01"] == 0.51
    assert index["1871-02-01":].isna().all()
    assert (index.index.day == 1).all()


def test_monthly_csv_keeps_its_dates(write: Write) -> None:
    index = read_index("amo", write("month,value\n2001-01-15,1\n2001-02-15,2e-1\n"))
    assert index.to_dict() == {pd.Timestamp("2001-01-15"): 1.0, pd.Timestamp("2001-02-15"): 0.2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no line of data: give"),
        ("date,value\n", "has no line of data"),
        (
            "2001  1  1  0.1\n2001-01-02 0.2\n",
            r"line 2 is not year month day value, as the first is: '2001-01-02 0\.2'",
        ),
        ("2001  1  1  0.1\n2001  2 30  0.2\n", "line 2 has no such date as '2001-02-30'"),
        ("2001  1  1  0.1\n2001  1  1  0.2\n", "line 2 states 2001-01-01 a second time"),
        ("2001  1  1  0.1\n2001  1  2  warm\n", "line 2 has 'warm', which is not a number"),
        ("2001  1  1     NA\n2001  1  2     NA\n", "has no value that is a number"),
        (TABLE + " 1871  0.1 0.2\n", "line 2 is not a year and twelve values: '1871  0.1 0.2'"),
        (TABLE + LAST.replace("0.51", "o.51"), "line 2 has 'o.51', which is not a number"),
        ("date,a,b\n2001-01-01,1,2\n", "line 1 has 3 fields, not date,value"),
        ("date,a\n01.02.2001,1\n", "line 2 has no such date as '01.02.2001'"),
        ("hello world\n", "line 1 is not a year and twelve values"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(write: Write, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_indices({"nao": str(write(text))})
    message = str(caught.value)
    assert message.startswith("dataset.indices.nao: ")
    assert "index.txt" in message
    assert "\n" not in message
    assert message.endswith(".")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.indices\.nao: .*none\.txt cannot be read .*No such file"):
        read_index("nao", tmp_path / "none.txt")
    (tmp_path / "x.txt").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="cannot be read"):
        read_index("nao", tmp_path / "x.txt")


@pytest.mark.parametrize("setting", ["nao.txt", 5, {"nao": 3}])
def test_a_setting_that_is_no_mapping_of_files_is_refused(setting: object) -> None:
    with pytest.raises(
        DataError, match=r"dataset\.indices must be files by name, as \{nao: a\.txt\}\. Received"
    ):
        read_indices(setting)  # type: ignore[arg-type]


def test_no_indices_are_none() -> None:
    assert read_indices(None) == {}


def test_the_published_nao(real_data: Path) -> None:
    nao = read_index("nao", real_data / "indices/norm.daily.nao.index.b500101.current.ascii")
    assert len(nao) == 26249
    assert nao.index[[0, -1]].strftime("%Y-%m-%d").tolist() == ["1950-01-01", "2021-11-30"]
    assert nao[nao.isna()].index.strftime("%Y-%m-%d").tolist() == ["2006-10-26", "2007-01-26"]
    assert not ((nao.index.month == 2) & (nao.index.day == 29)).any()
    assert nao["1950-01-03"] == -0.416


def test_the_published_nino34(real_data: Path) -> None:
    nino = read_index("nino34", real_data / "indices/nino34.long.anom.data.txt")
    assert len(nino) == 150 * 12
    assert nino.isna().sum() == 11
    assert nino.last_valid_index() == pd.Timestamp("2019-01-01")
    assert nino["1997-11-01"] > 2
