"""The command line end to end over a small model: what it prints, what it writes, how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tfdpm.cli import main
from tfdpm.data import Columns, as_features, gaussian_mixture
from tfdpm.interpret.drift import Drift


@keras.saving.register_keras_serializable(package="tests")
class NearestCorner(keras.Model):
    """A stand-in with the names of a fitted model: cluster 0 left of zero, 1 right of it."""

    columns = Columns()

    def predict_labels(self, x) -> np.ndarray:
        inputs = as_features(x)
        x = np.concatenate(list(inputs.dataset)) if inputs.array is None else inputs.array
        return (x.reshape(len(x), -1)[:, 0] > 0).astype(np.int64)

    def score_samples(self, x) -> np.ndarray:
        return np.full(len(self.predict_labels(x)), -1.25)

    def embed(self, x) -> np.ndarray:
        return as_features(x).array.reshape(len(self.predict_labels(x)), -1)[:, :1]

    def call(self, x):
        return x

    def report(self, path, data, *, images, title, command, seconds) -> None:
        x, y = data.array, data.labels
        assert images is None
        assert command.startswith("tfdpm")  # and the arguments of the process
        assert seconds > 0
        path.write_text(f"{title} {x.shape} {len(y)}")

    def drift(self, x, *, level):
        p_values = np.array([level / 2, 1.0])
        shares = np.array([[0.5, 0.5], [0.75, 0.25]])
        given = {"num_points": (4, 4), "shares": shares, "share_p": p_values}
        given |= {"shifts": np.zeros(2), "shift_p": np.array([1.0, np.nan])}
        given |= {"unlike": (0.0, 0.0), "unlike_p": 1.0, "is_unlike": np.zeros(4, bool)}
        return Drift(ids=np.arange(2), level=level, **given)

    def export(self, path, **_) -> None:
        tf.io.gfile.makedirs(path)
        tf.io.write_file(f"{path}/exported", "yes")


@pytest.fixture
def calls(monkeypatch) -> list[dict]:
    """Puts the stand-in in place of `tfdpm.fit`, and returns what that is called with."""
    made: list[dict] = []

    def fit(data, **options):
        made.append({"data": data, **options})
        model = NearestCorner()
        model(np.zeros((1, 2)))  # builds it
        model.history = types.SimpleNamespace(
            history={"loss": [np.float32(2), 1.5], "nmi": [None, 1]}
        )
        return model

    monkeypatch.setattr(tfdpm, "fit", fit, raising=False)
    monkeypatch.setattr(tfdpm, "DeepDPM", NearestCorner, raising=False)
    return made


@pytest.fixture
def two_blobs(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [30, 10])
    x = rng.normal(size=(40, 2)) + 10.0 * np.stack([2 * y - 1, y], axis=1)
    np.savez(tmp_path / "two.npz", x=x, y=y)
    np.save(tmp_path / "two.npy", x)
    return tmp_path


def test_fit_prints_clusters_scores_and_time(calls, two_blobs, capsys) -> None:
    assert main(["fit", str(two_blobs / "two.npz"), "--seed", "3", "--epochs", "7"]) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    assert "K = 2 clusters of 40 points" in printed
    for pattern in ("30", "75.0%", "25.0%", "silhouette", "-1.250", "NMI", "ARI", "ACC", "1.000"):
        assert pattern in printed
    assert printed.rstrip().endswith(" s")
    (call,) = calls
    of_features = tfdpm.metrics.silhouette(call["data"].array[:, :1], call["data"].labels)
    assert f"{of_features:.3f}" in printed
    assert (call["seed"], call["epochs"], call["features"]) == (3, 7, "auto")
    assert call["shape"] == "any"
    assert call["data"].array.shape == (40, 2)
    assert call["data"].labels.sum() == 10


def test_fit_without_labels_prints_only_what_needs_none(calls, two_blobs, capsys) -> None:
    options = ["--features", "none", "--shape", "gaussian"]
    assert main(["fit", str(two_blobs / "two.npy"), *options]) == 0
    printed = capsys.readouterr().out
    assert "silhouette" in printed
    assert "NMI" not in printed
    assert (calls[0]["features"], calls[0]["shape"]) == ("none", "gaussian")
    assert calls[0]["data"].labels is None


def test_columns_of_tables_are_used_as_options_say(calls, tmp_path, capsys) -> None:
    lines = ["1,2,red,7,", "3,,blue,9,", "5,6,red,11,"]
    (tmp_path / "t.csv").write_text("\n".join(['a,b,"kind, really",n,', *lines]))
    options = ["--drop", "n", "--label", "kind, really", "--missing", "drop"]
    assert main(["fit", str(tmp_path / "t.csv"), *options]) == 0
    found = calls[0]["data"]
    np.testing.assert_array_equal(found.array, [[1, 2], [5, 6]])
    np.testing.assert_array_equal(found.labels, [0, 0])
    assert found.columns.names == ("a", "b")
    assert main(["fit", str(tmp_path / "t.csv"), "--columns", "n, 'kind, really'"]) == 1
    assert '`columns`: got "\'kind"' in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "t.csv"), "--columns", 'a, "n"', "--no-header"]) == 1
    assert "one of the columns ['0', '1'" in capsys.readouterr().err
    assert main(["fit", "digits", "--label", "a"]) == 1


def test_files_of_a_data_set_are_downloaded_on_request(
    calls, two_blobs, monkeypatch, capsys
) -> None:
    asked: list[dict] = []

    def load(name, **options):
        asked.append({"name": name, **options})
        return np.load(two_blobs / "two.npy"), None

    monkeypatch.setattr(tfdpm.data, "load", load)
    assert main(["fit", "mnist", "--download", "--data-dir", str(two_blobs)]) == 0
    assert asked == [{"name": "mnist", "data_dir": two_blobs, "download": True}]
    assert calls[-1]["data"].array.shape == (40, 2)
    for words in ([str(two_blobs / "two.npy")], ["mnist", "--label", "a"]):
        assert main(["fit", *words, "--download"]) == 1
        assert "wanted a data set's name, without options of tables" in capsys.readouterr().err
    assert len(asked) == 1


def test_fit_writes_model_labels_and_history(calls, two_blobs, capsys) -> None:
    out = two_blobs / "made" / "here"
    assert main(["fit", str(two_blobs / "two.npz"), "--out", str(out)]) == 0
    assert "written to" in capsys.readouterr().out
    np.testing.assert_array_equal(np.load(out / "labels.npy"), np.repeat([0, 1], [30, 10]))
    history = json.loads((out / "history.json").read_text())
    assert history == {"loss": [2.0, 1.5], "nmi": [None, 1.0]}
    assert isinstance(keras.models.load_model(out / "model.keras"), NearestCorner)


def test_report_goes_to_the_folder_of_the_model_or_here(calls, two_blobs, monkeypatch) -> None:
    monkeypatch.chdir(two_blobs)
    assert main(["fit", "two.npz", "--report"]) == 0
    assert (two_blobs / "report.html").read_text() == "Clusters of two.npz (40, 2) 40"
    assert main(["fit", "two.npz", "--report", "--out", "out"]) == 0
    assert (two_blobs / "out" / "report.html").exists()


def test_report_and_model_are_replaced_together(calls, two_blobs, monkeypatch) -> None:
    out = two_blobs / "out"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(NearestCorner, "report", interrupted)
        (out / "stages").mkdir(parents=True)
        assert main(["fit", str(two_blobs / "two.npz"), "--report", "--out", str(out)]) == 130
    # What a rerun goes on from is still there.
    assert [each.name for each in out.iterdir()] == ["stages"]
    assert main(["fit", str(two_blobs / "two.npz"), "--report", "--out", str(out)]) == 0
    names = ["history.json", "labels.npy", "model.keras", "report.html"]
    assert sorted(each.name for each in out.iterdir()) == names


HOLDING = """
import sys, time
from tfdpm.progress.files import claim
claim(sys.argv[1])
print("claimed", flush=True)
time.sleep(60)
"""


def test_second_fit_into_a_folder_is_told_of_the_first(calls, two_blobs, capsys) -> None:
    out = two_blobs / "out"
    command = [sys.executable, "-c", HOLDING, str(out / "fit")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "claimed\n"
            words = ["fit", str(two_blobs / "two.npz"), "--seed", "7", "--out", str(out)]
            assert main(words) == 1
            error = capsys.readouterr().err
            assert f"in which process {process.pid} on " in error and error.count("\n") == 1
            assert calls == []
        finally:
            process.kill()
    assert main(words) == 0
    names = ["history.json", "labels.npy", "model.keras"]
    assert sorted(each.name for each in out.iterdir()) == names


def test_a_report_without_plotly_is_refused_before_the_fit(calls, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert main(["fit", "blobs", "--report"]) == 1
    assert "pip install 'tfdpm[viz]'" in capsys.readouterr().err
    assert calls == []


def test_many_clusters_are_summed_up(calls, monkeypatch, tmp_path, capsys) -> None:
    labels = np.repeat(np.arange(50), np.arange(1, 51))
    monkeypatch.setattr(NearestCorner, "predict_labels", lambda self, x: labels)
    np.save(tmp_path / "x.npy", np.zeros((len(labels), 2)))
    assert main(["fit", str(tmp_path / "x.npy")]) == 0
    printed = capsys.readouterr().out
    assert "K = 50 clusters of 1,275 points" in printed
    assert "30 more" in printed
    assert f"{sum(range(1, 31))}" in printed  # the 30 smallest


def test_fit_streams_images_and_reads_their_labels_from_folders(calls, tmp_path, capsys) -> None:
    for index in range(6):
        folder = tmp_path / "images" / ("light" if index % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        image = tf.cast(tf.fill((4, 4, 1), 255 * (index % 2)), tf.uint8)
        (folder / f"{index}.png").write_bytes(tf.io.encode_png(image).numpy())
    assert main(["fit", str(tmp_path / "images")]) == 0
    printed = capsys.readouterr().out
    assert "ACC" in printed
    assert "silhouette" not in printed
    assert calls[0]["data"].array is None
    assert isinstance(calls[0]["data"].dataset, tf.data.Dataset)


def test_labels_of_a_shuffled_stream_are_scored_with_their_points() -> None:
    from tfdpm.cli import output

    x, y = gaussian_mixture(2, 2, 64, seed=0)
    x[:, 0] = 2 * y - 1
    stream = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(64)
    labels, known = output.predict_labels(NearestCorner(), as_features(stream, batch_size=10))
    assert len(labels) == 64
    np.testing.assert_array_equal(labels, known)


def test_predict_prints_one_label_to_a_line(calls, two_blobs, capsys) -> None:
    main(["fit", str(two_blobs / "two.npz"), "--out", str(two_blobs)])
    capsys.readouterr()
    for model in (two_blobs, two_blobs / "model.keras"):
        assert main(["predict", str(model), str(two_blobs / "two.npy")]) == 0
        assert capsys.readouterr().out.split() == ["0"] * 30 + ["1"] * 10


def test_predict_writes_files(calls, two_blobs, capsys) -> None:
    main(["fit", str(two_blobs / "two.npz"), "--out", str(two_blobs)])
    for suffix in (".npy", ".csv"):
        out = two_blobs / f"predicted{suffix}"
        arguments = ["predict", str(two_blobs), str(two_blobs / "two.npz"), "--out", str(out)]
        assert main(arguments) == 0
        loaded = np.load(out) if suffix == ".npy" else np.loadtxt(out, skiprows=1)
        np.testing.assert_array_equal(loaded, np.repeat([0, 1], [30, 10]))
    assert "NMI" in capsys.readouterr().out


def test_export_writes_where_it_is_told(calls, two_blobs) -> None:
    main(["fit", str(two_blobs / "two.npz"), "--out", str(two_blobs)])
    assert main(["export", str(two_blobs), str(two_blobs / "served" / "1")]) == 0
    assert (two_blobs / "served" / "1" / "exported").exists()


@pytest.fixture(scope="module")
def saved_blobs(tmp_path_factory) -> Path:
    """A folder with a model of two clusters, its points, a text for each, and names."""
    folder = tmp_path_factory.mktemp("blobs")
    x, y = gaussian_mixture(2, 2, 60, separation=8.0, seed=0)
    model = tfdpm.fit(x, epochs=1, verbose=0)
    model.save(folder / "model.keras")
    np.save(folder / "x.npy", x)
    words = np.array(["ants and \u2028 bees", "cats, dogs"])[model.labels_]
    (folder / "x.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "names.json").write_text('{"1": "<pets>"}')
    return folder


def test_report_of_a_saved_model_has_names_and_texts(saved_blobs, tmp_path, capsys) -> None:
    out = tmp_path / "page.html"
    given = ["--texts", str(saved_blobs / "x.txt"), "--names", str(saved_blobs / "names.json")]
    command = ["report", str(saved_blobs), str(saved_blobs / "x.npy"), "--out", str(out), *given]
    assert main([*command, "--title", "Animals"]) == 0
    assert capsys.readouterr().out.endswith(f"written to {out}\n")
    text = out.read_text(encoding="utf-8")
    cards = {k: text.partition(f'id="cluster-{k}"')[2].partition("</article>")[0] for k in "01"}
    assert "&lt;pets&gt;" in cards["1"] and "<span>dogs</span>" in cards["1"]
    assert "cluster 0" in cards["0"] and "<span>bees</span>" in cards["0"]
    assert "<h1>Animals</h1>" in text


def test_an_export_keeps_the_names_of_a_file(saved_blobs, tmp_path) -> None:
    names = tmp_path / "list.json"
    names.write_text('["bugs", "pets"]')
    target = tmp_path / "served" / "1"
    assert main(["export", str(saved_blobs), str(target), "--names", str(names), "--quiet"]) == 0
    assert tfdpm.load(target).card["names"] == ["bugs", "pets"]


@pytest.mark.parametrize(
    ("content", "status", "wanted"),
    [
        ('{"2": "none such"}', 1, "'none such' for cluster 2, wanted texts by the numbers"),
        ('{"second": "x"}', 1, "'x' for cluster 'second'"),
        ('["a", 3]', 1, "3 for cluster 1"),
        ("3", 2, "a JSON file such as"),
        ("{", 2, "a JSON file such as"),
        (b"\xff\xfe{", 2, "a JSON file such as"),
    ],
)
def test_names_that_are_none_are_said(content, status, wanted, saved_blobs, tmp_path, capsys):
    names = tmp_path / "names.json"
    names.write_bytes(content if isinstance(content, bytes) else content.encode())
    command = ["report", str(saved_blobs), str(saved_blobs / "x.npy"), "--quiet"]
    out = tmp_path / "page.html"
    assert main([*command, "--names", str(names), "--out", str(out)]) == status
    error = capsys.readouterr().err
    assert wanted in error and error.count("\n") == 1
    assert not out.exists()


def test_bench_runs_the_module_of_that_name(monkeypatch, tmp_path) -> None:
    ran = []
    from tfdpm.benchmarks.quality import peer_scores

    monkeypatch.setattr(peer_scores, "run", lambda sweep, *, peers: ran.append((sweep, peers)))
    files = [tmp_path / name for name in ("a.npz", "b.npz", "c.npz")]
    a, b, c = map(str, files)
    assert main(["bench", "quality", "--data", a, b, c, "--imbalanced", "--seeds", "2"]) == 0
    assert main(["bench", "quality", "--data", a, "--data", b, "--seed", "2", "--peers", "x"]) == 0
    assert main(["bench", "quality", a, b, c, "--out", "o.json"]) == 0
    (first, peers), (second, others), (third, _) = ran
    assert (first.data, first.imbalanced, first.seeds, peers) == (files, True, 2, "sklearn")
    assert (second.data, second.seed, second.seeds, others) == (files[:2], 2, 3, "x")
    assert (third.data, third.out.name, first.out.name) == (files, "o.json", "bench_quality.json")


def test_bench_has_the_options_of_each_benchmark_alone(monkeypatch, capsys) -> None:
    from tfdpm.benchmarks.quality import initial_clusters, stress

    ran = []
    monkeypatch.setattr(
        initial_clusters, "run", lambda sweep, **options: ran.append((sweep.quick, options))
    )
    arguments = ["bench", "robustness", "--initial-clusters", "3, 10", "--quick"]
    assert main(arguments) == 0
    assert main(["bench", "robustness", "--initial-clusters", "none"]) == 0
    options = {"configuration": "default", "epochs": None}
    assert ran == [
        (True, {"initial_clusters": (3, 10), **options}),
        (False, {"initial_clusters": (), **options}),
    ]
    assert main([*arguments, "--cases", "4"]) == 2
    assert "No such option: --cases" in capsys.readouterr().err
    monkeypatch.setattr(stress, "run", lambda sweep, *, cases, epochs: ran.append(cases))
    assert main(["bench", "stress", "--cases", "4"]) == 0
    assert ran[-1] == 4
    assert main(["bench", "robustness", "--configuration", "paper", "--epochs", "9"]) == 0
    asked = {"initial_clusters": (1, 3, 10, 30, 100), "configuration": "paper", "epochs": 9}
    assert ran[-1] == (False, asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "Missing argument 'DATA'"),
        (["fit", "nowhere.csv"], "`DATA`: got 'nowhere.csv', wanted"),
        (["fit", "no_such_data"], "got 'no_such_data', wanted"),
        (["fit", "blobs", "--seed", "-1"], "--seed"),
        (["fit", "blobs", "--epochs", "0"], "--epochs"),
        (["fit", "blobs", "--nothing"], "No such option"),
        (["predict", "nowhere", "blobs"], "`MODEL`: got 'nowhere', wanted"),
        (["predict", "nowhere", "blobs", "--out", "x.txt"], "`--out`: got 'x.txt', wanted"),
        (["export", "nowhere", "there"], "`MODEL`: got 'nowhere', wanted"),
        (["bench", "beauty"], "No such command 'beauty'"),
        (["bench"], "Missing command"),
        (["bench", "stress", "--data", "a.npz"], "No such option: --data"),
        (["bench", "speed", "--data", "nowhere.npz"], "`--data`: got 'nowhere.npz'"),
        (["bench", "speed", "--points", "10,ten"], "`--points`: got '10,ten', wanted positive"),
        (["bench", "speed", "--threads", "0"], "--threads"),
        (["bench", "quality"], "`--data`: got no file"),
        (["bench", "suite"], "Missing argument 'FOLDER'"),
        (["bench", "suite", "nowhere"], "`FOLDER`: got 'nowhere', wanted an existing folder"),
        (["bench", "suite", "nowhere", "--features", "x"], "`--features`: got 'x', wanted one of"),
        (["dance"], "No such command 'dance'"),
    ],
)
def test_mistakes_end_with_one_line_and_a_status_that_tells_words_from_data(
    arguments, message, capsys
) -> None:
    is_of_data = any(name in message for name in ("`DATA`", "no_such", "`MODEL`", "`FOLDER`"))
    assert main(arguments) == (1 if is_of_data else 2)
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert errors.startswith("tfdpm: ")
    assert errors.count("\n") == 1
    assert message in errors


@pytest.mark.parametrize(
    "error", [ValueError("wrong\nin two lines"), TypeError("wrong"), ImportError("wrong")]
)
def test_errors_of_the_library_become_one_line(error, calls, monkeypatch, capsys) -> None:
    def fit(data, **_):
        raise error

    monkeypatch.setattr(tfdpm, "fit", fit)
    assert main(["fit", "blobs"]) == 1
    assert capsys.readouterr().err in ("tfdpm: wrong\n", "tfdpm: wrong in two lines\n")


def test_what_is_found_while_reading_becomes_one_line(calls, monkeypatch, capsys) -> None:
    def fit(data, **_):
        stream = tf.data.Dataset.from_tensor_slices([[1.0], [np.nan]])
        list(as_features(stream).dataset)

    monkeypatch.setattr(tfdpm, "fit", fit)
    assert main(["fit", "blobs"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("tfdpm: `x`: got 1 points with NaN or infinite values in batch 0")
    assert errors.count("\n") == 1


def test_a_defect_of_ours_is_not_hidden(calls, monkeypatch) -> None:
    def fit(data, **_):
        raise ZeroDivisionError

    monkeypatch.setattr(tfdpm, "fit", fit)
    with pytest.raises(ZeroDivisionError):
        main(["fit", "blobs"])


@pytest.mark.parametrize("words", ["", "interrupted in stage 2 of 3, encoder"])
def test_interrupting_is_one_line_and_no_traceback(calls, monkeypatch, capsys, words) -> None:
    def fit(data, **_):
        raise KeyboardInterrupt(*[words] if words else [])

    monkeypatch.setattr(tfdpm, "fit", fit)
    assert main(["fit", "blobs"]) == 130
    assert capsys.readouterr().err == f"tfdpm: {words or 'interrupted'}\n"


def test_fit_keeps_stages_in_the_output_until_it_has_ended(calls, two_blobs, monkeypatch) -> None:
    out = two_blobs / "out"
    assert main(["fit", str(two_blobs / "two.npy"), "--out", str(out)]) == 0
    assert calls[0]["directory"] == out / "stages"
    assert not (out / "stages").exists()


def test_a_file_of_an_encoder_is_features(calls, two_blobs, capsys) -> None:
    encoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    encoder.save(two_blobs / "encoder.keras")
    data = str(two_blobs / "two.npy")
    assert main(["fit", data, "--features", str(two_blobs / "encoder.keras")]) == 0
    assert calls[0]["features"].output_shape == (None, 3)
    assert main(["fit", data, "--features", str(two_blobs / "none.keras")]) == 2
    assert "`--features`" in capsys.readouterr().err


def test_texts_are_read_for_an_encoder_of_them(monkeypatch, tmp_path) -> None:
    words = keras.layers.TextVectorization(output_mode="multi_hot", vocabulary=["cat", "dog"])
    encoder = keras.Sequential([keras.Input((), dtype="string"), words])
    encoder.save(tmp_path / "words.keras")
    (tmp_path / "t.txt").write_text("a cat\nno dog\n")
    given = []

    def fit(data, **_):
        given.append(data)
        raise ValueError("that will do")

    monkeypatch.setattr(tfdpm, "fit", fit)
    main(["fit", str(tmp_path / "t.txt"), "--features", str(tmp_path / "words.keras")])
    assert given[0].array.tolist() == ["a cat", "no dog"]


@pytest.mark.parametrize(
    "command", ["", "fit", "predict", "export", "bench", "bench quality", "bench speed"]
)
def test_every_command_has_help(command, capsys) -> None:
    assert main([*command.split(), "--help"]) == 0
    printed, errors = capsys.readouterr()
    assert f"Usage: tfdpm {command}" in printed
    assert errors == ""


def test_no_arguments_show_the_help(capsys) -> None:
    assert main([]) == 0
    assert "Usage: tfdpm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--help"], 0), (["fit", "--help"], 0), (["--version"], 0), (["fti"], 2), (["fit", "-x"], 2)],
)
def test_help_and_typing_errors_do_not_wait_for_tensorflow(arguments, status) -> None:
    code = (
        f"import sys, time\nfrom tfdpm.cli import main\nassert main({arguments}) == {status}\n"
        "assert not {'tensorflow', 'keras', 'scipy'} & set(sys.modules)\n"
        "assert time.process_time() < 0.5, time.process_time()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_version_is_shown(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tfdpm {tfdpm.__version__}\n"


def test_a_fresh_process_prints_one_line_and_returns_the_status() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tfdpm", "fit", "nowhere.npy"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


# -- for programs ---------------------------------------------------------------------------------


def test_quiet_commands_print_nothing_and_json_is_one_object(calls, two_blobs, capsys) -> None:
    data, out = str(two_blobs / "two.npz"), str(two_blobs / "m")
    assert main(["fit", data, "--out", out, "--quiet"]) == 0
    assert main(["predict", out, data, "--out", str(two_blobs / "l.npy"), "-q"]) == 0
    assert main(["export", out, str(two_blobs / "served"), "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert calls[-1]["verbose"] == 0
    assert main(["fit", data, "--out", out, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["n_clusters"] == 2 and facts["sizes"] == {"0": 30, "1": 10}
    assert facts["scores"]["NMI"] == pytest.approx(1.0) and facts["seconds"] > 0
    assert facts["written"][0] == str(two_blobs / "m" / "model.keras")
    assert main(["predict", out, data, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["labels"] == [0] * 30 + [1] * 10 and facts["scores"]["ACC"] == 1.0


def test_drift_is_told_in_sentences_or_as_json(calls, two_blobs, capsys) -> None:
    data = str(two_blobs / "two.npy")
    main(["fit", data, "--out", str(two_blobs), "-q"])
    assert main(["drift", str(two_blobs), data]) == 0
    assert "Cluster 0: grew, 50.0% to 75.0% of the points (p 0.005)" in capsys.readouterr().out
    assert main(["drift", str(two_blobs), data, "--json", "--level", "0.1"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["smallest_p"] == 0.05 and facts["clusters"][1]["shift_p"] is None
    assert [each["change"] for each in facts["clusters"]] == ["grew", "", ""]


@pytest.mark.parametrize("command", ["predict", "drift", "report"])
def test_a_saved_model_reads_later_tables_by_options(saved_blobs, tmp_path, command) -> None:
    points = np.load(saved_blobs / "x.npy").tolist()
    rows = [f"{a},{b},note {i},{i % 2}" for i, (a, b) in enumerate(points)]
    data = tmp_path / "t.csv"
    data.write_text("\n".join([*rows, ",1.0,last,0"]))
    given = [command, str(saved_blobs), str(data)]
    given += ["--out", str(tmp_path / "page.html")] * (command == "report")
    assert main(given) == 1
    options = ["--no-header", "--drop", "2", "--label", "3", "--missing", "drop"]
    assert main([*given, *options]) == 0


def test_an_exported_folder_is_asked_as_the_saved_model_is(saved_blobs, tmp_path, capsys) -> None:
    data, target = str(saved_blobs / "x.npy"), tmp_path / "served" / "1"
    assert main(["export", str(saved_blobs), str(target), "--quiet"]) == 0
    answers = []
    for model in (saved_blobs, target, target.parent):
        assert main(["predict", str(model), data, "--json"]) == 0
        assert main(["drift", str(model), data]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] == answers[2] and "No cluster has changed" in answers[0]
    assert main(["split", str(target), "0"]) == 1
    assert "an exported model, which only answers predict and drift" in capsys.readouterr().err
    (target / "model.keras").write_bytes((saved_blobs / "model.keras").read_bytes())
    assert main(["split", str(target), "0", "--out", str(tmp_path / "other.keras")]) == 0


def test_clusters_of_a_saved_model_are_edited(tmp_path, capsys) -> None:
    x, _ = tfdpm.data.gaussian_mixture(3, 2, 150, separation=8.0, seed=0)
    np.save(tmp_path / "x.npy", x)
    model = tfdpm.fit(x, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    folder, out = str(tmp_path), str(tmp_path / "other.keras")
    assert main(["merge", folder, "0", "2"]) == 0
    assert main(["split", folder, "0", "--out", out]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["cluster 0, of 2 clusters", "clusters 0 and 2, of 3 clusters"]
    assert main(["merge", folder, "0"]) == 2
    assert main(["merge", folder, "0", "7"]) == 1
    assert main(["split", folder, "0", "--out", "other"]) == 2
    assert "wanted" in capsys.readouterr().err
    assert main(["predict", out, str(tmp_path / "x.npy")]) == 0
    assert capsys.readouterr().out.split() == list(map(str, model.labels_))


def test_a_shell_can_complete_commands(monkeypatch, capsys) -> None:
    words = {"_TFDPM_COMPLETE": "complete_bash", "COMP_WORDS": "tfdpm ex", "COMP_CWORD": "1"}
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["x"])
    assert capsys.readouterr().out.split() == ["export"]


@pytest.mark.parametrize("form", ["tflite", "savedmodel"])
def test_an_export_writes_no_lines_of_tensorflow(tmp_path, form) -> None:
    model = tfdpm.fit("blobs", epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    command = [sys.executable, "-m", "tfdpm", "export", str(tmp_path), "there", "--format", form]
    clean = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=clean)
    assert (made.returncode, made.stdout, made.stderr) == (0, "written to there\n", "")


@pytest.mark.parametrize("columns", [80, 100])
def test_the_page_shows_what_a_window_of_these_columns_shows(columns, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["fit", "blobs", "--epochs", "3"]) == 0
    printed = capsys.readouterr().out.splitlines()
    page = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")
    shown = page.partition("```text\n")[2].partition("\n```")[0].splitlines()
    (start,) = [place for place, line in enumerate(printed) if line.startswith("K = ")]
    assert printed[start:-1] == shown[1:-1]  # lines of epochs and seconds differ from run to run
    assert printed[0].startswith(shown[0].partition("loss")[0])
    assert max(map(len, printed[start:])) <= 80
