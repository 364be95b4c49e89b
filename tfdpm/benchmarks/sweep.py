"""The loop that all benchmarks share: every method on every data set under every seed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData, draw_points, read_labelled, thin_classes
from tfdpm.benchmarks.records import Record, summarize, write_results
from tfdpm.progress.display import ProgressDisplay

# A data set and a seed -> one record or several.
Method = Callable[[Any, int], "Record | list[Record]"]

_QUICK_POINTS = 300


@dataclass(frozen=True)
class Sweep:
    """The files, seeds and output of a benchmark."""

    data: Sequence[str | Path] = ()  # .npz files with arrays x and y
    out: str | Path = "bench.json"  # written after every record
    seed: int = 0  # the first random seed; the others follow it
    seeds: int = 1
    max_points: int | None = None  # that are drawn of each data set at most; None for all
    imbalanced: bool = False  # whether thinned versions of MNIST, USPS and Fashion-MNIST are added
    normalize_rows: bool = False  # whether points have unit length, for all methods
    threads: int = 1  # and cores, of whatever is timed
    quick: bool = False  # whether one seed and 300 points are enough, for a trial
    resume: bool = False  # whether records that the JSON file holds are not measured again

    def __post_init__(self):
        checks.integer(self.seeds, "--seeds", minimum=1)

    @property
    def seed_range(self) -> range:
        """The seeds that are run."""
        return range(self.seed, self.seed + (1 if self.quick else self.seeds))

    def read_rows(self) -> list[LabelledData]:
        """Reads the files as points `[N, D]` float32, thinned and subsampled as asked."""
        sets = [each.as_rows(normalize=self.normalize_rows) for each in read_labelled(self.data)]
        if self.imbalanced:
            sets += [thin_classes(each, self.seed) for each in sets]
        return self.draw_points(sets)

    def read_images(self) -> list[LabelledData]:
        """Reads the files in their own shape and dtype, subsampled as asked."""
        return self.draw_points(read_labelled(self.data))

    def draw_points(self, sets: Iterable[LabelledData]) -> list[LabelledData]:
        """Draws at most `max_points` of each data set."""
        most = _QUICK_POINTS if self.quick else self.max_points
        return [draw_points(each, most, self.seed) for each in sets]

    def measure(
        self,
        results: Record,
        sets: Iterable[Any],
        methods: Iterable[Method],
        *,
        key: str = "records",
        group_by: Sequence[str] = (),
        display: ProgressDisplay | None = None,
    ) -> Record:
        """Runs every method on every data set under every seed.

        Args:
            results: results so far; the new records are added to them.
            sets: data sets, the outermost loop.
            methods: functions of a data set and a seed, the innermost loop. Those that are resumed
                are partial, with the name of the last of their records as their `method`.
            key: name of the list in `results` that the records are added to.
            group_by: keys whose groups are averaged in `results["summary"]`; none for no summary.
            display: what counts the runs and tells each before it begins; `None` for none.
        Returns:
            `results`, as they were last written.
        """
        records = results.setdefault(key, [])
        done = {(each["data"], each["method"], each["seed"]) for each in records}
        display = display or ProgressDisplay(verbose=0)
        for data, seed, method in itertools.product(sets, self.seed_range, methods):
            named = getattr(method, "keywords", {}).get("method")
            if self.resume and (data.name, named, seed) in done:
                display.skip(1)
                continue
            if named:
                told = f"{data.name}: {named}, seed {seed}"
                display.name_stage(told)
                display.report(f"{display.done + 1}/{display.total} {told}")
            made = method(data, seed)
            records += made if isinstance(made, list) else [made]
            if group_by:
                results["summary"] = summarize(records, *group_by)
            self.write(results)
            display.step()
        return results

    def take_up(self, results: Record) -> Record:
        """Returns the results with the records of the JSON file, if they are to be kept.

        Raises:
            ValueError: if the file is of other settings than those in `results`.
        """
        if not self.resume or not Path(self.out).is_file():
            return results
        before = json.loads(Path(self.out).read_text())
        for name, value in results.items():
            if before.get(name) != value:
                got = f"{self.out} with {name} {before.get(name)!r}"
                checks.fail("--resume", got, f"a file with {value!r}")
        return {**results, "records": before["records"]}

    def write(self, results: Record) -> None:
        """Writes the results to the JSON file."""
        write_results(self.out, results)
