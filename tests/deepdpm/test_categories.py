"""Frames with text: fitted, asked in any order, saved, exported, continued, reported."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pandas as pd
import pytest

import tfdpm
from tfdpm.config import DeepDPMConfig
from tfdpm.report import facts
from tfdpm.sklearn import DeepDPMClusterer

FAST = DeepDPMConfig(min_steps_per_epoch=10, stable_epochs=None)
ISLANDS = np.array(["Biscoe", "Dream", "Torgersen"])


def penguins(num_points: int, seed: int):
    """A frame of three kinds, told apart by numbers and islands together, and the kinds."""
    generator = np.random.default_rng(seed)
    kinds = generator.integers(0, 3, num_points)
    moved = np.where(generator.uniform(size=num_points) < 0.1, 1, kinds)
    frame = pd.DataFrame(
        {
            "island": ISLANDS[moved],
            "length": 190.0 + 14.0 * kinds + 7.0 * generator.normal(size=num_points),
            "sex": generator.choice(["female", "male"], num_points),
            "depth": 0.2 * generator.normal(size=num_points) + 0.8 * (kinds == 1),
            "tagged": generator.uniform(size=num_points) < 0.3,
        }
    )
    return frame, kinds


FRAME, KINDS = penguins(600, seed=0)
NEW, NEW_KINDS = penguins(300, seed=1)


@pytest.fixture(scope="module")
def model():
    model = tfdpm.DeepDPM(FAST, seed=0)
    model.fit(FRAME, epochs=1, verbose=0)
    return model


def numbers_of(frame, columns) -> np.ndarray:
    """What an exported model takes, by another way."""
    dummies = pd.get_dummies(frame, columns=["island", "sex"], prefix_sep="=")
    return dummies[list(columns.features)].to_numpy(np.float64)


def test_numbers_and_categories_are_weighed_together(model):
    assert model.n_clusters == 3
    assert tfdpm.metrics.ari(KINDS, model.labels_) > 0.9
    assert tfdpm.metrics.ari(NEW_KINDS, model.predict_labels(NEW)) > 0.9
    fewer = [
        tfdpm.metrics.ari(KINDS, tfdpm.fit(FRAME[names], config=FAST, epochs=1, verbose=0).labels_)
        for names in (["length", "depth"], ["island", "sex", "tagged"])
    ]
    assert max(fewer) < 0.85


def test_order_and_units_of_columns_and_order_of_categories_change_nothing(model):
    other = NEW[["tagged", "depth", "sex", "length", "island"]]
    ordered = pd.CategoricalDtype(ISLANDS[::-1], ordered=True)
    other = other.astype({"island": ordered, "sex": "category"})
    np.testing.assert_array_equal(model.predict(other), model.predict(NEW))
    np.testing.assert_array_equal(model.predict(numbers_of(NEW, model.columns)), model.predict(NEW))
    metres = FRAME.assign(length=FRAME["length"] / 1000.0)
    in_metres = tfdpm.fit(metres, config=FAST, epochs=1, verbose=0)
    assert tfdpm.metrics.ari(in_metres.labels_, model.labels_) > 0.97
    assert in_metres.features_.startswith("none (columns of categories")


def test_coins_beside_one_cluster_are_no_clusters():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(30.0 * generator.normal(size=(400, 2)), columns=["a", "b"])
    for name, count in [("c", 2), ("d", 3), ("e", 8)]:
        frame[name] = np.array([*"abcdefgh"])[generator.integers(0, count, 400)]
    assert tfdpm.fit(frame, config=FAST, epochs=1, verbose=0).n_clusters == 1


def test_unlike_frames_and_arrays_are_refused(model):
    with pytest.raises(ValueError, match="`x`: got 'Ross' in column 'island'"):
        model.predict(NEW.replace("Dream", "Ross"))
    with pytest.raises(ValueError, match=r"got missing columns \['sex'\]"):
        model.score_samples(NEW.drop(columns="sex"))
    with pytest.raises(ValueError, match="wanted 7 values as in fit: length, depth, tagged, isl"):
        model.predict(np.zeros((2, 5)))
    plain = tfdpm.DeepDPM(FAST)
    plain.fit(FRAME[["length", "depth"]].to_numpy(), epochs=1, verbose=0)
    with pytest.raises(TypeError, match=r"not numbers: \['island'\]"):
        plain.predict(NEW[["length", "island"]])


def test_saved_and_exported_models_know_names_and_categories(model, tmp_path):
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "1")
    turned = NEW[NEW.columns[::-1]]
    for path in ("model.keras", "1"):
        again = tfdpm.load(tmp_path / path)
        assert again.columns == model.columns
        np.testing.assert_array_equal(again.predict_labels(turned), model.predict_labels(NEW))
        with pytest.raises(ValueError, match="sex=male"):
            again.predict(np.zeros((2, 5)))
        with pytest.raises(ValueError, match="'Ross' in column 'island'"):
            again.predict(NEW.replace("Dream", "Ross"))


def test_later_fits_read_frames_as_the_first(model):
    few = NEW[NEW["island"] != "Dream"]
    later = tfdpm.fit(few, config=FAST, epochs=1, verbose=0, reference=model)
    assert later.columns == model.columns
    batches = tfdpm.DeepDPM(FAST, seed=0)
    batches.partial_fit(FRAME)
    batches.partial_fit(few[few.columns[::-1]])
    assert batches.n_clusters == 3
    with pytest.raises(ValueError, match="'Ross'"):
        batches.partial_fit(NEW.replace("Dream", "Ross"))


def test_summary_names_the_columns(model):
    lines = []
    model.summary(print_fn=lines.append)
    assert "Columns: length, depth, tagged; island (3 categories), sex (2 categories)" in lines


def test_reports_name_the_columns(model, tmp_path):
    page = model.report(tmp_path / "report.html", NEW).read_text()
    assert "Which columns tell clusters apart" in page
    assert "Columns: length, depth, tagged; island (3 categories), sex (2 categories)." in page
    gathered = facts.gather_facts(model, NEW, None, None, seed=0)
    assert gathered.columns == model.columns.features
    np.testing.assert_array_equal(gathered.sample.inputs, numbers_of(NEW, model.columns))


def test_why_names_the_columns_in_which_clusters_are_farthest_apart(model, tmp_path):
    lines = []
    evidence = model.why(0, 1, print_fn=lines.append)
    ours, others = (numbers_of(FRAME, model.columns)[model.labels_ == k] for k in (0, 1))
    spread = np.sqrt((ours.var(axis=0) + others.var(axis=0)) / 2) + 1e-9
    distances = dict(
        zip(model.columns.features, abs(ours.mean(axis=0) - others.mean(axis=0)) / spread,
            strict=True)
    )  # fmt: skip
    assert len(evidence.contrasts) == 3
    for contrast in evidence.contrasts:
        column = list(model.columns.features).index(contrast.column)
        means = (ours[:, column].mean(), others[:, column].mean())
        np.testing.assert_allclose(contrast.means, means, atol=0.05 * spread[column])
        if "=" not in contrast.column:  # flags are wider for their rounding
            assert contrast.distance == pytest.approx(distances[contrast.column], rel=0.2)
    assert "sex=male" not in [contrast.column for contrast in evidence.contrasts]
    assert lines[-1].startswith(f"Farthest from cluster 1 in {evidence.contrasts[0].column} (")
    model.save(tmp_path / "model.keras")
    assert tfdpm.load(tmp_path / "model.keras").why(0, 1, print_fn=str).contrasts
    plain = tfdpm.DeepDPM(FAST)
    plain.fit(FRAME[["length", "depth"]].to_numpy(), epochs=1, verbose=0)
    assert plain.why(0, print_fn=str).contrasts == ()


def test_the_estimator_takes_text_and_wants_the_same_names():
    estimator = DeepDPMClusterer(FAST, epochs=1).fit(FRAME)
    assert list(estimator.feature_names_in_) == list(FRAME.columns)
    assert tfdpm.metrics.ari(KINDS, estimator.labels_) > 0.9
    np.testing.assert_array_equal(estimator.predict(FRAME), estimator.labels_)
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(FRAME.rename(columns={"sex": "gender"}))


def answers(seed=0, num_points=400, num_columns=6):
    """Two kinds of rows that six columns of text alone tell apart, beside a number of noise."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, num_points)
    texts = {
        f"c{i}": np.where(rng.random(num_points) < 0.9, kind, rng.integers(0, 3, num_points))
        for i in range(num_columns)
    }
    frame = pd.DataFrame(texts).map("abc".__getitem__)
    return frame.assign(noise=rng.normal(size=num_points)), kind


