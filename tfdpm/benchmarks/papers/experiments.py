"""Runs what the data at hand permit of an experiment, and lays it beside what is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData, fewer
from tfdpm.benchmarks.papers.image_sets import find_images
from tfdpm.benchmarks.papers.picture import draw
from tfdpm.benchmarks.papers.printed import PRINTED, Printed, printed_for
from tfdpm.benchmarks.papers.shown import show
from tfdpm.benchmarks.papers.sources import find
from tfdpm.benchmarks.peers import PEERS
from tfdpm.benchmarks.quality.ablation import ABLATIONS
from tfdpm.benchmarks.records import fit_record, measured, write
from tfdpm.benchmarks.schedule import shortened
from tfdpm.config import DeepDPMConfig

__all__ = ["EXPERIMENTS", "run"]

_PEERS = {"K-means": "kmeans", "GMM": "gmm", "DBSCAN": "dbscan"}
_FIELDS = {"NMI": "nmi", "ARI": "ari", "ACC": "acc", "K": "clusters", "top-1": "top1_percent"}
_START_K = (3, 10, 30)  # of the ablations, [DeepDPM] Table 6
_ROBUSTNESS_K = (1, 3, 10, 20, 30)
# The assumed K of Figure 1, supplement 1.3.
_ASSUMED_K = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 150, 200, 250, 300, 350)

Record = dict[str, Any]


class Settings(NamedTuple):
    """How an experiment is run.

    Attributes:
        config: of DeepDPM.
        name: of the configuration.
        seeds: of the runs.
        peers: whether scikit-learn's versions of the printed methods run too.
        epochs: most epochs of a fit, or `None`.
    """

    config: DeepDPMConfig
    name: str
    seeds: range
    peers: bool
    epochs: int | None


def _find(name: str, folder: Path, seed: int, max_points: int | None) -> LabelledData | str:
    found = find(name, folder, seed)
    return found if isinstance(found, str) else fewer(found, max_points, seed)


class Experiment(NamedTuple):
    """A table or figure of the paper.

    Attributes:
        title: what it shows.
        data: names of its data sets.
        metrics: its columns.
        runs: makes records, each with the name of its row as `method`.
        by_k: whether it shows a curve over the K that methods are given.
        find: data of a name, from a folder, or what is missing; then a seed and how many at most.
    """

    title: str
    data: tuple[str, ...]
    metrics: tuple[str, ...]
    runs: Callable[[Any, Settings], Iterator[Record]]
    by_k: bool = False
    find: Callable[[str, Path, int, int | None], Any] = _find


def _plain(data: LabelledData, settings: Settings) -> Iterator[Record]:
    """DeepDPM, and where asked the peers."""
    for seed in settings.seeds:
        yield fit_record(data, seed, method="DeepDPM", config=settings.config)
        for printed, name in _PEERS.items() if settings.peers else ():
            yield _peer(data, printed, name, data.true_k, seed)


def _peer(data: LabelledData, printed: str, name: str, assumed_k: int, seed: int) -> Record:
    return measured(data, printed, seed, lambda: PEERS[name](data.x, assumed_k, seed))


def _ablations(data: LabelledData, settings: Settings) -> Iterator[Record]:
    for seed in settings.seeds:
        for start in _START_K:
            for name, changes in ABLATIONS.items():
                config = settings.config.replace(**changes)
                method = f"{name}, from K {start}"
                yield fit_record(data, seed, method=method, config=config, initial_clusters=start)


def _from_each_k(data: LabelledData, settings: Settings) -> Iterator[Record]:
    for seed in settings.seeds:
        for start in _ROBUSTNESS_K:
            method = f"from K {start}"
            yield fit_record(
                data, seed, method=method, config=settings.config, initial_clusters=start
            )


def _assumed(data: LabelledData, settings: Settings) -> Iterator[Record]:
    """DeepDPM, and K-means under each assumed K."""
    for seed in settings.seeds:
        yield fit_record(data, seed, method="DeepDPM*", config=settings.config, initial_clusters=10)
        for assumed in _ASSUMED_K:
            if assumed < len(data.x):
                yield _peer(data, f"K-means with K {assumed}", "kmeans", assumed, seed)


def _joint(data: LabelledData, settings: Settings) -> Iterator[Record]:
    """Features and clusters together; STL-10 comes as features already."""
    if data.name == "stl10":
        yield from _plain(data, settings)
        return
    import tfdpm

    preset = {"mnist images": "mnist", "reuters10k": "reuters10k"}[data.name]
    config = "default" if settings.name == "default" else preset
    for seed in settings.seeds:

        def cluster(seed=seed):
            model = tfdpm.JointClustering(config, seed=seed)
            model.fit(data.x, verbose=0)
            return model.predict_labels(data.x)

        yield measured(data, "DeepDPM", seed, cluster)


def _swav(*presets: str) -> Callable[[Any, Settings], Iterator[Record]]:
    """Published runs of SwAV."""

    def runs(data, settings: Settings) -> Iterator[Record]:
        from tfdpm.benchmarks.papers.swav import runs_of

        for seed in settings.seeds:
            yield from runs_of(data, presets, seed=seed, epochs=settings.epochs)

    return runs


def _swav_experiment(title: str, *presets: str) -> Experiment:
    data = ("imagenet", "cifar10", "mnist images")
    return Experiment(title, data, ("top-1",), _swav(*presets), find=find_images)


_CLASSIC = ("mnist", "usps", "fashion")
_THINNED = tuple(f"{name} imbalanced" for name in _CLASSIC)
_IMAGENET = ("imagenet50", "imagenet50 imbalanced")
_SCORES = ("NMI", "ARI", "ACC")

EXPERIMENTS: dict[str, Experiment] = {
    "table1": Experiment("classical methods", (*_CLASSIC, *_THINNED), _SCORES, _plain),
    "table2": Experiment("inferred K", _CLASSIC, ("K",), _plain),
    "table3": Experiment(
        "deep nonparametric methods", ("mnist images", "stl10", "reuters10k"), _SCORES, _joint
    ),
    "table4": Experiment("ImageNet-50", _IMAGENET, _SCORES, _plain),
    "table5": Experiment("inferred K of ImageNet-50", _IMAGENET, ("K",), _plain),
    "table6": Experiment("ablations, accuracy", ("fashion",), ("ACC",), _ablations),
    "figure1": Experiment("what a wrong K costs", _IMAGENET, ("ACC",), _assumed, True),
    "figure4": Experiment(
        "robustness to the initial K", _CLASSIC, ("K", "ACC"), _from_each_k, True
    ),
    "supplement1": Experiment("inferred K, imbalanced", _THINNED, ("K",), _plain),
    "supplement2": Experiment("ablations", ("fashion",), ("NMI", "ARI", "K"), _ablations),
    "swav-figure2": _swav_experiment(
        "SwAV by width", "800ep", "RN50w2_400ep", "RN50w4_400ep", "RN50w5_400ep"
    ),
    "swav-figure3": _swav_experiment(
        "SwAV by epochs and crops", "100ep", "200ep", "400ep", "800ep", "400ep_2x224"
    ),
    "swav-table3": _swav_experiment(
        "SwAV in small batches", "200ep_bs256_2x160_4x96", "200ep_bs256", "400ep_bs256"
    ),
}


def run(
    name: str,
    folder: str | Path,
    *,
    out: str | Path | None = None,
    configuration: str = "default",
    seed: int = 0,
    seeds: int = 1,
    peers: bool = False,
    epochs: int | None = None,
    max_points: int | None = None,
) -> dict[str, Any]:
    """Runs an experiment on the data in a folder, prints ours beside the paper's, writes JSON.

    Args:
        name: of `EXPERIMENTS`.
        folder: with the files that `sources.SOURCES` names.
        out: JSON file; `None` for `reproduce_NAME.json`. The picture lies beside it.
        configuration: "default", "paper" or "official".
        seed: the first seed; the others follow it.
        seeds: how many.
        peers: whether scikit-learn's K-means, GMM and DBSCAN run too.
        epochs: most epochs of each fit; fewer than the configuration's bring its schedule forward.
        max_points: thins each data set; `None` for all points.

    Returns:
        What was written: `rows` (ours and printed), `records`, `missing`.

    Raises:
        FileNotFoundError: if none of the data sets is there; it names every missing file.
    """
    checks.one_of(name, "NAME", EXPERIMENTS)
    checks.integer(seeds, "--seeds", minimum=1)
    config = DeepDPMConfig.named(configuration)
    if epochs is not None:
        config = shortened(config, epochs)
    settings = Settings(config, configuration, range(seed, seed + seeds), peers, epochs)
    experiment = EXPERIMENTS[name]
    found = {
        data: experiment.find(data, Path(folder), seed, max_points) for data in experiment.data
    }
    missing = list(dict.fromkeys(each for each in found.values() if isinstance(each, str)))
    present = [each for each in found.values() if not isinstance(each, str)]
    if not present:
        checks.fail("--data", "; ".join(missing), "at least one of these files", FileNotFoundError)
    out = Path(out or f"reproduce_{name}.json")
    results: dict[str, Any] = {"experiment": name, "configuration": configuration}
    results |= {"missing": missing, "records": [], "rows": []}
    for data in present:
        results["records"] += list(experiment.runs(data, settings))
        results["rows"] = _rows(name, experiment, results["records"])
        write(out, results)
    title = f"{name}: {experiment.title}, configuration {configuration}, {seeds} run(s)"
    show(title, experiment.metrics, results)
    picture = draw(results["rows"], title, out.with_suffix(".png"), by_k=experiment.by_k)
    results["picture"] = None if picture is None else str(picture)
    write(out, results)
    return results


def _rows(name: str, experiment: Experiment, records: list[Record]) -> list[Record]:
    """One row for each cell: ours with mean and standard deviation, and the printed number."""
    cells = {(each["data"], each["method"]): None for each in records}
    for printed in PRINTED:
        # What is printed of ImageNet is shown without it: few will have it.
        known = {"imagenet", *(each["data"] for each in records)}
        if printed.experiment == name and printed.data in known:
            cells.setdefault((printed.data, printed.method))
    rows = []
    for data, method in sorted(cells, key=lambda cell: experiment.data.index(cell[0])):
        own = [each for each in records if (each["data"], each["method"]) == (data, method)]
        for metric in experiment.metrics:
            printed = printed_for(name, data, method, metric)
            values = [each[_FIELDS[metric]] for each in own]
            ours = {"mean": float(np.mean(values)), "std": float(np.std(values))} if own else None
            if own or printed:
                rows.append(_row(data, method, metric, ours, len(own), printed))
    return rows


def _row(data, method, metric, ours, runs: int, printed: Printed | None) -> Record:
    told = None if printed is None else {"mean": printed.mean, "std": printed.std}
    return {
        "data": data,
        "method": method,
        "metric": metric,
        "ours": ours,
        "runs": runs,
        "printed": told,
        "source": "" if printed is None else printed.source,
        "remark": "" if printed is None else printed.remark,
    }
