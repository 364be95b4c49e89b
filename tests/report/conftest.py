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


HOSTILE = (
    "<script>window.ours = 1</script>",
    "</script><script>window.ours = 2</script>",
    "<img src=x onerror='window.ours = 3'>",
    '"><svg onload=window.ours=4>',
    "<a href='javascript:window.ours = 5'>press</a>",
    "'; window.ours = 6; //",
    "${window.ours = 7}",
    "<!-- <b>%{customdata}",
)


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory):
    """The report of a table whose names, labels, file, title and command are all code."""
    import pandas as pd

    x, y = tfdpm.data.gaussian_mixture(4, len(HOSTILE), 200, separation=6.0, seed=0)
    frame = pd.DataFrame(x, columns=list(HOSTILE))
    model = tfdpm.fit(frame, epochs=1, verbose=0)
    folder = tmp_path_factory.mktemp("<img src=x onerror=alert(1)>")
    text = " ".join(HOSTILE)
    return model.report(folder / "page.html", frame, np.array(HOSTILE)[y], title=text, command=text)
