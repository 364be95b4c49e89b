"""Draws the pictures of reports in this folder, with a real browser.

`python docs/images/screenshots.py --mnist mnist_t10k_images.npz` fits seven kinds of data and takes
some minutes. Chromium or Chrome must be on the path; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PAGES = ("digits", "table", "cancer", "rings", "texts", "many", "mnist")
# Name of a picture: page, part of the page, width and height in pixels.
WIDE = {
    "report_digits": ("digits", "overview", 1280, 1330),
    "report_mnist": ("mnist", "clusters", 1280, 960),
    "report_table": ("table", "columns", 1280, 700),
    "report_cancer": ("cancer", "labels", 1280, 720),
    "report_rings": ("rings", "map", 1280, 900),
    "report_texts": ("texts", "overview", 1280, 800),
    "report_500_clusters": ("many", "map", 1280, 900),
}
NARROW = (
    ("digits", "map"),
    ("mnist", "doubt"),
    ("table", "clusters"),
    ("texts", "clusters"),
    ("many", "map"),
)
NARROW_SIZE = (400, 900)
WORDS_OF = (
    "asyncio datetime keras.layers keras.losses numpy numpy.linalg os pandas scipy.interpolate "
    "scipy.ndimage scipy.optimize scipy.signal scipy.sparse scipy.spatial.distance scipy.special "
    "scipy.stats sklearn.metrics socket subprocess tarfile tensorflow.image threading zipfile"
).split()


def find_browser() -> str:
    """Returns the path of a Chromium, or ends the program with a message."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit(f"no browser on the path; wanted one of {', '.join(BROWSERS)}")
    return found


def take(browser: str, address: str, picture: Path, size: tuple[int, int], *options: str) -> None:
    """Writes a picture of a page, in a window of that size and in few colours."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            f"--user-data-dir={folder}/profile",
            f"--window-size={size[0]},{size[1]}",
            "--virtual-time-budget=20000",
            f"--screenshot={shot}",
            *options,
            address,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        # The octree keeps colours of few pixels, such as those of clusters.
        colors = Image.open(shot).convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE)
        colors.save(picture, optimize=True)


def write_narrow_page(folder: Path) -> Path:
    """Writes a page with narrow frames side by side: windows are never so narrow."""
    width, height = NARROW_SIZE
    frames = "".join(
        f'<iframe src="{name}.html#{part}" width="{width}" height="{height}"></iframe>'
        for name, part in NARROW
    )
    style = "body { margin: 0; display: flex; gap: 16px; background: #7d8590 } iframe { border: 0 }"
    page = folder / "narrow.html"
    page.write_text(f"<!doctype html><style>{style}</style>{frames}", encoding="utf-8")
    return page


def read_sentences() -> list[str]:
    """Returns the first sentences of what libraries say of their functions."""
    found: dict[str, None] = {}
    for name in WORDS_OF:
        module = importlib.import_module(name)
        for public in sorted(each for each in dir(module) if not each.startswith("_")):
            text = inspect.getdoc(getattr(module, public)) or ""
            first = re.split(r"(?<=\.)\s", " ".join(text.partition("\n\n")[0].split()))[0]
            if 30 < len(first) < 160 and first.endswith(".") and "(" not in first[:25]:
                found[first] = None
    return list(found)


def write_page(name: str, path: Path, mnist: Path) -> None:
    """Fits the data of that name and writes their report."""
    import numpy as np
    from sklearn.datasets import load_breast_cancer, load_wine, make_circles
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    import tfdpm

    if name == "digits":
        images, y = tfdpm.data.load("digits")
        model = tfdpm.fit("digits", verbose=0)
        model.report(path, images, y, images, title="Handwritten digits")
    elif name == "mnist":
        images = np.load(mnist)["x"][:4_000]
        model = tfdpm.fit(images, verbose=0)
        model.report(path, images, title="Four thousand images of MNIST")
    elif name == "table":
        frame = load_wine(as_frame=True).data
        model = tfdpm.fit(frame, verbose=0)
        names = {frame.groupby(model.labels_)["color_intensity"].mean().idxmax(): "dark wines"}
        model.report(path, frame, title="Wines of three growers", names=names)
    elif name == "cancer":
        tumours = load_breast_cancer(as_frame=True)
        kinds = tumours.target_names[tumours.target]
        model = tfdpm.fit((tumours.data, kinds), verbose=0)
        model.report(path, tumours.data, kinds, title="Tumours of 569 women")
    elif name == "rings":
        rings, _ = make_circles(1_600, noise=0.03, factor=0.4, random_state=0)
        blobs, _ = tfdpm.data.gaussian_mixture(3, 2, 600, seed=3)
        x = np.concatenate([rings, 0.05 * blobs + [2.5, 0.0]]).astype(np.float32)
        tfdpm.fit(x, verbose=0).report(path, x, title="Rings beside blobs")
    elif name == "texts":
        texts = read_sentences()
        counts = TfidfVectorizer(stop_words="english", sublinear_tf=True)
        embed = make_pipeline(counts, TruncatedSVD(50, random_state=0), Normalizer())
        rows = embed.fit_transform(texts).astype(np.float32)
        model = tfdpm.fit(rows, features="umap", verbose=0)
        model.report(path, rows, texts=texts, title="Sentences of documentation")
    else:
        x, _ = tfdpm.data.gaussian_mixture(500, 10, 20_000, separation=6.0, seed=0)
        tfdpm.fit(x, verbose=0).report(path, x, title="Five hundred clusters")


def main() -> None:
    """Writes the pictures of the pages that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", type=Path, help=".npz file with `x`, uint8 [N, 28, 28]")
    parser.add_argument("--pages", type=Path, help="folder of pages; those there are kept")
    parser.add_argument("--only", nargs="+", choices=PAGES, default=PAGES)
    arguments = parser.parse_args()
    browser = find_browser()
    if "mnist" in arguments.only and arguments.mnist is None:
        parser.error("--mnist FILE is needed, or --only without mnist")
    target = Path(__file__).parent
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.pages or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.only:
            if not (folder / f"{name}.html").exists():
                write_page(name, folder / f"{name}.html", arguments.mnist)
        for picture, (name, part, *size) in WIDE.items():
            if name in arguments.only:
                address = f"{(folder / name).as_uri()}.html#{part}"
                take(browser, address, target / f"{picture}.png", tuple(size))
        if set(arguments.only) == set(PAGES):
            narrow = write_narrow_page(folder).as_uri()
            size = (len(NARROW) * (NARROW_SIZE[0] + 16) - 16, NARROW_SIZE[1])
            take(browser, narrow, target / "report_narrow.png", size, "--force-dark-mode")


if __name__ == "__main__":
    main()
