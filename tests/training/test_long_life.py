"""A long life: fits, batches and answers leave neither graphs nor memory behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from tensorflow.python.framework.func_graph import FuncGraph
from threadpoolctl import threadpool_limits

import tfdpm
from tfdpm.deepdpm import garbage_collection

X = tfdpm.data.gaussian_mixture(5, 10, 400, seed=0)[0].astype(np.float32)

# Prints megabytes of the process after each fit.
PROGRAM = """
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
    print(pages(), model.num_traces, flush=True)
"""
# An hour of service in short: prints, after each minute's fit, megabytes, traces of a model that
# follows the stream, answers to two clients, and wrong ones among them.
SERVICE = """
import sys
import threading
import numpy as np
import tfdpm

x = tfdpm.data.gaussian_mixture(5, 10, 20_000, seed=0)[0].astype(np.float32)
pages = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
folder, minutes = sys.argv[2], int(sys.argv[1])
first = tfdpm.fit(x[:2000], verbose=0)
first.export(folder + "/1")
served, wanted = tfdpm.load(folder), first.predict_labels(x)
answers, wrong, is_over = [0], [0], threading.Event()

def ask(seed):
    generator = np.random.default_rng(seed)
    while not is_over.wait(0.01):
        rows = slice(*sorted(generator.integers(0, len(x), 2)))
        rows = slice(rows.start, min(rows.stop, rows.start + 200) + 1)
        wrong[0] += int((served.predict_labels(x[rows]) != wanted[rows]).sum() > 1)
        answers[0] += 1

clients = [threading.Thread(target=ask, args=[seed]) for seed in (1, 2)]
for client in clients:
    client.start()
online, generator = tfdpm.DeepDPM(seed=0), np.random.default_rng(0)
for minute in range(minutes):
    for _ in range(10):
        online.partial_fit(x[generator.permutation(len(x))[:64]], forgetting=0.05)
    model = tfdpm.fit(x[generator.permutation(len(x))[:2000]], seed=minute, verbose=0)
    assert 4 <= model.n_clusters <= 6
    print(pages(), online.num_traces, answers[0], wrong[0], flush=True)
is_over.set()
for client in clients:
    client.join()
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


def test_collecting_takes_at_most_a_share_of_the_time_of_fits(monkeypatch) -> None:
    """Of 1,000 seconds of fits, in a process where a collection takes one second."""
    now, made = [0.0], []

    def collect() -> None:
        made.append(now[0])
        now[0] += 1.0

    monkeypatch.setattr(garbage_collection.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(garbage_collection.gc, "collect", collect)
    monkeypatch.setattr(garbage_collection, "_budget", garbage_collection._Budget())
    for _ in range(1000):
        with garbage_collection.freeing_models():
            now[0] += 1.0
    assert 25 < len(made) <= 31
    monkeypatch.setattr(garbage_collection.gc, "isenabled", lambda: False)
    with garbage_collection.freeing_models():
        now[0] += 1000.0
    assert len(made) <= 31


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


def test_searches_of_a_stream_are_not_traced_anew() -> None:
    """Also where batches, what is remembered and the number of clusters differ each time."""
    config = tfdpm.DeepDPMConfig(min_steps_per_epoch=2, preprocessing="none")
    model = tfdpm.DeepDPM(config, seed=0)
    generator, traces, counts = np.random.default_rng(0), [], set()
    for step in range(40):
        rows = X[generator.permutation(len(X))[: generator.integers(40, 60)]]
        if step > 15:
            rows = rows[rows[:, 0] > np.median(X[:, 0])]
        model.partial_fit(rows, forgetting=0.3)
        counts.add(model.n_components)
        if model.memory.num_new == 0:
            traces.append(model.num_traces)
    assert len(traces) > 10 and len(counts) > 1
    assert traces[8:] == traces[8:9] * len(traces[8:])


def test_a_known_batch_takes_a_few_times_what_mini_batch_k_means_takes() -> None:
    """Processor time of 1,024 x 10 rows beside each other; six times on the machine of the docs."""
    x = tfdpm.data.gaussian_mixture(5, 10, 24_000, seed=0)[0].astype(np.float32)
    model, peer = tfdpm.DeepDPM(seed=0), MiniBatchKMeans(5, random_state=0, n_init=1)
    seconds: list[list[float]] = [[], []]
    with threadpool_limits(1):
        for rows in (x[:12_000], *np.split(x[12_000:], range(1024, 12_000, 1024))[:-1]):
            for each, found in zip((model, peer), seconds, strict=True):
                start = time.thread_time()
                each.partial_fit(rows)
                found.append(time.thread_time() - start)
    own, others = (np.median(found[3:]) for found in seconds)
    print(f"\n{1e3 * own:.1f} ms, {own / others:.1f} times MiniBatchKMeans's {1e3 * others:.2f} ms")
    assert own < 20.0 * others


@pytest.mark.parametrize("count", [100, 900])
def test_networks_that_know_the_mixture_are_left_as_they_are(count) -> None:
    """A batch then takes a fraction of the time, and one that changes the mixture does not."""
    x, _ = tfdpm.data.gaussian_mixture(3, 2, 10_000, seed=0)
    first, second, third = x[6000 : 6000 + 3 * count].reshape(3, count, -1)
    model = tfdpm.DeepDPM(seed=0).partial_fit(x[:6000])
    model.partial_fit(first)
    before = model.fitted.networks.copy_weights()
    model.partial_fit(second)
    after = model.fitted.networks.copy_weights()
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    model.partial_fit(third + x.std(axis=0), forgetting=0.9)
    assert not np.array_equal(before[0], model.fitted.networks.copy_weights()[0])


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


def printed_by(program: str, times: int, *arguments: str) -> np.ndarray:
    """Numbers `[times, n]` of each line of a program's output."""
    command = [sys.executable, "-c", program, str(times), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    numbers = np.array([line.split() for line in done.stdout.splitlines()], float)
    assert len(numbers) == times
    return numbers


@needs_proc
@pytest.mark.slow
def test_a_thousand_batches_end_within_20_megabytes_of_the_half() -> None:
    sizes, traces = printed_by(BATCHES, 1000).T
    assert traces[-1] == traces[199] <= 16
    assert sizes[-1] - sizes[499] < 20.0, sizes


@needs_proc
@pytest.mark.slow
def test_sixty_fits_take_no_more_memory_than_thirty() -> None:
    """What Python has not collected comes and goes; the least that there is stays the same."""
    sizes = printed_by(PROGRAM, 60)[:, 0]
    assert min(sizes[30:]) - min(sizes[9:30]) < 20.0, sizes
    assert max(sizes) - min(sizes[9:]) < 160.0, sizes


@needs_proc
@pytest.mark.slow
def test_an_hour_of_service_is_flat(tmp_path) -> None:
    """A fit every minute, beside a model that follows a stream and two clients of a served one."""
    sizes, traces, answers, wrong = printed_by(SERVICE, 60, str(tmp_path)).T
    assert min(sizes[30:]) - min(sizes[9:30]) < 30.0, sizes
    assert traces[-1] == traces[29] <= 16
    assert answers[-1] > 300 and wrong[-1] == 0


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
