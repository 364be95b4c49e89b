"""One fitted model in the plane and one in three dimensions, for all pictures."""

from __future__ import annotations

import matplotlib
import pytest

import tfdpm

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def plane_data():
    return tfdpm.data.gaussian_mixture(3, 2, 300, separation=6.0, seed=0)


@pytest.fixture(scope="session")
def plane_model(plane_data):
    return tfdpm.fit(plane_data, epochs=3, verbose=0)


@pytest.fixture(scope="session")
def solid_data():
    return tfdpm.data.gaussian_mixture(4, 9, 400, separation=6.0, seed=1)


@pytest.fixture(scope="session")
def solid_model(solid_data):
    return tfdpm.fit(solid_data[0], epochs=3, verbose=0)
