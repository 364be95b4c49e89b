"""Tables of records and summaries."""

from __future__ import annotations

from tfdpm.benchmarks import tables


def test_table_is_printed_whole_where_there_is_no_terminal(capsys) -> None:
    tables.print_table("T", ["name"] * 8, [["a-long-value-here", *[1234.5678] * 7]])
    printed = capsys.readouterr().out
    assert "a-long-value-here" in printed
    assert printed.count("1.23e+03") == 7


def test_cells_are_formatted_by_key_and_missing_ones_are_empty(capsys) -> None:
    record = {"nmi": 0.12345, "clusters": 3, "x": 0.12345, "each": [1, 2]}
    columns = {"nmi": "NMI", "clusters": "K", "x": "X", "each": "E", "ari": "ARI"}
    tables.print_records("T", [record, {"nmi": {"mean": 2.0, "std": 1.0}}], columns)
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["0.123", "3", "0.123", "1", "2"] in lines
    assert ["2.000", "±", "1.000"] in lines
    assert tables.format_mean({"mean": 2.0, "std": 1.0}, 1) == "2.0 ± 1.0"


def test_scores_end_with_the_mean_over_data_sets_of_each_method(capsys) -> None:
    def row(data, method, value):
        keys = ("nmi", "ari", "acc", "clusters", "seconds", "cpu_seconds")
        scores = {key: {"mean": value, "std": 0.0} for key in keys}
        return {"data": data, "method": method, **scores, "each_clusters": [1]}

    rows = [row("a", "m", 0.25), row("a", "n", 0.5), row("b", "m", 0.75), row("b", "n", 0.5)]
    tables.print_scores("T", rows)
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["mean", "m", "0.500", "0.500", "0.500", "0.5", "0.5"] in lines
    assert sum(line[:1] == ["mean"] for line in lines) == 2
    tables.print_scores("T", rows[:2])
    assert "mean" not in capsys.readouterr().out
