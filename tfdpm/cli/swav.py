"""`tfdpm swav`: trains an encoder on images without labels, converts one, measures its accuracy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import tfdpm
from tfdpm import checks
from tfdpm.cli.output import plain, show
from tfdpm.cli.saved import load_keras
from tfdpm.progress.display import ProgressDisplay, ending_displays
from tfdpm.progress.files import make_folder, replace_files

if TYPE_CHECKING:
    import keras

app = typer.Typer(help="Features of images without labels.", no_args_is_help=True)

Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGES...", help="Folders, image files, .npy, .npz or .tfrecord."),
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same model.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="swav.keras or encoder.keras.")]
Labelled = Annotated[Path, typer.Argument(metavar="FILE.npz", help="Arrays x (images) and y.")]


@app.command()
@ending_displays()
def fit(
    images: Images,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the models go.")] = Path("swav"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the images.")] = 30,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step.")] = 64,
    image_size: Annotated[
        int | None,
        typer.Option(min=8, help="Pixels of the large crops; default the images', at most 64."),
    ] = None,
    channels: Annotated[int, typer.Option(help="1 for grey, 3 for colour.")] = 3,
    method: Annotated[
        str | None,
        typer.Option(help="swav (the default), simclr, deepcluster or sela; that of --preset."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A published run for ResNet-50, such as 200ep_bs256.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Keras policy, such as mixed_bfloat16 where that is fast.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on where DIR/swav.keras stopped.")] = False,
    seed: Seed = 0,
) -> None:
    """Train an encoder on images."""
    import keras

    from tfdpm.data.images.sources import SkippedImages

    skipped = SkippedImages()
    data = _gather(images)
    num_images, side = _look_at(data, channels)
    options = {"seed": seed, "dtype": dtype}
    if resume:
        model = load_keras(out / "swav.keras", "MODEL")
    elif preset is None:
        method = checks.one_of(method or "swav", "--method", tfdpm.features.METHODS)
        model = tfdpm.features.METHODS[method].small(
            image_size=image_size or min(side, 64),
            channels=channels,
            num_images=num_images,
            batch_size=batch_size,
            epochs=epochs,
            print_fn=show,
            **options,
        )
    else:
        config = tfdpm.features.preset(preset)
        kind = tfdpm.features.method_of(config)
        if method is not None and tfdpm.features.METHODS.get(method) is not kind:
            checks.fail("--method", f"{method!r} with --preset {preset}", "that of the preset")
        config = replace(config, training=replace(config.training, num_images=num_images))
        width = int(preset[5]) if preset.startswith("RN50w") else 1
        model = kind(tfdpm.features.resnet50(width, **options), config, **options)
        model.compile()
    training = model.config.training
    first_epoch = int(model.optimizer.iterations) // training.steps_per_epoch
    make_folder(out)
    history = model.fit(
        data,
        skipped=skipped,
        initial_epoch=first_epoch,
        verbose=0,
        callbacks=[
            tfdpm.features.CollapseWatchdog(),
            tfdpm.features.TrainingState(),
            _progress(training, first_epoch),
            keras.callbacks.ModelCheckpoint(str(out / "swav.keras")),
        ],
    ).history
    with replace_files(out) as folder:
        model.encoder.save(folder / "encoder.keras")
        (folder / "history.json").write_text(json.dumps(plain(history), indent=1))
    if skipped.count:
        show(f"{skipped.count} unreadable files were skipped, the first is {skipped.paths[0]}")
    show(f"wrote {out / 'swav.keras'} and {out / 'encoder.keras'}")


@app.command()
def knn(
    model: Model,
    train: Labelled,
    test: Labelled,
    k: Annotated[int, typer.Option(min=1, help="Neighbours.")] = 20,
) -> None:
    """Accuracy of the nearest neighbours in feature space."""
    show(f"kNN accuracy {tfdpm.features.knn_accuracy(*_features(model, train, test), k):.4f}")


@app.command()
def probe(
    model: Model,
    train: Labelled,
    test: Labelled,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training set.")] = 100,
    seed: Seed = 0,
) -> None:
    """Accuracy of a linear classifier on frozen features."""
    result = tfdpm.features.linear_probe(*_features(model, train, test), epochs=epochs, seed=seed)
    show(
        f"linear probe top-1 {result.top1:.4f}, top-5 {result.top5:.4f}, "
        f"best epoch {result.best_top1:.4f}"
    )


@app.command()
def finetune(
    model: Model,
    train: Labelled,
    test: Labelled,
    fraction: Annotated[float, typer.Option(help="Share of the labels used.")] = 0.1,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the labelled share.")] = 20,
    mirror: Annotated[bool, typer.Option(help="Flip training images at random.")] = True,
    seed: Seed = 0,
) -> None:
    """Accuracy after fine-tuning on a share of the labels."""
    result = tfdpm.features.semi_supervised(
        _encoder(model),
        *_labelled(train),
        *_labelled(test),
        fraction=fraction,
        epochs=epochs,
        mirror=mirror,
        seed=seed,
    )
    show(f"fine-tuned on {fraction:.0%}: top-1 {result.top1:.4f}, top-5 {result.top5:.4f}")


@app.command()
def convert(
    weights: Annotated[Path, typer.Argument(metavar="FILE.pth.tar", help="A published file.")],
    preset: Annotated[
        str | None, typer.Option(help="The file's run, such as deepclusterv2_800ep or 400ep.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where models go.")] = Path("swav"),
    width: Annotated[int, typer.Option(help="1, 2, 4 or 5 for RN50-w1 to RN50-w5.")] = 1,
) -> None:
    """Turn the authors' published weights, on your disk, into Keras models."""
    checks.one_of(width, "--width", (1, 2, 4, 5))
    config = tfdpm.features.preset(preset or ("800ep" if width == 1 else f"RN50w{width}_400ep"))
    # No memory bank of ImageNet: who trains on has images of their own.
    training = replace(config.training, num_images=config.training.batch_size)
    kind = tfdpm.features.method_of(config)
    model = kind(tfdpm.features.resnet50(width), replace(config, training=training))
    report = tfdpm.features.convert_published_weights(model, weights)
    show(str(report))
    with replace_files(out) as folder:
        model.encoder.save(folder / "encoder.keras")
        model.save(folder / "swav.keras")
    show(
        f"{len(report.converted)} converted, {len(report.unused)} unused, "
        f"{len(report.missing)} missing, {len(report.mismatched)} of another shape"
    )