@pytest.mark.parametrize("has_numbers", [True, False])
def test_clusters_that_categories_alone_show_are_found_kept_and_continued(has_numbers, tmp_path):
    frame, kind = answers()
    frame = frame if has_numbers else frame.drop(columns="noise")
    model = tfdpm.DeepDPM(FAST, seed=0)
    model.fit(frame, verbose=0)
    assert model.n_clusters == 2
    assert tfdpm.metrics.ari(kind, model.labels_) > 0.95
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
    loaded.partial_fit(answers(seed=1)[0][frame.columns])
    assert tfdpm.metrics.ari(kind, loaded.predict_labels(frame)) > 0.95


def test_categories_that_shift_numbers_within_clusters_are_no_clusters():
    rng = np.random.default_rng(0)
    kind, place = rng.integers(0, 2, 600), rng.integers(0, 3, 600)
    numbers = 8.0 * kind[:, np.newaxis] + place[:, np.newaxis] * [0.8, -0.8]
    frame = pd.DataFrame(numbers + rng.normal(size=(600, 2)), columns=["a", "b"])
    model = tfdpm.DeepDPM(FAST, seed=0)
    model.fit(frame.assign(place=np.array(list("xyz"))[place]), verbose=0)
    assert model.n_clusters == 2
    assert tfdpm.metrics.ari(kind, model.labels_) > 0.98


