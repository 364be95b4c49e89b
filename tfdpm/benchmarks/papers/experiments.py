"""Experiments of the papers: what each runs on the data at hand, beside the printed numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.papers.alternation import joint_config, measure_alternation, measure_joint
from tfdpm.benchmarks.papers.assumed_k import (
    ASSUMED_K,
    PARAMETRIC,
    list_assumed,
    measure_by_silhouette,
)
from tfdpm.benchmarks.papers.comparison_plot import plot_comparison, plot_epochs
from tfdpm.benchmarks.papers.comparison_table import print_comparison
from tfdpm.benchmarks.papers.data_files import (
    AT_HAND,
    SOURCES,
    THINNED,
    ImageFolders,
    download_sets,
    find_images,
    find_points,
)
from tfdpm.benchmarks.papers.printed import PRINTED, Printed, printed_for
from tfdpm.benchmarks.papers.swav_accuracy import (
    SMALL_EPOCHS,
    measure_published,
    measure_small,
)
from tfdpm.benchmarks.papers.transfer_accuracy import (
    find_transfer,
    measure_few_labels,
    measure_transfer,
)
from tfdpm.benchmarks.quality.ablation import ABLATIONS
from tfdpm.benchmarks.records import Record, measure_fit, measure_peer
from tfdpm.benchmarks.schedule import shorten_schedule
from tfdpm.benchmarks.sweep import Method, Sweep
from tfdpm.config import DeepDPMConfig
from tfdpm.features import METHODS
from tfdpm.progress.display import ProgressDisplay, ending_displays

_NONPARAMETRIC = {"DBSCAN": "dbscan", "DPM sampler": "sampler", "moVB": "movb"}
_PEERS = {"K-means": "kmeans", "GMM": "gmm", **_NONPARAMETRIC}
_FEW_LABELS = ("1 % top-1", "1 % top-5", "10 % top-1", "10 % top-5")
_KEYS = {
    **{"NMI": "nmi", "ARI": "ari", "ACC": "acc", "K": "clusters", "top-1": "top1_percent"},
    **{name: name for name in ("mAP", *_FEW_LABELS)},
}
_ABLATION_K = (3, 10, 30)  # initial K of [DeepDPM] Table 6
_ROBUSTNESS_K = (1, 3, 10, 20, 30)
_IMAGENET_K = 200  # section 5; supplement 7.2 has 150


class Settings(NamedTuple):
    """How an experiment is run.

    Attributes:
        config: configuration of DeepDPM.
        name: name of the configuration.
        peers: whether the printed methods run too.
        epochs: most epochs of a fit; `None` for the configuration's own.
        assumed_k: numbers K that methods which need one are given.
    """

    config: DeepDPMConfig
    name: str
    peers: bool
    epochs: int | None
    assumed_k: Sequence[int]

    def published(self, name: str) -> DeepDPMConfig:
        """Returns the configuration, or its preset `name` where the paper's settings are asked."""
        if self.name != "paper":
            return self.config
        return shorten_schedule(DeepDPMConfig.named(name), self.epochs)


class Experiment(NamedTuple):
    """A table or figure of a paper.

    Attributes:
        title: what it shows.
        data: names of its data sets.
        metrics: metrics in the order of their columns.
        list_methods: function of a data set and the settings that returns the methods to run; a
            record's `method` is the name of its row.
        by_k: whether it shows a curve over the K that methods are given.
        find: function of a name, a folder, a seed and the most points that returns a data set, or
            a line that says what is missing.
        by_epoch: whether its picture shows K by epoch, and one row of the paper is beside all.
    """

    title: str
    data: tuple[str, ...]
    metrics: tuple[str, ...]
    list_methods: Callable[[Any, Settings], list[Method]]
    by_k: bool = False
    find: Callable[[str, Path, int, int | None], Any] = find_points
    by_epoch: bool = False


def _list_plain(
    data: LabelledData, settings: Settings, peers: Mapping[str, str] = _PEERS
) -> list[Method]:
    """Lists DeepDPM and, where asked, the peers."""
    asked = peers.items() if settings.peers else ()
    return [
        partial(measure_fit, method="DeepDPM", config=settings.config),
        *(partial(measure_peer, peer=name, method=printed) for printed, name in asked),
    ]


