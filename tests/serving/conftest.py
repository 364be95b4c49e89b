"""One small model and its export, which the tests of this folder share and leave as they are."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfdpm

X = tfdpm.data.gaussian_mixture(3, 4, 200, seed=0)[0].astype(np.float32)


@pytest.fixture(scope="package")
def model():
    model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=5), seed=0)
    model.fit(X, epochs=1, verbose=0)
    return model


@pytest.fixture(scope="package")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "demo" / "1"
    model.export(folder)
    return folder


@pytest.fixture(scope="package")
def signatures(exported):
    return tf.saved_model.load(str(exported)).signatures