def _gather(images: list[str]) -> Any:
    """Returns one path unchanged, and several folders and files as a list of files."""
    from tfdpm.data.files import image_files

    for name in images:
        if not Path(name).exists():
            checks.fail("IMAGES", repr(name), "an existing file or folder", FileNotFoundError)
    if len(images) == 1:
        return images[0]
    parts = (image_files(name) if Path(name).is_dir() else [name] for name in images)
    return [file for part in parts for file in part]


def _look_at(data: Any, channels: int) -> tuple[int, int]:
    """Returns the number of images and the shorter side of the first one in pixels."""
    import tensorflow as tf

    from tfdpm.data.images.sources import SkippedImages, open_source

    checks.one_of(channels, "--channels", (1, 3))
    source = open_source(
        data, channels=channels, shuffle=False, shuffle_buffer=1, skipped=SkippedImages()
    )
    seed = tf.zeros([2], tf.int32)
    first = source.batches(seed, 1) if source.is_batched else source.images(seed).batch(1)
    image = next(iter(first))
    return source.num_images, int(min(image.shape[1:3]))


def _encoder(path: Path) -> keras.Model:
    model = load_keras(path, "MODEL")
    return model.encoder if hasattr(model, "encoder") else model


def _labelled(path: Path) -> tuple[Any, Any]:
    x, y = tfdpm.data.read(path, name="FILE.npz")
    if y is None:
        checks.fail(str(path), "an array without labels", "arrays x and y")
    return (x[..., None] if x.ndim == 3 else x), y


def _features(model: Path, *files: Path) -> Iterator[Any]:
    """Yields features and labels of each file."""
    encoder = _encoder(model)
    for x, y in map(_labelled, files):
        yield from (encoder.predict(x, batch_size=256, verbose=0), y)


def _progress(
    training: tfdpm.features.TrainingConfig, first_epoch: int
) -> keras.callbacks.Callback:
    """Makes a callback that shows epoch, steps, loss, images per second and the time left."""
    import keras

    display = ProgressDisplay(training.epochs * training.steps_per_epoch)
    display.skip(first_epoch * training.steps_per_epoch)

    def tell_step(batch: int, logs: dict[str, float]) -> None:
        pace = display.seconds_per_step
        rate = f", {training.batch_size / pace:.0f} images/s" if pace else ""
        display.step(1, f"loss {logs['loss']:.3f}{rate}")

    def tell_epoch(epoch: int, logs: dict[str, float]) -> None:
        display.report(f"epoch {epoch + 1} of {training.epochs}, loss {logs['loss']:.3f}")

    return keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: display.name_stage(f"epoch {epoch + 1}"),
        on_epoch_end=tell_epoch,
        on_train_batch_end=tell_step,
        on_train_end=lambda logs: display.close(),
    )