def test_scores_are_log_probabilities_of_categories_and_densities_of_numbers(tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 400)
    frame = pd.DataFrame({"length": 50.0 * kind + 5.0 * rng.normal(size=400)})
    texts = np.array(["red", "green"])[kind]
    frame["color"] = np.where(rng.random(400) < 0.02, "blue", texts)
    frame["tagged"] = rng.random(400) < 0.3
    model = tfdpm.DeepDPM(FAST, seed=0)
    model.fit(frame, verbose=0)
    assert model.n_clusters == 2
    grid = np.linspace(-100.0, 150.0, 1001)
    total = 0.0
    for color in ("red", "green", "blue"):
        for tagged in (True, False):
            rows = pd.DataFrame({"length": grid, "color": color, "tagged": tagged})
            total += np.exp(model.score_samples(rows)).sum() * (grid[1] - grid[0])
    assert total == pytest.approx(1.0, abs=1e-3)
    odd = pd.DataFrame({"length": [0.0, 0.0, 0.0, 25.0], "color": ["red", "blue", "green", "red"]})
    odd["tagged"] = False
    scores, p_values = model.score_samples(odd), model.outlier_p(odd)
    shares = frame["color"][kind == 0].value_counts(normalize=True)
    assert scores[0] - scores[1] == pytest.approx(np.log(shares["red"] / shares["blue"]), abs=0.3)
    assert scores[2] < scores[1] - 1.0 and scores[3] < scores[0] - 5.0
    assert p_values[0] > 0.5 and p_values[1] < 0.1 and max(p_values[2:]) < 0.02
    assert np.mean(model.outlier_p(frame) < 0.05) < 0.07
    model.export(tmp_path / "1")
    served = tfdpm.load(tmp_path / "1")
    np.testing.assert_allclose(served.score_samples(odd), scores, atol=1e-4)
    np.testing.assert_allclose(served.outlier_p(odd), p_values, atol=0.005)


def test_of_categories_alone_scores_of_all_rows_sum_to_one(tmp_path):
    frame, _ = answers(num_columns=4)
    frame = frame.drop(columns="noise")
    model = tfdpm.DeepDPM(FAST, seed=0)
    model.fit(frame, verbose=0)
    every = pd.DataFrame(list(itertools.product("abc", repeat=4)), columns=frame.columns)
    probabilities = np.exp(model.score_samples(every))
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    typical = model.outlier_p(every)[[0, -1]]
    assert typical[0] > 0.5 and typical[1] < 0.01
    model.export(tmp_path / "1")
    served = tfdpm.load(tmp_path / "1")
    np.testing.assert_allclose(served.score_samples(every), np.log(probabilities), atol=1e-4)
    # Its table is coarser, and never tells of too many outliers.
    excess = served.outlier_p(every) - model.outlier_p(every)
    assert -1e-4 < excess.min() and excess.max() < 0.05


def test_more_points_leave_what_the_prior_expects_of_shifts_by_categories(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    before = loaded.fitted.state
    count = before.categories.num_flags
    for seed in (3, 4, 5):
        loaded.partial_fit(penguins(600, seed)[0])
        state = loaded.fitted.state
        shifts = state.prior.scale.numpy()[:count, :count] / state.categories.unit**2
        expected = before.prior.scale.numpy()[:count, :count] / before.categories.unit**2
        np.testing.assert_allclose(shifts, expected, rtol=1e-6)
