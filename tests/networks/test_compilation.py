from __future__ import annotations

import numpy as np
import pytest

import tfdpm
from tfdpm import DeepDPMConfig
from tfdpm.networks.compilation import compiles_steps, is_brief


def test_only_fits_of_many_steps_are_compiled():
    paper = DeepDPMConfig.paper()
    assert compiles_steps(paper, 547)  # 70,000 points
    assert not compiles_steps(paper.replace(epochs=3), 547)
    default = DeepDPMConfig()
    assert not compiles_steps(default, 2_000)
    assert compiles_steps(default, 20_000)  # ten million points


def test_the_default_is_brief_and_the_papers_five_hundred_epochs_are_not():
    paper = DeepDPMConfig.paper()
    assert is_brief(DeepDPMConfig()) and not is_brief(paper)
    assert is_brief(paper.replace(epochs=6)) and not is_brief(paper.replace(epochs=7))


@pytest.mark.parametrize("choice", [True, False])
def test_a_choice_of_the_users_is_kept(choice):
    for steps in (1, 10**6):
        assert compiles_steps(DeepDPMConfig(jit_compile=choice), steps) is choice


def test_a_fit_by_xla_ends_in_the_same_clusters():
    x, _ = tfdpm.data.gaussian_mixture(4, 3, 400, seed=0)
    models = []
    for choice in (False, True):
        config = DeepDPMConfig(jit_compile=choice)
        models.append(tfdpm.fit(x, config=config, features="none", seed=0, verbose=0))
    first, second = models
    np.testing.assert_array_equal(first.labels_, second.labels_)
    np.testing.assert_allclose(first.predict(x), second.predict(x), atol=5e-3)
    losses = [model.history.history["loss"] for model in models]
    np.testing.assert_allclose(*losses, rtol=0.05, atol=1e-4)
