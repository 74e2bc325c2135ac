"""The command line, also ``python -m cnnlab``: run, slides, site, lab, fetch, doctor, stamp.

Each command imports what it needs when it is used, so that the help appears at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cnnlab import __version__
from cnnlab.publish import series

if TYPE_CHECKING:
    from cnnlab.publish.running import Writer

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


def run(args: argparse.Namespace) -> int:
    """Execute notebooks into pages."""
    notebooks = series.find_notebooks(args.notebooks)
    from cnnlab.publish import report, running

    runs = running.run_notebooks(notebooks, args.output, args.jobs, args.write())
    failed = [run for run in runs if run.state != "ok"]
    for one in failed:
        print(f"\n{report.failure(one)}", file=sys.stderr, flush=True)
    print(f"\n{report.table(runs)}")
    return FAILED if failed else 0


def pages() -> Writer:
    """Return what makes a page of a notebook."""
    from cnnlab.publish.pages import write_page

    return write_page


def decks() -> Writer:
    """Return what makes slides of a notebook."""
    from cnnlab.publish.decks import write_deck

    return write_deck


def slides(args: argparse.Namespace) -> int:
    """Execute notebooks into slides, with an index of them."""
    status = run(args)
    from cnnlab.publish.decks import write_index

    found = {path: args.output / f"{path.stem}.html" for path in series.find_notebooks()}
    there = {notebook: deck for notebook, deck in found.items() if deck.is_file()}
    print(f"Index: {write_index(there, args.output)}")
    return status


def lessons() -> Writer:
    """Return what makes a page, slides and a card of a notebook."""
    from cnnlab.publish.site import write_lesson

    return write_lesson


def site(args: argparse.Namespace) -> int:
    """Execute notebooks into a web site: pages, slides, and an index with a card for each."""
    status = run(args)
    from cnnlab.publish.site import write_site_index

    print(f"Index: {write_site_index(series.find_notebooks(), args.output)}")
    return status


def lab(args: argparse.Namespace) -> int:
    """Open JupyterLab on the notebooks."""
    folder = series.notebooks_folder()
    # Kernels of this interpreter's environment come before others of the same name.
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}", *args.extra]
    if os.name == "posix":
        os.execv(sys.executable, command)  # JupyterLab handles Ctrl-C by itself
    return subprocess.call(command)


def fetch(args: argparse.Namespace) -> int:
    """Download data and weights, or list them."""
    from cnnlab.publish import catalog

    if args.list or not (args.names or args.all):
        print(catalog.listing())
        return 0
    names = catalog.everything() if args.all else args.names
    return 0 if catalog.fetch_all(names) else FAILED


def doctor(args: argparse.Namespace) -> int:
    """Look for what is wrong; before class, fetch everything and rehearse."""
    from cnnlab.publish import doctor as doctors

    if args.rehearsed is None:
        return 0 if doctors.examine() else FAILED
    notebooks = series.find_notebooks(args.rehearsed)
    from cnnlab.publish.rehearsal import checks_for_class

    checks = checks_for_class(notebooks, Path("build", "site"))
    return 0 if doctors.examine(checks=checks) else FAILED


def stamp(args: argparse.Namespace) -> int:
    """Write the address of a published copy into notebooks and README, or clear it."""
    if bool(args.repository) == args.clear:
        print("cnnlab stamp: give either OWNER/REPO or --clear", file=sys.stderr)
        return WRONG_USE
    from cnnlab.publish.stamping import stamp as write_address

    try:
        changed = write_address(series.notebooks_folder().parent, args.repository)
    except ValueError as error:
        print(f"cnnlab stamp: {error}", file=sys.stderr)
        return WRONG_USE
    print("\n".join([f"{len(changed)} files changed", *map(str, changed)]))
    return 0


def positive(text: str) -> int:
    """Read a whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands to argparse."""
    parser = argparse.ArgumentParser(
        prog="cnnlab", description="Teaching notebooks on convolutional neural networks."
    )
    parser.add_argument("--version", action="version", version=f"cnnlab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    for name, function, write, folder, words in (
        ("run", run, pages, "build", "web pages"),
        ("slides", slides, decks, "build/slides", "slides for the lecture hall"),
        ("site", site, lessons, "build/site", "a web site of pages and slides"),
    ):
        command = commands.add_parser(name, help=f"execute the notebooks and write {words}")
        command.set_defaults(function=function, write=write)
        command.add_argument(
            "notebooks",
            nargs="*",
            metavar="NOTEBOOK",
            help="a path, or a short name such as 09 or afternoon (default: the whole series)",
        )
        command.add_argument(
            "--jobs", type=positive, default=1, metavar="N", help="run N notebooks at once"
        )
        command.add_argument(
            "--output", type=Path, default=Path(folder), metavar="FOLDER", help=f"default: {folder}"
        )

    command = commands.add_parser(
        "lab",
        help="open JupyterLab on the notebooks",
        epilog="Other options go on to JupyterLab: cnnlab lab --no-browser",
    )
    command.set_defaults(function=lab)

    command = commands.add_parser("fetch", help="download data and weights ahead of class")
    command.set_defaults(function=fetch)
    command.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="data, or weights such as resnet18; without a name, list what there is",
    )
    command.add_argument("--all", action="store_true", help="everything that the lessons can use")
    command.add_argument("--list", action="store_true", help="list and download nothing")

    command = commands.add_parser(
        "doctor", help="check this machine, and say what to do about what is wrong"
    )
    command.set_defaults(function=doctor)
    command.add_argument(
        "--class",
        nargs="*",
        dest="rehearsed",
        metavar="NOTEBOOK",
        help="the evening before: also fetch everything, run every notebook (or those named), "
        "build pages and slides in build/site, and say what will need the network",
    )

    command = commands.add_parser(
        "stamp", help="write the address of your published copy into notebooks and README"
    )
    command.set_defaults(function=stamp)
    command.add_argument("repository", nargs="?", metavar="OWNER/REPO", help="on GitHub")
    command.add_argument("--clear", action="store_true", help="take the address out again")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 for a failure, 2 for wrong use."""
    parser = build_parser()
    args, extra = parser.parse_known_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return WRONG_USE
    args.extra = [argument for argument in extra if argument != "--"]
    if args.extra and args.command != "lab":
        parser.error(f"unrecognized arguments: {' '.join(args.extra)}")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _perform(args, parser)
    except KeyboardInterrupt:
        kernels = "; no kernel is left running" if args.command in ("run", "slides") else ""
        status, message = INTERRUPTED, f"interrupted{kernels}"
    except series.UnknownName as error:
        status, message = WRONG_USE, str(error)
    except ModuleNotFoundError as error:
        if (error.name or "cnnlab").startswith("cnnlab"):
            raise
        status, message = FAILED, f"the package {error.name} is missing; install cnnlab again"
    except OSError as error:
        status, message = FAILED, str(error)
    print(f"cnnlab {args.command}: {message}", file=sys.stderr)
    return status


def _perform(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Make the paths in the environment absolute, then run the command.

    Kernels start in the notebook's own folder, where a relative path means something else.
    """
    from cnnlab.data import downloads

    if args.command != "doctor":  # it reports a wrong setting among all else
        try:
            os.environ.update(downloads.absolute_environment())
        except (ValueError, downloads.DownloadError) as error:
            parser.error(str(error))
    return args.function(args)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Let SIGTERM clean up as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