_list_nonparametric = partial(_list_plain, peers=_NONPARAMETRIC)


def _list_configurations(data: LabelledData, settings: Settings) -> list[Method]:
    return [
        partial(
            measure_fit,
            method=name,
            config=shorten_schedule(DeepDPMConfig.named(name), settings.epochs),
        )
        for name in ("default", "paper", "official")
    ]


def _list_ablations(data: LabelledData, settings: Settings) -> list[Method]:
    return [
        partial(
            measure_fit,
            method=f"{name}, from K {start}",
            config=settings.config.replace(**changes),
            initial_clusters=start,
        )
        for start in _ABLATION_K
        for name, changes in ABLATIONS.items()
    ]


def _list_initial_k(data: LabelledData, settings: Settings) -> list[Method]:
    return [
        partial(
            measure_fit, method=f"from K {start}", config=settings.config, initial_clusters=start
        )
        for start in _ROBUSTNESS_K
    ]


def _list_alternated(data: LabelledData, settings: Settings) -> list[Method]:
    """Lists DeepDPM with and without alternation and, on the same features, other methods."""
    config = joint_config(data.name, settings.name, settings.epochs)
    peers = _NONPARAMETRIC if settings.peers else {}
    options = {"config": config, "peers": peers, "epochs": settings.epochs}
    return [partial(measure_alternation, method="DeepDPM*", **options)]


def _list_inferred(data: LabelledData, settings: Settings) -> list[Method]:
    """Lists the same, and methods that need K with the one of the best silhouette."""
    options = {"counts": settings.assumed_k, "epochs": settings.epochs}
    parametric = PARAMETRIC if settings.peers else {}
    return [
        *_list_alternated(data, settings),
        *(partial(measure_by_silhouette, method=name, **options) for name in parametric),
    ]


def _list_assumed_k(data: LabelledData, settings: Settings) -> list[Method]:
    """Lists DeepDPM with and without alternation, and methods with each assumed K."""
    alone = settings._replace(peers=False)
    others = list_assumed(data, settings.assumed_k, settings.epochs)
    return [*_list_alternated(data, alone), *others]


def _list_joint(data: LabelledData, settings: Settings) -> list[Method]:
    """Lists joint training of features and clusters; STL-10 already comes as features."""
    if data.name != "stl10":
        config = joint_config(data.name, settings.name, settings.epochs)
        return [partial(measure_joint, method="DeepDPM", config=config)]
    config = settings.published("stl10")
    start = config.initial_clusters
    return [partial(measure_fit, method="DeepDPM", config=config, initial_clusters=start)]


def _list_imagenet(data: LabelledData, settings: Settings) -> list[Method]:
    """Lists DeepDPM from the K of section 5."""
    config = settings.published("imagenet")
    return [partial(measure_fit, method="DeepDPM", config=config, initial_clusters=_IMAGENET_K)]


def _swav_experiment(title: str, *presets: str, small=(("swav", True),)) -> Experiment:
    """Returns an experiment with published runs, of SwAV and other methods."""

    def list_methods(data, settings):
        epochs = settings.epochs
        if isinstance(data, ImageFolders):
            return [partial(measure_published, method=name, epochs=epochs) for name in presets]
        epochs = epochs or SMALL_EPOCHS
        return [
            partial(
                measure_small,
                method=f"{METHODS[kind].__name__}.small, {epochs} epochs"
                + ("" if multi_crop else ", 2 crops"),
                kind=kind,
                multi_crop=multi_crop,
                epochs=epochs,
                baselines=index == 0,
            )
            for index, (kind, multi_crop) in enumerate(small)
        ]

    return Experiment(title, _IMAGES, ("top-1",), list_methods, find=find_images)


def _list_few_labels(data: Any, settings: Settings) -> list[Method]:
    return [partial(measure_few_labels, method="SwAV", epochs=settings.epochs)]


_IMAGES = ("imagenet", "cifar10", "mnist images")
_CLASSIC = ("mnist", "usps", "fashion")
_THINNED = tuple(f"{name} imbalanced" for name in _CLASSIC)
_IMAGENET = ("imagenet50", "imagenet50 imbalanced")
_SCORES = ("NMI", "ARI", "ACC")

