"""What is on the pictures: points, ellipses, images, curves, frames; errors name the extra."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

import tfdpm
from tfdpm import viz
from tfdpm.viz import clusters, plots
from tfdpm.viz.colors import cluster_colors
from tfdpm.viz.history import list_moves, plot_history


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


def test_plot_shows_every_point_and_component(plane_model, plane_data):
    axes = plane_model.plot(plane_data[0])
    (points,) = axes.collections
    np.testing.assert_allclose(points.get_offsets(), plane_data[0])
    assert len(axes.lines) == 3
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]
    assert "3 clusters" in axes.get_title()
    assert len(axes.images) == 1


def test_plot_without_points_shows_those_of_the_fit(solid_model, solid_data):
    axes = solid_model.plot(max_points=100, decision_regions=False)
    assert len(axes.collections[0].get_offsets()) == 100
    assert "(LDA)" in axes.get_title() or "(PCA)" in axes.get_title()
    assert not axes.images


def marks_inside(axes) -> int:
    """Points of lines and dots, bars and images that lie within the limits of the axes."""
    axes.figure.canvas.draw()
    paths = [line.get_xydata() for line in axes.lines if line.get_visible()]
    paths += [np.asarray(each.get_offsets()) for each in axes.collections]
    low, high = np.sort(np.array([axes.get_xlim(), axes.get_ylim()]), axis=1).T
    inside = [np.sum(np.all((path >= low) & (path <= high), axis=1)) for path in paths if len(path)]
    pictures = [each for each in axes.images if np.ptp(np.asarray(each.get_array(), float)) > 0]
    return int(sum(inside)) + len(pictures)


def test_every_picture_shows_marks_inside_its_axes(
    plane_model, plane_data, solid_model, solid_data
):
    once = tfdpm.fit(solid_data, epochs=1, verbose=0)
    drawn = {
        "plane": plane_model.plot(plane_data[0], decision_regions=False),
        "solid": solid_model.plot(solid_data[0], decision_regions=False),
        "layout": solid_model.plot(solid_data[0], projection="umap", decision_regions=False),
    }
    for name, axes in drawn.items():
        assert marks_inside(axes) > 250, name
    for axes in (*plane_model.plot_history(), *once.plot_history()):
        assert marks_inside(axes) > 0, axes.get_title()
        assert any(line.get_marker() not in ("", "None") for line in axes.lines)
    search = once.plot_history()[0]
    assert search.get_title() == "search before the first epoch"
    counts = search.lines[0].get_ydata()
    assert counts[0] == 1 and counts[-1] == once.n_clusters
    (right,) = [each for each in search.figure.axes if "evidence" in each.get_ylabel()]
    assert marks_inside(right) > 1 and right.lines[0].get_ydata()[-1] > 0
    for row in solid_model.plot_clusters(solid_data[0], per_cluster=3):
        assert all(marks_inside(axes) == 1 for axes in row)


def test_numbers_of_many_clusters_do_not_cover_each_other():
    _, axes = pyplot.subplots(figsize=(4, 4))
    places = np.random.default_rng(0).uniform(size=(400, 2))
    plots._write_numbers(axes, places, np.arange(400)[::-1])
    axes.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 40 < len(boxes) < 400 and axes.texts[0].get_text() == "399"
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself alone


def test_every_cluster_has_a_colour_of_its_own():
    assert len(set(cluster_colors(200))) == 200


def test_history_marks_epochs_with_accepted_moves():
    history = {
        "n_clusters": [1, 2, 4, 3],
        "accepted_splits": [0, 1, 2, 0],
        "accepted_merges": [0, 0, 0, 1],
        "loss": [float("nan"), 2.0, 1.0, 0.5],
        "nmi": [0.0, 0.5, 0.7, 0.9],
    }
    counts, losses, scores = plot_history(history)
    splits, merges = counts.collections
    np.testing.assert_array_equal(splits.get_offsets(), [[2, 2], [3, 4]])
    np.testing.assert_array_equal(merges.get_offsets(), [[4, 3]])
    np.testing.assert_array_equal(losses.lines[0].get_xydata(), [[2, 2.0], [3, 1.0], [4, 0.5]])
    assert scores.get_legend_handles_labels()[1] == ["NMI"]
    with pytest.raises(ValueError, match="`history`"):
        plot_history({"loss": [1.0]})


def test_moves_are_listed_with_epoch_and_number_of_clusters():
    history = {"n_clusters": [None, 2, 4], "accepted_splits": [1, 0, 2]}
    assert list_moves(history, "accepted_splits") == [(3, 4.0, 2)]
    assert list_moves(history, "accepted_merges") == []


def test_a_fit_draws_its_history(plane_model):
    assert len(plane_model.plot_history()) == len(plot_history(plane_model)) == 4
    assert len(plot_history(plane_model.history.history)) == 3
    assert len(plot_history(SimpleNamespace(history=plane_model.history))) == 3  # without a tree
    with pytest.raises(RuntimeError, match="`history`: got a model that was not trained here"):
        plot_history(tfdpm.DeepDPM())


def test_typical_members_are_dense_and_doubtful_ones_torn():
    responsibilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
    density = np.array([-5.0, -1.0, -2.0, -1.0])
    typical = clusters.list_members(responsibilities, density, 2)
    doubtful = clusters.list_members(responsibilities, density, 2, "doubtful")
    assert [group.tolist() for group in typical] == [[1, 2], [3]]
    assert [group.tolist() for group in doubtful] == [[1, 2], [3]]
    assert clusters.list_members(responsibilities, density, 3, "doubtful")[0].tolist() == [1, 2, 0]
    assert clusters.list_members(responsibilities, density, 3)[0].tolist() == [1, 2, 0]
    density[0] = 0.0
    assert clusters.list_members(responsibilities, density, 3)[0].tolist() == [0, 1, 2]


def test_images_of_any_form_become_bytes():
    grey = clusters.as_images(np.linspace(0, 1, 2 * 9).reshape(2, 9))
    assert grey.shape == (2, 3, 3, 1)
    assert (grey.min(), grey.max()) == (0, 255)
    colour = np.zeros((2, 4, 5, 3), np.uint8)
    np.testing.assert_array_equal(clusters.as_images(colour), colour)
    with pytest.raises(ValueError, match="`images`: got shape"):
        clusters.as_images(np.zeros((2, 7)))


def test_grid_has_a_row_for_each_cluster_largest_first(solid_model, solid_data):
    axes = solid_model.plot_clusters(solid_data[0], per_cluster=3)  # nine columns: 3 x 3 pixels
    assert axes.shape == (4, 3)
    sizes = [int(row[0].get_ylabel().split("\n")[1]) for row in axes]
    assert sizes == sorted(solid_model.cluster_sizes_, reverse=True)
    with pytest.raises(ValueError, match="`images`: got 2 images"):
        solid_model.plot_clusters(np.zeros((2, 3, 3)), solid_data[0])


def test_animation_has_a_frame_for_each_epoch_and_leaves_the_model_alone(plane_model, tmp_path):
    before = plane_model.n_clusters
    path = plane_model.animate(tmp_path / "deep" / "animation.gif", epochs=2, inches=2.0)
    with Image.open(path) as animation:
        assert animation.n_frames in (3, 4)  # equal frames are stored once
        assert animation.size == (200, 200)
        for frame in range(animation.n_frames):
            animation.seek(frame)
            assert np.asarray(animation.convert("RGB"))[40:160, 40:160].std() > 10
    assert plane_model.n_clusters == before


def test_an_animation_must_be_a_gif():
    with pytest.raises(ValueError, match=r"`path`: got 'animation.mp4'"):
        viz.Animation("animation.mp4", np.zeros((3, 2)))


@pytest.mark.parametrize("method", ["plot", "plot_history"])
def test_without_matplotlib_the_error_names_the_extra(method, plane_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'tfdpm\[viz\]'"):
        getattr(plane_model, method)()


def test_a_model_with_an_encoder_draws_its_sample_but_reports_only_on_points(solid_data, tmp_path):
    import keras

    encoder = keras.Sequential([keras.Input((9,)), keras.layers.Dense(4)])
    model = tfdpm.DeepDPM(encoder=encoder)
    model.fit(solid_data[0], epochs=1, verbose=0)
    drawn = model.plot(decision_regions=False).collections[0].get_offsets()
    given = model.plot(solid_data[0], decision_regions=False).collections[0].get_offsets()
    assert len(drawn) == len(given) == 400  # sorted otherwise, so compared as sets
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(given[:, 0]), atol=1e-3)
    with pytest.raises(ValueError, match="a model with an encoder inside"):
        model.report(tmp_path / "r.html")
