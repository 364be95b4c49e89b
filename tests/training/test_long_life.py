"""A long life: fits, batches and answers leave neither graphs nor memory behind."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tensorflow.python.framework.func_graph import FuncGraph

import tfdpm

X = tfdpm.data.gaussian_mixture(5, 10, 400, seed=0)[0].astype(np.float32)

# Prints megabytes of the process after each fit, without what waits for Python to collect it.
PROGRAM = """
import gc
import sys
import numpy as np
import tfdpm

x = tfdpm.data.gaussian_mixture(5, 10, 2_000, seed=0)[0].astype(np.float32)
pages = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
for seed in range(int(sys.argv[1])):
    model = tfdpm.DeepDPM(seed=seed)
    model.fit(x, verbose=0)
    model.predict(x)
    del model
    gc.collect()
    print(pages(), flush=True)
"""

# Prints megabytes after each batch of a model that forgets.
BATCHES = """
import sys
import numpy as np
import tfdpm

x = tfdpm.data.gaussian_mixture(5, 10, 20_000, seed=0)[0].astype(np.float32)
pages = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
model, generator = tfdpm.DeepDPM(seed=0), np.random.default_rng(0)
for _ in range(int(sys.argv[1])):
    model.partial_fit(x[generator.permutation(len(x))[:64]], forgetting=0.02)
    model.predict(x[: generator.integers(1, 200)])
    print(pages(), flush=True)
"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


def num_graphs() -> int:
    gc.collect()
    return sum(isinstance(each, FuncGraph) for each in gc.get_objects())


@pytest.mark.parametrize("optimizer", ["auto", "adam", "sgd"])
def test_a_fit_leaves_no_graph_behind(optimizer) -> None:
    def fit() -> None:
        model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=2))
        model.compile(optimizer, subcluster_optimizer=optimizer)
        model.fit(X, epochs=2, verbose=0)
        model.predict(X)
        assert model.num_traces > 0

    fit()
    before = num_graphs()
    fit()
    assert num_graphs() == before


def test_variables_have_the_same_names_in_every_model() -> None:
    """TensorFlow keeps some 35 KB for ever for each new name."""

    def names() -> list[str]:
        model = tfdpm.DeepDPM()
        model.compile()
        model.create_networks(4, 5, 16)
        variables = (*model.optimizer.variables, *model.subcluster_optimizer.variables)
        return [each.value.name for each in (*model.weights, *variables)]

    assert names() == names()


def test_batches_of_known_clusters_are_not_traced_anew() -> None:
    model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=2), seed=0)
    model.partial_fit(X)
    generator = np.random.default_rng(0)

    def learn(times: int) -> None:
        for _ in range(times):
            rows = X[generator.permutation(len(X))[: generator.integers(1, 5)]]
            model.partial_fit(rows)
            model.predict(rows)

    learn(10)
    before = model.num_traces, num_graphs()
    learn(20)
    assert (model.num_traces, num_graphs()) == before


def test_answers_during_a_fit_are_not_traced_anew() -> None:
    traces = []

    class Asks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            for rows in (1, 7, 50 + epoch):
                assert self.model.predict(X[:rows]).shape[0] == rows
            traces.append(self.model.num_traces)

    config = tfdpm.DeepDPMConfig(min_steps_per_epoch=2, stable_epochs=None)
    tfdpm.DeepDPM(config).fit(X, epochs=6, verbose=0, callbacks=[Asks()])
    assert len(set(traces[1:])) == 1


def megabytes_of(program: str, times: int) -> list[float]:
    command = [sys.executable, "-c", program, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    sizes = [float(line) for line in done.stdout.split()]
    assert len(sizes) == times
    return sizes


@needs_proc
@pytest.mark.slow
def test_a_thousand_batches_end_within_20_megabytes_of_the_half() -> None:
    sizes = megabytes_of(BATCHES, 1000)
    assert sizes[-1] - sizes[499] < 20.0, sizes


@needs_proc
@pytest.mark.slow
def test_sixty_fits_end_within_20_megabytes_of_the_tenth() -> None:
    sizes = megabytes_of(PROGRAM, 60)
    assert sizes[-1] - sizes[9] < 20.0, sizes


@needs_proc
def test_served_answers_leave_no_memory_behind(tmp_path) -> None:
    model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=2))
    model.fit(X, epochs=1, verbose=0)
    model.export(tmp_path / "1")
    served = tfdpm.load(tmp_path / "1")

    def megabytes() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    for rows in range(1, 200):
        served.predict(X[:rows])
    before = megabytes()
    for rows in range(1, 400):
        served.predict(X[:rows])
    assert megabytes() - before < 25.0
