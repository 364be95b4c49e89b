"""Import of TensorFlow and search for devices without TensorFlow's start-up messages."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Lines of information as TensorFlow's C++ side writes them ("I0000 ..."), the header that goes with
# them, the one continuation line among them, and the "error" that says only: no GPU driver here.
_INFORMATION = re.compile(
    rb"I\d{4} |\d{4}-\d\d-\d\d [\d:.]+: I |WARNING: All log messages before absl::InitializeLog"
    rb"|To enable the following instructions|.*failed call to cuInit"
)


def import_tensorflow() -> None:
    """Imports TensorFlow without the information that it writes to standard error.

    Warnings, errors and all other output appear afterwards, unchanged. Nothing happens where
    TensorFlow is imported already.
    """
    _check_backend()
    # No setting turns the information off: recent versions write it while their libraries are
    # loaded, before `TF_CPP_MIN_LOG_LEVEL` counts.
    if "tensorflow" in sys.modules:
        return
    with _without_information():
        import tensorflow  # noqa: F401


def _check_backend() -> None:
    """Raises ImportError where Keras runs, or is told to run, on something else than TensorFlow."""
    if "keras" in sys.modules:
        backend = sys.modules["keras"].config.backend()
    else:
        backend = os.environ.get("KERAS_BACKEND") or _configured_backend()
    if backend != "tensorflow":
        wanted = "wanted 'tensorflow', set before Keras is imported for the first time"
        raise ImportError(f"`KERAS_BACKEND`: got {backend!r}, {wanted}.")


def _configured_backend() -> str:
    """The backend in Keras's own file of settings."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        with open(os.path.join(home, "keras.json"), encoding="utf-8") as file:
            return str(json.load(file).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


def find_devices() -> None:
    """Makes TensorFlow search for GPUs now, so that no message about missing GPUs comes later.

    Programs may call this, such as the command line. A library should not do it at import, because
    it starts the GPU driver in processes that may want to fork first.
    """
    import tensorflow as tf

    with _without_information():
        tf.config.list_physical_devices("GPU")


@contextlib.contextmanager
def _without_information() -> Iterator[None]:
    """Holds standard error back, also that of C++, and writes it at the end without information."""
    with contextlib.suppress(AttributeError):  # there may be no `sys.stderr`, as in a service
        sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # nor a file descriptor: nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if not _INFORMATION.match(line):
                    os.write(2, line)
