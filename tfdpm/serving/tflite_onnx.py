"""The label path of a fitted model for phones and other runtimes: TensorFlow Lite and ONNX.

One file with one function: raw points in, `labels` and `responsibilities` out. Densities and
p-values are served by SavedModels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import tensorflow as tf

from tfdpm import checks
from tfdpm.progress.files import local_path, replace_file
from tfdpm.serving.saved_model import ServingModule

_ONNX_OPSET = 17


def export_tflite(module: ServingModule, path: str | os.PathLike[str]) -> None:
    """Writes a TensorFlow Lite file; see `DeepDPM.export_tflite`."""
    _write_new(path, lambda: _as_tflite(module))


def export_onnx(module: ServingModule, path: str | os.PathLike[str]) -> None:
    """Writes an ONNX file; see `DeepDPM.export_onnx`."""
    tf2onnx = checks.import_optional("tf2onnx", "export_onnx", "onnx")
    signature, logger = module.label.input_signature, logging.getLogger("tf2onnx")

    def convert() -> bytes:
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            model, _ = tf2onnx.convert.from_function(
                module.label, input_signature=signature, opset=_ONNX_OPSET
            )
        finally:
            logger.setLevel(level)
        return model.SerializeToString()

    _write_new(path, convert)


def _as_tflite(module: ServingModule) -> bytes:
    function = module.label.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()


def _write_new(path: str | os.PathLike[str], content: Callable[[], bytes]) -> None:
    """Writes a file that does not exist yet, all or nothing."""
    target = local_path(path)
    try:
        if os.path.lexists(target):  # before the work of the conversion
            raise FileExistsError
        data = content()
        with replace_file(target, overwrite=False) as temporary:
            temporary.write_bytes(data)
    except FileExistsError:
        wanted = "a file that does not exist yet"
        checks.fail("path", f"{str(target)!r}, which exists", wanted, FileExistsError)
