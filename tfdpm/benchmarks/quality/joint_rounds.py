"""Scores of joint training after each of its rounds."""

from __future__ import annotations

import time

import keras

from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_table
from tfdpm.joint.config import JointConfig
from tfdpm.joint.model import JointClustering

_LOGGED = ("nmi", "ari", "acc", "n_clusters", "reconstruction_loss", "clustering_loss")
_COLUMNS = ("data", "seed", "round", *_LOGGED, "cpu_seconds")


class _RoundRecorder(keras.callbacks.Callback):
    """Records the scores of each round and the processor time from the start to its end."""

    def __init__(self, data: str, seed: int):
        super().__init__()
        self.records: list[Record] = []
        self._head = {"data": data, "seed": seed}
        self._start = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        scores = {name: logs[name] for name in _LOGGED}
        seconds = time.process_time() - self._start
        self.records.append({**self._head, "round": epoch + 1, **scores, "cpu_seconds": seconds})


def run(sweep: Sweep, *, configuration: str, epochs: int | None) -> Record:
    """Trains on every file of points or images; returns a record of every round, as written.

    `configuration` is "default" or a preset of `JointConfig`, `epochs` those of pretraining.
    """
    config = JointConfig.named(configuration).replace(stable_rounds=None)
    if epochs is not None:
        config = config.replace(pretrain_epochs=epochs)
    if sweep.quick:
        config = config.replace(pretrain_epochs=2, round_epochs=1, max_rounds=2)

    def measure_rounds(data: LabelledData, seed: int) -> list[Record]:
        recorder = _RoundRecorder(data.name, seed)
        model = JointClustering(config, seed=seed)
        model.fit(data.x, data.y, callbacks=[recorder], verbose=0)
        return recorder.records

    results: Record = {"benchmark": "joint", "configuration": configuration}
    sweep.measure(results, sweep.read_images(), [measure_rounds])
    rows = [[record[name] for name in _COLUMNS] for record in results["records"]]
    print_table("Joint training by round", _COLUMNS, rows)
    return results
