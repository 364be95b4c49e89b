"""What "auto" chooses: the data it must get right, and the figures behind it."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.datasets

from tfdpm.data import gaussian_mixture
from tfdpm.features.choice import choose, curvature, image_shape_of

DIGITS = sklearn.datasets.load_digits().data.astype(np.float32)


def texts(count=600, topics=6, seed=0):
    """Unit rows on curved sheets in 384 dimensions, as embeddings of texts lie."""
    generator = np.random.default_rng(seed)
    topic = generator.integers(topics, size=count)
    ways = generator.normal(size=(topics, 3, 384))
    rows = np.einsum("nw,nwd->nd", generator.normal(size=(count, 3)), ways[topic])
    rows = np.tanh(rows) + 0.02 * generator.normal(size=rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (sklearn.datasets.load_iris, "fewer than"),
        (sklearn.datasets.load_wine, "fewer than"),
        (sklearn.datasets.load_breast_cancer, "few features"),
    ],
)
def test_small_tables_stay_as_they_are(loader, reason):
    choice = choose("auto", loader().data)
    assert choice.name == "none" and reason in choice.reason


@pytest.mark.parametrize("dim", [2, 10, 16, 25, 64, 200])
@pytest.mark.parametrize("num_components", [1, 5])
def test_gaussian_mixtures_stay_as_they_are(dim, num_components):
    x, _ = gaussian_mixture(num_components, dim, 800, seed=dim)
    assert choose("auto", x).name == "none"


def curved_sheet(dim, count=700, seed=0):
    generator = np.random.default_rng(seed)
    angles = generator.uniform(0, 3, size=(count, 2))
    return np.sin(angles @ generator.normal(size=(2, dim)) * 2)


def test_tables_are_not_laid_out_however_curved():
    assert curvature(curved_sheet(40)) < 0.6
    assert choose("auto", curved_sheet(40)).name == "none"
    wide = curved_sheet(100)
    assert choose("auto", wide).name == "umap"
    wide[:, 7] = 1e-6 * wide[:, 7]  # a column that hardly varies makes no table
    assert choose("auto", wide).name == "umap"
    units = np.exp(2.0 * np.random.default_rng(1).normal(size=100))
    choice = choose("auto", wide * units)
    assert choice.name == "none" and "different units" in choice.reason


def test_digits_are_images_whose_neighbours_count():
    choice = choose("auto", DIGITS)
    assert (choice.name, choice.image_shape) == ("umap", (8, 8, 1))
    assert "8 x 8" in str(choice) and "1,797" in str(choice)


@pytest.mark.parametrize("shape", [(16, 16), (16, 12, 1), (32, 32, 3)])
def test_images_are_compared_by_their_neighbours(shape):
    images = np.random.default_rng(0).uniform(size=(600, *shape))
    choice = choose("auto", images)
    assert (choice.name, choice.image_shape) == ("umap", (*shape, 1)[:3])


def test_embeddings_of_texts_are_compared_by_their_directions():
    choice = choose("auto", texts())
    assert (choice.name, choice.uses_angles, choice.image_shape) == ("umap", True, None)


def noisy_texts(dim=384, count=700, seed=0):
    """Unit rows: mixtures of a subject's few themes, in noise whose spectrum falls slowly."""
    generator = np.random.default_rng(seed)
    themes = generator.normal(size=(10, 4, dim)) + 1.5 * generator.normal(size=(10, 1, dim))
    shares = generator.dirichlet(np.full(4, 0.4), size=count)
    rows = np.einsum("nt,ntd->nd", shares, themes[generator.integers(10, size=count)])
    noise = generator.normal(size=rows.shape) * (1.0 + np.arange(dim)) ** -0.5
    rows += noise * 2.0 * np.linalg.norm(rows) / np.linalg.norm(noise)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_noise_in_many_directions_does_not_hide_that_texts_are_curved():
    x = noisy_texts()
    assert 0.6 < curvature(x) < 0.8
    assert choose("auto", x).name == "umap"
    # Of tables, whose columns are no directions, more is asked.
    assert choose("auto", x - x.min(axis=0)).name == "none"


def test_tiny_images_are_a_few_features():
    images = np.random.default_rng(0).normal(size=(600, 2, 2))
    assert choose("auto", images).name == "none"


def test_what_was_asked_for_is_not_discussed():
    choice = choose("autoencoder", DIGITS)
    assert (choice.name, choice.reason) == ("autoencoder", "asked for")


def test_pixels_in_another_order_are_no_image():
    order = np.random.default_rng(0).permutation(64)
    assert image_shape_of(DIGITS) == (8, 8, 1)
    assert image_shape_of(DIGITS[:, order]) is None
    assert image_shape_of(np.random.default_rng(1).normal(size=(500, 64))) is None


def test_curvature_is_one_for_gaussians_and_small_on_a_curved_sheet():
    generator = np.random.default_rng(0)
    gaussian = generator.normal(size=(700, 30)) * generator.uniform(0.2, 2.0, size=30)
    assert 0.9 < curvature(gaussian) < 1.1
    angles = generator.uniform(0, 3, size=(700, 2))
    waves = generator.normal(size=(2, 30)) * 2
    assert curvature(np.sin(angles @ waves)) < 0.6


def test_many_gaussians_that_stand_apart_are_not_curved():
    x, _ = gaussian_mixture(50, 80, 3000, seed=0)
    assert curvature(x) > 0.9
    assert choose("auto", x).name == "none"
    sheets = np.concatenate([curved_sheet(80, 300, seed) + 9 * seed for seed in range(5)])
    assert curvature(sheets) < 0.6


def test_curvature_does_not_depend_on_units_or_copies():
    x = DIGITS[:500].astype(np.float64)
    np.testing.assert_allclose(curvature(100 * x + 3), curvature(x), rtol=1e-6)
    np.testing.assert_allclose(curvature(np.repeat(x, 2, axis=0)), curvature(x), rtol=1e-6)
