"""The README's Python runs as it stands; the README is short, and its sentences are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PROSE = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_LINES = 150
MOST_WORDS = 25


def sentences(text: str) -> Iterator[str]:
    """The sentences of a Markdown page: of its paragraphs, list items and table cells."""
    text = re.sub(r"^ *```.*?^ *```", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"!?\[([^\[\]]*)\]\([^)]*\)", r"\1", text)  # a link counts as its words
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.)\s)|\|", text):
        yield from re.split(r"(?<=[.!?])\s+", " ".join(block.split()))


def long_sentences(text: str) -> list[str]:
    """The sentences of more than `MOST_WORDS` words."""
    return [each for each in sentences(text) if len(each.split()) > MOST_WORDS]


def test_every_python_block_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["model"].n_clusters == 5
    assert (tmp_path / "model.keras").exists()
    assert "Clusters: 5" in capsys.readouterr().out


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    "line",
    ["pip install . && tfdpm fit digits", "pip install '.[tests]' && python -m pytest"],
)
def test_readme_starts_users_and_contributors_with_one_line(line: str):
    assert line in README.read_text().splitlines()


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_sentence_is_long(page: Path) -> None:
    assert long_sentences(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("separator", [". ", "\n\n", "\n- ", " | "])
def test_sentences_end_where_readers_stop(separator: str) -> None:
    half = " ".join(["word"] * 20)
    assert long_sentences(f"{half}{separator}{half}.") == []
    assert len(long_sentences(f"{half} {half}.")) == 1


def test_blocks_of_code_and_addresses_do_not_count() -> None:
    words = " ".join(["word"] * 40)
    assert long_sentences(f"One [link]({words}).\n\n```sh\n{words}\n```\n") == []
