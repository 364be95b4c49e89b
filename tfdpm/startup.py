"""Imports TensorFlow without its start-up messages. Nothing else happens at import."""

from __future__ import annotations

import os
import re
import sys
import tempfile

__all__ = ["import_tensorflow"]

# Lines of information as TensorFlow's C++ side writes them ("I0000 ..."), the header that goes with
# them, and the one continuation line among them.
_INFORMATION = re.compile(
    rb"I\d{4} |\d{4}-\d\d-\d\d [\d:.]+: I |WARNING: All log messages before absl::InitializeLog"
    rb"|To enable the following instructions"
)


def import_tensorflow() -> None:
    """Imports TensorFlow, dropping the information it writes to standard error while loading.

    No setting turns it off: since TensorFlow 2.20 or so, its libraries write it while they are
    loaded, before `TF_CPP_MIN_LOG_LEVEL` counts. Warnings, errors and anything else written
    meanwhile come out unchanged afterwards. Does nothing if TensorFlow is imported already.
    """
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # no standard error at all, as in a service: nothing to keep clean
        import tensorflow  # noqa: F401

        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if not _INFORMATION.match(line):
                    os.write(2, line)
