"""Known labels from CSV files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.errors import DataError
from data.labels import read_labels


@pytest.fixture
def csv(tmp_path):
    def csv(text: str):
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return csv


def test_one_column_of_labels_by_day(csv):
    labels = read_labels(csv("date,regime\n2000-01-02,3\n2000-01-01 11:30,1\n2000-01-05,0\n"))
    assert labels.to_dict() == {
        pd.Timestamp("2000-01-01"): 1, pd.Timestamp("2000-01-02"): 3, pd.Timestamp("2000-01-05"): 0
    }  # fmt: skip
    assert labels.dtype == np.int64
    assert labels.name == "regime"
    assert labels.index.is_monotonic_increasing


@pytest.mark.parametrize(
    "text",
    ["2000-01-01,4\n2000-01-02,5\n", "date;label\n2000-01-01;4\n2000-01-02;5\n",
     "label\tdate\n4\t2000-01-01\n5\t2000-01-02\n",
     "# made by hand\ndate, label\n2000-01-01, 4\n\n2000-01-02, 5.0\n"],
)  # fmt: skip
def test_common_forms_are_read(csv, text):
    labels = read_labels(csv(text))
    assert labels.tolist() == [4, 5]
    assert labels.index.tolist() == [pd.Timestamp("2000-01-01"), pd.Timestamp("2000-01-02")]


def test_words_become_numbers_and_are_kept(csv):
    labels = read_labels(csv("date,regime\n2000-01-01,NAO+\n2000-01-02,AR\n2000-01-03,NAO+\n"))
    assert labels.tolist() == [1, 0, 1]
    assert labels.attrs["names"] == {0: "AR", 1: "NAO+"}


def test_days_without_a_label_are_left_out(csv):
    labels = read_labels(csv("date,a\n2000-01-01,1\n2000-01-02,\n2000-01-03,2\n"))
    assert labels.index.day.tolist() == [1, 3]


MANY = "date,a,b,c\n" + "".join(f"2000-01-{d:02d},{d % 2},{d % 3},{d % 3 + 1}\n" for d in range(1, 13))


def test_of_several_columns_the_named_one_or_the_only_one_with_k_labels(csv):
    assert read_labels(csv(MANY), column="c").name == "c"
    assert read_labels(csv(MANY), k=2).name == "a"


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "is empty: give"),
        ("date,label\n", {}, "has no line of data"),
        ("date\n2000-01-01\n", {}, "has one column, and needs two"),
        ("date,label\n2000-01-01,1\n01.02.2000,2\n", {}, "1 dates that cannot be read, the first '01.02.2000' in"),
        ("date,label\n2000-01-01,1\n,2\n", {}, "1 dates that cannot be read, the first '' in row 2"),
        ("date,label\n2000-01-01,1\n2000-01-01,2\n", {}, "1 repeated dates, the first 2000-01-01"),
        ("date,label\n2000-01-01 00:00,1\n2000-01-01 06:00,2\n", {}, "1 repeated dates"),
        ("date,label\n2000-01-01,0.5\n", {}, "holds 0.5, which is no label"),
        ("date,label\n2000-01-01,\n", {}, "column label is empty"),
        ("date,label\n2000-01-01,1,9,9\n", {}, "cannot be read as CSV"),
        (MANY, {}, r"several columns of labels, a \(2 labels\), b \(3 labels\), c \(3 labels\): choose"),
        (MANY, {"k": 3}, "and b and c have 3 labels: choose one by dataset.label_column"),
        (MANY, {"k": 7}, "and none has 7 labels"),
        (MANY, {"column": "d"}, "dataset.label_column: .* has no column 'd': it has a"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused(csv, text, options, words):
    with pytest.raises(DataError, match=words):
        read_labels(csv(text), **options)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.labels: .*none\.csv cannot be read .*No such file"):
        read_labels(tmp_path / "none.csv")


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_labels(tmp_path / "x.csv")


def test_the_published_regimes(real_data):
    path = real_data / "regime_labels/dorrington_era5_extended/daily_regimes_DJF_1950-12_2006-12.csv"
    labels = read_labels(path, k=7)
    assert labels.name == "ccr_k7"
    assert len(labels) == 4981
    assert labels["2000":"2006"].size == 630
    assert sorted(labels.unique()) == list(range(7))
    assert set(labels.index.month) == {12, 1, 2}
    assert labels.loc["1950-12-04"] == 4
    assert read_labels(path, column="gjr_k3").nunique() == 3
