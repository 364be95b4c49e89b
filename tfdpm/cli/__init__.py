"""The command line `tfdpm`: one module for each command, and how errors end.

Commands import what they need when they run, so that `--help` is quick.
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
    """A KeyboardInterrupt and its message, which typer would drop."""


def _keep_interrupts(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a command so that an interrupt leaves it as `_Interrupted`."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            raise _Interrupted(str(interrupt) or "interrupted") from interrupt

    return run


for _command in (fit, predict, export, reproduce):
    app.command()(_keep_interrupts(_command))
for _info in bench_app.registered_commands:
    _info.callback = _keep_interrupts(_info.callback)
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
        return _print_error(error.format_message().rstrip(".") + ". See tfdpm --help.")
    except (ValueError, TypeError, ImportError, OSError) as error:
        return _print_error(str(error))
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
        return _print_error(str(mistake))


def _print_error(message: str) -> int:
    """Prints one line on standard error and returns the exit status for mistakes of the user."""
    print("tfdpm: " + " ".join(message.split()), file=sys.stderr)
    return 2
