"""One fitted model of small images with labels, and its report."""

from __future__ import annotations

import numpy as np
import pytest

import tfdpm


@pytest.fixture(scope="session")
def images():
    x, y = tfdpm.data.gaussian_mixture(4, 16, 300, separation=6.0, seed=2)
    return x, y, x.reshape(-1, 4, 4)


@pytest.fixture(scope="session")
def model(images):
    return tfdpm.fit(images[:2], epochs=3, verbose=0)


@pytest.fixture(scope="session")
def page(model, images, tmp_path_factory):
    x, y, pictures = images
    path = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    labels = np.array(["ant", "bee", "cat", "<dog>"])[y]
    return model.report(
        path, x, labels, pictures, title="a <b> c", command="tfdpm fit <x>", seconds=1.25
    )
