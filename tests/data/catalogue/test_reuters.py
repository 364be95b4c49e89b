"""Reuters-10k from small files in RCV1-v2's form, against tf-idf computed by hand."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest

from tfdpm.data import load
from tfdpm.data.catalogue import reuters

TOPICS = """CCAT 2286 1
C15 2286 1
GCAT 2287 1
MCAT 2288 1
ECAT 2288 1
ECAT 2290 1
E11 2290 1
C17 2291 1
MCAT 2292 1
"""
TRAIN = """.I 2286
.W
profit profit share bank
bank share

.I 2287
.W
vote minist vote

.I 2288
.W
bond bank
"""
TEST = """.I 2290
.W
inflat bank profit

.I 2291
.W
profit

.I 2292
.W
bond bond bond
yield
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "reuters10k"
    folder.mkdir()
    (folder / "rcv1-v2.topics.qrels").write_text(TOPICS)
    with gzip.open(folder / "lyrl2004_tokens_train.dat.gz", "wt") as file:
        file.write(TRAIN)
    (folder / "lyrl2004_tokens_test_pt0.dat").write_text(TEST)
    for part in (1, 2, 3):
        (folder / f"lyrl2004_tokens_test_pt{part}.dat").write_text("")
    return tmp_path


def test_only_articles_of_one_root_topic_are_kept(folder) -> None:
    topics = reuters.read_single_topics(folder / "reuters10k" / "rcv1-v2.topics.qrels")
    assert topics == {2286: 0, 2287: 1, 2290: 3, 2292: 2}
    x, y = load("reuters10k", data_dir=folder)
    assert x.shape == (4, 8)
    assert sorted(y) == [0, 1, 2, 3]


def test_features_are_logarithmic_tf_idf_of_length_sqrt_of_words(folder) -> None:
    x, y = load("reuters10k", data_dir=folder)
    # Words in alphabetic order: bank bond inflat minist profit share vote yield.
    counts = {
        0: {"bank": 2, "profit": 2, "share": 2},
        1: {"minist": 1, "vote": 2},
        3: {"bank": 1, "inflat": 1, "profit": 1},
        2: {"bond": 3, "yield": 1},
    }
    words = sorted({word for row in counts.values() for word in row})
    for label, row in counts.items():
        expected = np.zeros(8)
        for word, count in row.items():
            containing = sum(word in other for other in counts.values())
            idf = math.log((1 + 4) / (1 + containing)) + 1
            expected[words.index(word)] = (1 + math.log(count)) * idf
        expected *= math.sqrt(8) / np.linalg.norm(expected)
        np.testing.assert_allclose(x[y == label][0], expected, rtol=1e-5)


def test_words_are_the_most_frequent_and_articles_a_seeded_sample(folder, monkeypatch) -> None:
    monkeypatch.setattr(reuters, "_NUM_WORDS", 2)
    monkeypatch.setattr(reuters, "_NUM_ARTICLES", 3)
    x, y = load("reuters10k", data_dir=folder, seed=1)
    assert x.shape == (3, 2)
    again = load("reuters10k", data_dir=folder, seed=1)
    np.testing.assert_array_equal(x, again[0])
    np.testing.assert_array_equal(y, again[1])
    chosen = {tuple(load("reuters10k", data_dir=folder, seed=seed)[1]) for seed in range(10)}
    assert len(chosen) > 3


def test_documents_are_read_whole(folder) -> None:
    path = folder / "reuters10k" / "lyrl2004_tokens_train.dat.gz"
    assert list(reuters.read_documents(path))[0] == (2286, "profit profit share bank bank share ")
    assert [number for number, _ in reuters.read_documents(path)] == [2286, 2287, 2288]


def test_missing_and_foreign_files_are_named(folder) -> None:
    (folder / "reuters10k" / "lyrl2004_tokens_test_pt2.dat").unlink()
    with pytest.raises(FileNotFoundError) as error:
        load("reuters10k", data_dir=folder)
    assert "test_pt2" in str(error.value)
    assert "lewis04a" in str(error.value)
    assert "test_pt1" not in str(error.value)
    with pytest.raises(ValueError, match=r"^`split`: got 'test', wanted None"):
        load("reuters10k", "test", folder)
    (folder / "reuters10k" / "lyrl2004_tokens_test_pt2.dat").write_text("words\n")
    with pytest.raises(ValueError, match=r"that begins 'words"):
        load("reuters10k", data_dir=folder)
    (folder / "reuters10k" / "rcv1-v2.topics.qrels").write_text("CCAT no\n")
    with pytest.raises(ValueError, match=r"with line 'CCAT no"):
        load("reuters10k", data_dir=folder)
