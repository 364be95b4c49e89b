"""What has become of clusters in new points: p-values without drift, and drift that is found."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import tfdpm
from tfdpm import DeepDPM, DeepDPMConfig
from tfdpm.callbacks import DriftMonitor
from tfdpm.interpret.drift import adjust_p_values, compare_places, compare_shares
from tfdpm.mixture.statistics import accumulate_hard

CENTRES = np.array([[0.0, 0.0], [7.0, 0.0], [0.0, 7.0]])
SHARES = (0.5, 0.3, 0.2)


def draw(count, seed, shares=SHARES, centres=CENTRES):
    rng = np.random.default_rng(seed)
    return centres[rng.choice(len(centres), count, p=shares)] + rng.standard_normal((count, 2))


@pytest.fixture(scope="module")
def model():
    model = DeepDPM(DeepDPMConfig(min_steps_per_epoch=20), seed=0)
    model.fit(draw(1500, 0), epochs=2, verbose=0)
    assert model.n_clusters == 3
    return model


def cluster_at(model, *centre):
    return int(np.linalg.norm(model.means_ - centre, axis=1).argmin())


def statistics(points, labels):
    return accumulate_hard(tf.constant(points), tf.constant(labels), 3)


def share_below(p_values, level):
    """The share of p-values below a level, and three standard deviations more than the level."""
    p_values = np.asarray(p_values)
    return np.mean(p_values <= level), level + 3 * np.sqrt(level * (1 - level) / len(p_values))


@pytest.mark.parametrize("law", ["normal", "exponential"])
@pytest.mark.parametrize("dim", [1, 6])
def test_p_values_without_drift_are_at_most_uniform(law, dim):
    rng = np.random.default_rng(dim)
    shares, places = [], []
    for _ in range(300):
        samples = []
        for count in (400, 150):
            labels = rng.choice(3, count, p=SHARES)
            samples.append(
                (getattr(rng, f"standard_{law}")((count, dim)) + labels[:, None], labels)
            )
        counts = np.array([np.bincount(labels, minlength=3) for _, labels in samples])
        shares.extend(compare_shares(counts))
        places.extend(compare_places(*(statistics(*sample) for sample in samples))[1])
    for p_values in (shares, places):
        for level in (0.01, 0.05, 0.2, 0.5):
            found, most = share_below(p_values, level)
            assert found <= most
    assert share_below(places, 0.5)[0] > 0.4  # nor are they all one


def test_places_are_compared_as_by_two_t_tests_of_one_column():
    rng = np.random.default_rng(0)
    samples = [(rng.normal(shift, 1, (40, 1)), np.repeat([0, 1], [25, 15])) for shift in (0, 0.4)]
    shifts, found = compare_places(*(statistics(*sample) for sample in samples))
    for k in range(2):
        first, second = (points[labels == k, 0] for points, labels in samples)
        assert found[k] == pytest.approx(scipy.stats.ttest_ind(first, second).pvalue)
    assert np.isnan(found[2]) and np.isnan(shifts[2])


def test_correction_is_that_of_holm():
    found = adjust_p_values(np.array([0.04, np.nan, 0.01, 0.03, 0.5]))
    np.testing.assert_allclose(found, [0.09, np.nan, 0.04, 0.09, 0.5])


def test_alarms_without_drift_are_as_rare_as_the_level_says(model):
    lowest = [model.drift(draw(300, seed)).smallest_p for seed in range(1, 61)]
    found, most = share_below(lowest, 0.05)
    assert found <= most


def test_each_kind_of_drift_is_found_and_nothing_else(model):
    shares, centres = (0.3, 0.3, 0.2, 0.2), np.concatenate([CENTRES, [[-20.0, 20.0]]])
    centres[2, 1] += 0.5
    drift = model.drift(draw(2000, 9, shares, centres))
    assert drift.changes[cluster_at(model, 0, 0)].startswith("shrank")
    assert drift.changes[cluster_at(model, 0, 7)].endswith("moved") or drift.has_appeared
    assert drift.has_appeared
    assert drift.unlike[1] == pytest.approx(0.2, abs=0.03)
    assert drift.is_unlike.mean() == drift.unlike[1]
    only_moved = CENTRES + np.array([[0.0, 0.0], [0.4, 0.0], [0.0, 0.0]])
    drift = model.drift(draw(2000, 10, centres=only_moved))
    moved = cluster_at(model, 7, 0)
    assert [change == "moved" for change in drift.changes] == [k == moved for k in range(3)]
    assert drift.shifts[moved] == pytest.approx(0.4, abs=0.1)
    assert f"by {drift.shifts[moved]:.2f} standard deviations (p" in str(drift)
    assert not drift.has_appeared
    drift = model.drift(draw(2000, 11, (0.4, 0.4, 0.2)))
    assert drift.changes[moved] == "grew"
    assert drift.changes[cluster_at(model, 0, 0)] == "shrank"
    assert drift.changes[cluster_at(model, 0, 7)] == ""


def test_a_loaded_model_tells_the_same_in_a_table_and_in_sentences(model, tmp_path):
    new = draw(500, 12, (0.2, 0.3, 0.5))
    model.save(tmp_path / "model.keras")
    drift = model.drift(new)
    table = keras.models.load_model(tmp_path / "model.keras").drift(new).table
    assert list(table.index) == [0, 1, 2, -1]
    np.testing.assert_allclose(table["share_p"], drift.table["share_p"], rtol=1e-6)
    np.testing.assert_allclose(
        table["share_now"][:3], np.bincount(model.predict_labels(new)) / 500, atol=0.01
    )
    assert "grew" in str(drift) and "shrank" in str(drift)
    assert "deviations" not in str(drift)  # which tell of clusters that moved
    assert "No cluster has changed." in str(model.drift(draw(500, 13)))


def test_a_stream_that_drifts_is_noticed_once_it_does(model):
    same, other = draw(1200, 14), draw(400, 15, centres=CENTRES + 3.0)
    batches = tf.data.Dataset.from_tensor_slices(np.concatenate([same, other])).batch(400)
    monitor = DriftMonitor(model, stops=True)
    online = DeepDPM(DeepDPMConfig(min_steps_per_epoch=20), seed=1)
    with pytest.warns(UserWarning, match="Epoch 4: 400 new points"):
        online.fit(batches, steps_per_epoch=1, epochs=6, callbacks=[monitor], verbose=0)
    found = online.history.history["drift_p"]
    assert len(found) == 4 and min(found[:3]) > 0.005 and found[3] < 1e-6
    with pytest.raises(ValueError, match="`reference`: got the model that is fitted"):
        online.fit(batches, steps_per_epoch=1, epochs=1, callbacks=DriftMonitor(online), verbose=0)


def test_the_picture_shows_what_changed(model):
    pytest.importorskip("matplotlib")
    ax = tfdpm.viz.plot_drift(model.drift(draw(500, 16, (0.2, 0.3, 0.5))))
    marks = np.concatenate([dots.get_offsets() for dots in ax.collections[1:]])
    assert np.isfinite(marks).all() and len(marks) == 8
    (left, right), (bottom, top) = ax.get_xlim(), sorted(ax.get_ylim())
    assert ((marks[:, 0] > left) & (marks[:, 0] < right)).all()
    assert ((marks[:, 1] > bottom) & (marks[:, 1] < top)).all()
    assert {text.get_text().strip() for text in ax.texts} >= {"grew", "shrank"}


def test_the_picture_names_what_is_no_drift():
    with pytest.raises(TypeError, match="`drift`: got int, wanted what `model.drift"):
        tfdpm.viz.plot_drift(3)
