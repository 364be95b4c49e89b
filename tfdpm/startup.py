"""What accompanies the import of TensorFlow and Keras: silence, and names of our classes."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

# Lines of information as TensorFlow's C++ side writes them ("I0000 ..."), the header that goes with
# them, the one continuation line among them, the "error" that says only: no GPU driver here, and
# warnings of the converter about its own defaults.
_INFORMATION = re.compile(
    rb"I\d{4} |\d{4}-\d\d-\d\d [\d:.]+: I |WARNING: All log messages before absl::InitializeLog"
    rb"|To enable the following instructions|.*failed call to cuInit"
    rb"|W\d{4} .*tf_tfl_flatbuffer_helpers"
)


class _Watcher(importlib.abc.MetaPathFinder):
    """Finds TensorFlow and Keras as ever, and calls what waits for their import."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Callable[[], None]]] = {"tensorflow": [], "keras": []}
        self._is_searching = False

    def find_spec(self, name, path=None, target=None):
        """The usual specification of a package, whose execution is followed by the actions."""
        if name not in self.waiting or self._is_searching:
            return None
        self._is_searching = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._is_searching = False
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            # No setting turns the information off: recent versions write it while their libraries
            # are loaded, before `TF_CPP_MIN_LOG_LEVEL` counts.
            is_quiet = name == "tensorflow"
            with without_information() if is_quiet else contextlib.nullcontext():
                execute(module)
                for action in self.waiting.pop(name, ()):
                    action()

        spec.loader.exec_module = exec_module
        return spec


_watcher = _Watcher()


def watch_imports() -> None:
    """Lets the first import of TensorFlow, whoever asks for it, write no information.

    Warnings, errors and all other output appear afterwards, unchanged.
    """
    _check_backend()
    if _watcher not in sys.meta_path:
        sys.meta_path.insert(0, _watcher)


def after_import(name: str, action: Callable[[], None]) -> None:
    """Calls `action` once "tensorflow" or "keras" is imported, or now if it is."""
    if name in sys.modules:
        action()
    else:
        _watcher.waiting[name].append(action)


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

    with without_information():
        tf.config.list_physical_devices("GPU")


class _Unloaded:
    """Stands for a class of ours in Keras's register, until a file asks for it."""

    def __init__(self, name: str, module: str):
        self._name, self._module = name, module

    def from_config(self, config: dict[str, Any]) -> Any:
        """An object of the class, whose module takes this one's place in the register."""
        import keras

        importlib.import_module(self._module)
        return keras.saving.get_custom_objects()[self._name].from_config(config)


def register_unloaded(names: Iterable[str], module: str) -> None:
    """Lets Keras read classes that importing `module` registers, such as "tfdpm>DeepDPM"."""
    import keras

    registered = keras.saving.get_custom_objects()
    for name in names:
        registered.setdefault(name, _Unloaded(name, module))


@contextlib.contextmanager
def without_information() -> Iterator[None]:
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