EXPERIMENTS: dict[str, Experiment] = {
    "table1": Experiment("classical methods", (*_CLASSIC, *_THINNED), _SCORES, _list_plain),
    "configurations": Experiment(
        "three configurations",
        (*_CLASSIC, *_THINNED),
        (*_SCORES, "K"),
        _list_configurations,
        by_epoch=True,
    ),
    "table2": Experiment("inferred K", _CLASSIC, ("K",), _list_nonparametric),
    "table3": Experiment(
        "deep nonparametric methods", ("mnist images", "stl10", "reuters10k"), _SCORES, _list_joint
    ),
    "table4": Experiment("ImageNet-50", _IMAGENET, _SCORES, _list_alternated),
    "table5": Experiment("inferred K of ImageNet-50", _IMAGENET, ("K",), _list_inferred),
    "table6": Experiment("ablations, accuracy", ("fashion",), ("ACC",), _list_ablations),
    # With the supplement's Figures 9 (ARI) and 10 (NMI).
    "figure1": Experiment("what a wrong K costs", _IMAGENET, _SCORES, _list_assumed_k, True),
    "figure4": Experiment(
        "robustness to the initial K", _CLASSIC, ("K", "ACC"), _list_initial_k, True
    ),
    "imagenet": Experiment(
        "ImageNet from K 200", ("imagenet features",), (*_SCORES, "K"), _list_imagenet
    ),
    "supplement1": Experiment("inferred K, imbalanced", _THINNED, ("K",), _list_nonparametric),
    "supplement2": Experiment("ablations", ("fashion",), ("NMI", "ARI", "K"), _list_ablations),
    "swav-figure2": _swav_experiment(
        "SwAV by width", "800ep", "RN50w2_400ep", "RN50w4_400ep", "RN50w5_400ep"
    ),
    "swav-figure3": _swav_experiment(
        "methods by crops, and SwAV by epochs",
        *("simclr_400ep_2x224", "simclr_400ep", "selav2_400ep_2x224", "selav2_400ep"),
        *("deepclusterv2_400ep_2x224", "deepclusterv2_400ep", "400ep_2x224", "400ep_2x160_4x96"),
        *("100ep", "200ep", "400ep", "800ep"),
        small=[(method, crops) for method in METHODS for crops in (False, True)],
    ),
    "swav-table1": Experiment(
        "fine-tuning on few labels", _IMAGES, _FEW_LABELS, _list_few_labels, find=find_images
    ),
    "swav-table2": Experiment(
        "linear classifiers on other images",
        ("places205", "voc07", "inat18"),
        ("top-1", "mAP"),
        lambda data, settings: [partial(measure_transfer, method="SwAV")],
        find=find_transfer,
    ),
    "swav-table3": _swav_experiment(
        "SwAV in small batches", "200ep_bs256_2x160_4x96", "200ep_bs256", "400ep_bs256"
    ),
}


