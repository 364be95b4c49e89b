"""The command line `tfdpm`: its commands, and how errors end.

What imports TensorFlow waits inside the commands, so that help and mistakes of typing do not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core

import tfdpm
from tfdpm import startup
from tfdpm.benchmarks.commands import bench, reproduce
from tfdpm.cli.fit import fit
from tfdpm.cli.saved import drift, export, merge, predict, report, split
from tfdpm.cli.swav import app as swav_app

# Usage errors, which typer itself does not name: a missing argument, an unknown option or command.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


class _Commands(typer.core.TyperGroup):
    """Commands that end with the message of an interrupt, which typer would drop."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            return _print_error(str(interrupt) or "interrupted", status=130)


app = typer.Typer(
    name="tfdpm",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"tfdpm {tfdpm.__version__}")
        raise typer.Exit


@app.callback()
def _describe(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Clustering that finds the number of clusters."""


for _command in (fit, predict, report, drift, merge, split, export, reproduce):
    app.command()(_command)
app.add_typer(bench, name="bench")
app.add_typer(swav_app, name="swav")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    Args:
        argv: arguments after the program's name; those of the process if None. None at all show
            the help.
    Returns:
        0; or, after one line on standard error that says what is wrong, 2 for the words of the
        command, 1 for data, models and files; 130 if interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    command = typer.main.get_command(app)
    try:
        startup.after_import("tensorflow", startup.find_devices)
        # Not standalone: typer would print its own, longer errors and end the process.
        status = command.main(args=arguments, prog_name="tfdpm", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except _UsageError as error:
        message = error.format_message().rstrip(".") + ". See tfdpm --help."
        return _print_error(message, status=2)
    except (ValueError, TypeError, ImportError, OSError) as error:
        # An error of the command's words begins with the name of an option, or of an experiment's.
        is_of_words = str(error).startswith(("`--", "`NAME`"))
        return _print_error(str(error), status=2 if is_of_words else 1)
    except (KeyboardInterrupt, typer.Abort):
        return _print_error("interrupted", status=130)
    except Exception as error:
        from tfdpm.data.streams import reading_error  # imports TensorFlow

        mistake = reading_error(error)
        if mistake is None:
            raise
        return _print_error(str(mistake))


def _print_error(message: str, status: int = 1) -> int:
    """Prints one line on standard error and returns the exit status."""
    print("tfdpm: " + " ".join(message.split()), file=sys.stderr)
    return status
