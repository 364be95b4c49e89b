"""The command line, `tfdpm`: one thin module per command over what the library does.

Commands import what they need when they run. Every mistake of the user ends with status 2 and one
line on standard error.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from tfdpm import startup
from tfdpm.cli.bench import app as bench_app
from tfdpm.cli.export import export
from tfdpm.cli.fit import fit
from tfdpm.cli.predict import predict
from tfdpm.cli.reproduce import reproduce
from tfdpm.data.streams import reading_error

__all__ = ["app", "main"]

# Usage errors, which typer itself does not name: a missing argument, an unknown option or command.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="tfdpm",
    help="Clustering that finds the number of clusters.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Interrupted(Exception):
    """Stands for a KeyboardInterrupt, which typer would swallow with the words it carries."""


def _interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            raise _Interrupted(str(interrupt) or "interrupted") from interrupt

    return run


for _command in (fit, predict, export, reproduce):
    app.command()(_interruptible(_command))
for _info in bench_app.registered_commands:
    _info.callback = _interruptible(_info.callback)
app.add_typer(bench_app, name="bench")
if importlib.util.find_spec("tfdpm.cli.swav") is not None:
    app.add_typer(importlib.import_module("tfdpm.cli.swav").app, name="swav")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    Args:
        argv: arguments after the program's name; those of the process if None. None at all show
            the help.
    Returns:
        0; or 2 after one line on standard error that says what is wrong; 130 if interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    command = typer.main.get_command(app)
    try:
        startup.find_devices()
        # Not standalone: typer would print its own, longer errors and end the process.
        status = command.main(args=arguments, prog_name="tfdpm", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except _UsageError as error:
        return _wrong(error.format_message().rstrip(".") + ". See tfdpm --help.")
    except (ValueError, TypeError, ImportError, OSError) as error:
        return _wrong(str(error))
    except _Interrupted as interrupt:
        print(f"tfdpm: {interrupt}", file=sys.stderr)
        return 130
    except (KeyboardInterrupt, typer.Abort):
        print("tfdpm: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        mistake = reading_error(error)
        if mistake is None:
            raise
        return _wrong(str(mistake))


def _wrong(message: str) -> int:
    """Writes one line that says what is wrong, and returns the exit status for it."""
    print("tfdpm: " + " ".join(message.split()), file=sys.stderr)
    return 2