def run(
    name: str,
    folder: str | Path,
    sweep: Sweep,
    *,
    configuration: str = "default",
    peers: bool = False,
    epochs: int | None = None,
    assumed_k: Sequence[int] | None = None,
    on: Sequence[str] = (),
    download: bool = False,
) -> Record:
    """Runs an experiment on the data in a folder and prints our numbers beside the paper's.

    Args:
        name: key of `EXPERIMENTS`.
        folder: folder with the files that `SOURCES` names.
        sweep: seeds, most points and output; a picture goes beside the output.
        configuration: "default", "paper" or "official".
        peers: whether the other printed methods run too, as `benchmarks.peers` has them.
        epochs: most epochs of each fit; the schedule is shortened in proportion. `None` for the
            configuration's own.
        assumed_k: numbers K that methods which need one are given in Figure 1 and Table 5; `None`
            for the paper's.
        on: data sets that stand in for the experiment's own, keys of `SOURCES` or `AT_HAND`.
        download: whether data sets that others publish may be downloaded to the folder.
    Returns:
        What was written: `rows` with our and the printed numbers, `records` and `missing`.
    Raises:
        FileNotFoundError: if none of the data sets exists; the message names every missing file.
    """
    checks.one_of(name, "NAME", EXPERIMENTS)
    config = shorten_schedule(DeepDPMConfig.named(configuration), epochs)
    settings = Settings(config, configuration, peers, epochs, assumed_k or ASSUMED_K)
    experiment = EXPERIMENTS[name]
    if on:
        if experiment.find is not find_points:
            checks.fail("--on", f"data sets for {name}", "an experiment of [DeepDPM]")
        known = (*AT_HAND, *SOURCES, *THINNED)
        own = tuple(checks.one_of(each, "--on", known) for each in on)
        experiment = experiment._replace(data=own)
    folder = Path(folder)
    if download:
        download_sets(experiment.data, folder)
    sets = [experiment.find(each, folder, sweep.seed, sweep.max_points) for each in experiment.data]
    missing = list(dict.fromkeys(each for each in sets if isinstance(each, str)))
    present = [each for each in sets if not isinstance(each, str)]
    if not present:
        wanted = "at least one of these files"
        if experiment.find is find_points:
            wanted += f", or --on {' or '.join(AT_HAND)}, which need none"
        checks.fail("--data", "; ".join(missing), wanted, FileNotFoundError)
    settled = {"max_points": sweep.max_points, "epochs": epochs}
    results = sweep.take_up({"experiment": name, "configuration": configuration, **settled})
    results["missing"] = missing
    listed = [experiment.list_methods(data, settings) for data in present]
    runs = sum(map(len, listed)) * len(sweep.seed_range)
    with contextlib.closing(ProgressDisplay(runs, unit="run")) as display, ending_displays():
        for data, methods in zip(present, listed, strict=True):
            sweep.measure(results, [data], methods, display=display)
            results["rows"] = _make_rows(name, experiment, results["records"])
            sweep.write(results)
    title = f"{name}: {experiment.title}" + (f", on {', '.join(on)}" if on else "")
    if not experiment.by_epoch:
        title += f", configuration {configuration}, {sweep.seeds} run(s)"
    print_comparison(title, experiment.metrics, results)
    picture = Path(sweep.out).with_suffix(".png")
    if experiment.by_epoch:
        picture = plot_epochs(results["records"], results["rows"], picture)
    else:
        picture = plot_comparison(results["rows"], title, picture, by_k=experiment.by_k)
    results["picture"] = None if picture is None else str(picture)
    sweep.write(results)
    return results


def _make_rows(name: str, experiment: Experiment, records: list[Record]) -> list[Record]:
    """Returns a row for each cell: our mean and standard deviation, and the printed number."""
    cells = {(each["data"], each["method"]): None for each in records}
    for printed in PRINTED:
        # Few will have ImageNet, so its printed numbers are shown without it.
        known = {each["data"] for each in records}
        known |= {"imagenet", "places205", "voc07", "inat18"} & {*experiment.data}
        if printed.experiment == name and printed.data in known:
            cells.setdefault((printed.data, printed.method))
    rows, order = [], list(dict.fromkeys([*experiment.data, *(data for data, _ in cells)]))
    for data, method in sorted(cells, key=lambda cell: order.index(cell[0])):
        own = [each for each in records if (each["data"], each["method"]) == (data, method)]
        for metric in experiment.metrics:
            printed = _find_printed(name, data, method, metric)
            values = [each[_KEYS[metric]] for each in own if _KEYS[metric] in each]
            ours = None
            if values:
                ours = {"mean": float(np.mean(values)), "std": float(np.std(values))}
            if values or printed:
                rows.append(_make_row(data, method, metric, ours, len(values), printed))
    return rows


def _find_printed(name: str, data: str, method: str, metric: str) -> Printed | None:
    """Returns the printed number; configurations all stand beside the rows of DeepDPM."""
    if not EXPERIMENTS[name].by_epoch:
        return printed_for(name, data, method, metric)
    tables = ("table1", "table2", "supplement1")
    found = (printed_for(table, data, "DeepDPM", metric) for table in tables)
    return next((each for each in found if each is not None), None)


def _make_row(data, method, metric, ours, runs: int, printed: Printed | None) -> Record:
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
