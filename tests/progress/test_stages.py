"""Stages: what is announced, what is kept and under which name, what an interruption says."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdpm.progress.stages import BatchProgress, Stages, fingerprint

X = np.arange(12.0).reshape(4, 3)


@pytest.fixture
def clock(monkeypatch):
    """Time that a test sets, in seconds."""
    now = [0.0]
    monkeypatch.setattr("tfdpm.progress.stages.time.monotonic", lambda: now[0])
    return now


def test_stages_are_announced_with_number_and_time_left(capsys, clock):
    stages = Stages(("first", "second"), verbose=1)
    with stages.stage("second"):
        clock[0] = 13.0  # most of which is no step
        stages.progress(1, 5)
        clock[0] = 15.0
        stages.progress(2, 5)  # too soon after the last report
        clock[0] = 25.0
        stages.progress(3, 5)
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "stage 2 of 2, second ...",
        "stage 2 of 2, second: 1/5",
        "stage 2 of 2, second: 3/5, 12 s left",
        "stage 2 of 2, second: 25.0 s",
    ]


def test_time_left_counts_from_where_an_interrupted_run_was(capsys, clock):
    stages = Stages(("only",), verbose=1)
    with stages.stage("only"):
        stages.resume(80, 100)
        stages.progress(81, 100)
        clock[0] = 20.0
        stages.progress(91, 100)
    assert capsys.readouterr().out.splitlines()[1:3] == [
        "stage 1 of 1, only: goes on after 80/100",
        "stage 1 of 1, only: 91/100, 18 s left",
    ]


def test_a_long_stage_reports_less_often(capsys, clock):
    stages = Stages(("only",), verbose=1)
    with stages.stage("only"):
        for step in range(200):
            clock[0] += 11.0
            stages.progress(step + 1, 200)
    assert 40 <= len(capsys.readouterr().out.splitlines()) - 2 <= 50


def test_batches_of_a_training_are_counted_across_interruptions(monkeypatch):
    calls = []
    monkeypatch.setattr(Stages, "progress", lambda stages, *args: calls.append(args))
    monkeypatch.setattr(Stages, "resume", lambda stages, *args: calls.append(("resume", *args)))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    options = {"batch_size": 2, "epochs": 3, "verbose": 0}
    for first in (0, 2):
        progress = BatchProgress(Stages(("only",)))
        model.fit(X, X[:, :1], initial_epoch=first, callbacks=[progress], **options)
    whole = [("resume", 0, 6), *((done, 6) for done in range(1, 7))]
    assert calls == [*whole, ("resume", 4, 6), (5, 6), (6, 6)]


def test_silence_is_silent(capsys):
    with Stages(("first",), verbose=0).stage("first"):
        pass
    assert capsys.readouterr().out == ""


def test_results_are_made_once_and_only_whole_files_are_kept(tmp_path):
    made = []

    def make():
        made.append(1)
        return X

    for _ in range(2):
        stages = Stages(("first",), directory=tmp_path / "run", key="abc")
        with stages.stage("first"):
            np.testing.assert_array_equal(stages.kept_array("places", make), X)
    assert len(made) == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["places-abc.npy"]
    (tmp_path / "run" / "places-abc.npy").write_bytes(b"damaged")
    np.testing.assert_array_equal(stages.kept_array("places", make), X)
    assert len(made) == 2


def test_other_data_or_settings_never_meet_a_kept_result():
    keys = {
        fingerprint(X, seed=0),
        fingerprint(X, seed=1),
        fingerprint(X + 1, seed=0),
        fingerprint(X.reshape(3, 4), seed=0),
        fingerprint(X.astype(np.float32), seed=0),
    }
    assert len(keys) == 5
    assert fingerprint(X.copy(), seed=0) in keys


@pytest.mark.parametrize("keeps", [False, True])
def test_an_interruption_says_where_it_was(tmp_path, keeps):
    stages = Stages(("first", "second"), directory=tmp_path if keeps else None, key="k")
    with pytest.raises(KeyboardInterrupt) as interrupt, stages.stage("first"):
        raise KeyboardInterrupt
    assert str(interrupt.value).startswith("interrupted in stage 1 of 2, first")
    assert (str(tmp_path) in str(interrupt.value)) == keeps


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`directory`"):
        Stages(("first",), directory=tmp_path / "file")
