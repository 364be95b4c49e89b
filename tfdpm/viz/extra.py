"""Loads the plotting libraries when a picture is asked for, or says what to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from tfdpm import checks

__all__ = ["load"]

_EXTRA = "pip install 'tfdpm[viz]'"


def load(module: str, purpose: str) -> ModuleType:
    """Returns an optional module.

    Args:
        module: dotted name, such as `matplotlib.pyplot`.
        purpose: what wants it, named in the error.

    Raises:
        ImportError: naming the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        checks.fail(purpose, f"no {package}", f"it installed: {_EXTRA}", ImportError)
