"""Loading of models that `tfdpm fit --out` saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfdpm import checks


def load_model(path: Path) -> Any:
    """Returns the model at `path`, a .keras file or a folder that holds a model.keras.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a saved DeepDPM.
    """
    import tfdpm
    from tfdpm.export import load_file

    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        wanted = "a .keras file, or a folder that `tfdpm fit --out` wrote"
        checks.fail("MODEL", repr(str(path)), wanted, FileNotFoundError)
    return load_file(file, tfdpm.DeepDPM)
