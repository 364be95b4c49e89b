"""The label path of a fitted model for phones and other runtimes: TensorFlow Lite and ONNX.

One file with one function: raw points in, `labels` and `responsibilities` out. Densities and
p-values are served by SavedModels.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from tfdpm import checks
from tfdpm.progress.files import replace_file
from tfdpm.serving.saved_model import ServingModule

_ONNX_OPSET = 17


def export_tflite(module: ServingModule, path: str | os.PathLike[str]) -> None:
    """Writes a TensorFlow Lite file; see `DeepDPM.export_tflite`."""
    _write_new(path, lambda: _as_tflite(module))


def export_onnx(module: ServingModule, path: str | os.PathLike[str]) -> None:
    """Writes an ONNX file; see `DeepDPM.export_onnx`."""
    if importlib.util.find_spec("tf2onnx") is None:
        wanted = "pip install 'tfdpm[onnx]'"
        checks.fail("export_onnx", "no tf2onnx", wanted, ImportError)
    _write_new(path, lambda: _as_onnx(module))


def _as_tflite(module: ServingModule) -> bytes:
    function = module.label.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()


def _as_onnx(module: ServingModule) -> bytes:
    import tf2onnx

    function = module.label
    with _quiet("tf2onnx"):
        model, _ = tf2onnx.convert.from_function(
            function, input_signature=function.input_signature, opset=_ONNX_OPSET
        )
    return model.SerializeToString()


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Holds back what a package logs below an error."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _write_new(path: str | os.PathLike[str], content: Callable[[], bytes]) -> None:
    """Writes a file that does not exist yet, all or nothing."""
    target = Path(path)
    wanted = "a file that does not exist yet"
    if os.path.lexists(target):
        checks.fail("path", f"{str(target)!r}, which exists", wanted, FileExistsError)
    data = content()
    try:
        with replace_file(target, overwrite=False) as temporary:
            temporary.write_bytes(data)
    except FileExistsError:
        checks.fail("path", f"{str(target)!r}, which exists", wanted, FileExistsError)
