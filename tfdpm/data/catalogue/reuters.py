"""Reuters-10k: news articles of RCV1-v2 in four topics, as tf-idf of 2,000 words."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data.catalogue.download import RemoteFile, find_files

TOPICS = ("CCAT", "GCAT", "MCAT", "ECAT")  # corporate, government, markets, economics: 0 to 3

_NUM_ARTICLES = 10_000
_NUM_WORDS = 2_000
_URL = "http://www.ai.mit.edu/projects/jmlr/papers/volume5/lewis04a/"
_PARTS = ("test_pt0", "test_pt1", "test_pt2", "test_pt3", "train")
_PLACES = {
    "rcv1-v2.topics.qrels": "a08-topic-qrels",
    **{f"lyrl2004_tokens_{part}.dat": "a12-token-files" for part in _PARTS},
}
FILES = tuple(
    RemoteFile((f"{name}.gz", name), f"{_URL}{place}/{name}.gz") for name, place in _PLACES.items()
)


def load(
    folder: Path, *, download: bool = False, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Reads articles `[10000, 2000]` float32 and topics `[10000]`, positions in `TOPICS`.

    As in [DEC], articles with exactly one of the four root topics are kept. Features are tf-idf
    with logarithmic term frequency of the 2,000 most frequent words, of length `sqrt(2000)`.
    Where there are fewer than 10,000 articles, all are returned. The 320 MB are fetched by hand:
    their authors give neither https nor checksums.
    """
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    seed = checks.integer(seed, "seed", minimum=0)
    topics_path, *token_paths = find_files(FILES, folder, download=download, name="reuters10k")
    topics = read_single_topics(topics_path)
    labels: list[int] = []

    def articles() -> Iterator[str]:
        for path in token_paths:
            for number, words in read_documents(path):
                if number in topics:
                    labels.append(topics[number])
                    yield words

    try:
        counts = CountVectorizer(max_features=_NUM_WORDS).fit_transform(articles())
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        checks.fail("data", f"no article of one topic in {folder}", "RCV1-v2")
    tfidf = TfidfTransformer(norm="l2", sublinear_tf=True).fit_transform(counts)
    order = np.random.default_rng(seed).permutation(len(labels))[:_NUM_ARTICLES]
    x = tfidf[order].toarray() * np.sqrt(tfidf.shape[1])
    return x.astype(np.float32), np.array(labels, np.int64)[order]


def read_single_topics(path: Path) -> dict[int, int]:
    """Returns the topic by article number for articles with exactly one of `TOPICS`."""
    found: dict[int, set[int]] = {}
    with _open(path) as lines:
        for line in lines:
            cells = line.split()
            if len(cells) < 2 or not cells[1].isdecimal():
                checks.fail("data", f"{str(path)!r} with line {line!r}", "topic, article number, 1")
            if cells[0] in TOPICS:
                found.setdefault(int(cells[1]), set()).add(TOPICS.index(cells[0]))
    return {number: topics.pop() for number, topics in found.items() if len(topics) == 1}


def read_documents(path: Path) -> Iterator[tuple[int, str]]:
    """Yields article numbers, which follow `.I`, and the stemmed words, which follow `.W`."""
    number, words = None, []
    with _open(path) as lines:
        for line in lines:
            if line.startswith(".I "):
                if number is not None:
                    yield number, " ".join(words)
                number, words = int(line[3:]), []
            elif number is None:
                checks.fail("data", f"{str(path)!r} that begins {line!r}", "a line .I NUMBER")
            elif not line.startswith(".W"):
                words.append(line.strip())
    if number is not None:
        yield number, " ".join(words)


def _open(path: Path):
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="latin-1")
