"""DeepDPM with its autoencoder: trained once, and in alternation (DeepDPM* of the paper)."""

from __future__ import annotations

from collections.abc import Mapping

import tfdpm
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.records import Record, describe_clusters, measure_peer, measure_time
from tfdpm.benchmarks.schedule import shorten_schedule
from tfdpm.joint.config import PRESETS, JointConfig


def joint_config(name: str, configuration: str, epochs: int | None) -> JointConfig:
    """Returns the settings of joint training on a data set, such as "mnist images".

    The configuration "default" is what measures best, others are the paper's for this data set, or
    those for MNIST where it has none. Of `epochs` each stage has at most so many.
    """
    preset = name.removesuffix(" images").replace(" ", "_")
    preset = preset if preset in PRESETS else "mnist"
    config = JointConfig.named("default" if configuration == "default" else preset)
    if epochs is None:
        return config
    return config.replace(
        pretrain_epochs=min(epochs, config.pretrain_epochs),
        round_epochs=min(epochs, config.round_epochs),
        clustering=shorten_schedule(config.clustering, epochs),
    )


def measure_joint(data: LabelledData, seed: int, *, method: str, config: JointConfig) -> Record:
    """Measures joint training of features and clusters; `method` is its name in the tables."""
    with measure_time() as cost:
        model = tfdpm.JointClustering(config, seed=seed)
        model.fit(data.x, verbose=0)
        labels = model.predict_labels(data.x)
    return {**describe_clusters(data, method, seed, labels), **cost}


def measure_alternation(
    data: LabelledData,
    seed: int,
    *,
    method: str,
    config: JointConfig,
    peers: Mapping[str, str],
    epochs: int | None = None,
) -> list[Record]:
    """Measures DeepDPM on the features of a pretrained autoencoder, then with alternation.

    Args:
        data: points and their classes.
        seed: random seed.
        method: name of the alternation in the tables.
        config: settings of joint training.
        peers: methods that run on the same pretrained features, printed names and keys of `PEERS`.
        epochs: most epochs of peers that train networks; `None` for their own.
    Returns:
        Records of "DeepDPM", of the peers, and of the alternation, whose seconds include the
        first's.
    """
    model = tfdpm.JointClustering(config, seed=seed)
    with measure_time() as first:
        model.fit(data.x, rounds=1, verbose=0)
        labels = model.predict_labels(data.x)
    records = [{**describe_clusters(data, "DeepDPM", seed, labels), **first}]
    features = data._replace(x=model.encoder.predict(data.x, verbose=0))
    for printed, peer in peers.items():
        records.append(measure_peer(features, seed, peer=peer, method=printed, epochs=epochs))
    with measure_time() as further:
        model.fit(data.x, verbose=0)
        labels = model.predict_labels(data.x)
    cost = {**further, **{name: first[name] + further[name] for name in ("seconds", "cpu_seconds")}}
    return [*records, {**describe_clusters(data, method, seed, labels), **cost}]
