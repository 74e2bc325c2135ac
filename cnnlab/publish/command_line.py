"""The commands of ``cnnlab``: run, slides, site, lab, fetch, doctor, stamp.

Each command imports what it needs when it is used, so that the help appears at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cnnlab import __version__

__all__ = ["main"]

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


def publish(args: argparse.Namespace) -> int:
    """Execute notebooks into pages, slides or both, the latter two with an index."""
    from cnnlab.publish import series

    notebooks = series.find_notebooks(args.notebooks)
    from cnnlab.publish import running, site  # with torch behind them

    runs = running.run_notebooks(notebooks, args.output, args.jobs, site.WRITERS[args.command])
    failed = [run for run in runs if run.state != "ok"]
    for run in failed:
        print(f"\n{run.name} failed at code cell {run.cell}. {run.error}", file=sys.stderr)
    print(f"\n{running.table(runs)}")
    if args.command in site.LINKS:
        with suppress(FileNotFoundError):  # outside a clone there are only those that were named
            notebooks = list(dict.fromkeys([*series.find_notebooks(), *notebooks]))
        index = site.write_index(notebooks, args.output, site.LINKS[args.command])
        print(f"Index: {index.as_posix()}")
    return FAILED if failed else 0


def lab(args: argparse.Namespace) -> int:
    """Open JupyterLab on the notebooks."""
    from cnnlab.data.downloads import absolute_environment
    from cnnlab.publish import series

    folder = series.notebooks_folder()
    os.environ.update(absolute_environment())  # kernels start in the notebooks' own folders
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    command += [option for option in args.options if option != "--"]
    if os.name == "posix":
        os.execv(sys.executable, command)  # JupyterLab handles Ctrl-C by itself
    return subprocess.call(command)


def fetch(args: argparse.Namespace) -> int:
    """Download data and weights, or list what there is."""
    from cnnlab.data import downloads

    names = list(downloads.resources()) if args.all else args.names
    if args.list or not names:
        for name, resource in downloads.resources().items():
            place = f"here: {downloads.find(name)}" if downloads.find(name) else "not here yet"
            print(f"{name:<14} {resource['num_bytes'] / 1e6:.0f} MB, {place}")
            print(f"{'':14} {resource['description']}\n{'':14} License: {resource['license']}\n")
        return 0
    from cnnlab.models.backbones import fetch_weights  # seconds to import

    status = 0
    for name in names:
        try:
            known = name in downloads.resources()
            print(f"{name} is in {downloads.fetch(name) if known else fetch_weights(name)}")
        except downloads.DownloadError as error:
            print(f"cnnlab fetch: {error}", file=sys.stderr)
            status = FAILED
    return status


def doctor(args: argparse.Namespace) -> int:
    """Look for what is wrong; before class, fetch everything and rehearse."""
    from cnnlab.publish import doctor, series

    checks = list(doctor.CHECKS)
    if args.rehearsed is not None:
        notebooks = series.find_notebooks(args.rehearsed)
        checks = doctor.checks_for_class(notebooks, Path("build", "site"))
    return 0 if doctor.examine(checks) else FAILED


def stamp(args: argparse.Namespace) -> int:
    """Write the address of a published copy into notebooks and README, or clear it."""
    from cnnlab.publish import series

    if bool(args.repository) == args.clear:
        raise ValueError("give either OWNER/REPO or --clear")
    changed = series.stamp(series.notebooks_folder().parent, args.repository)
    print("\n".join([f"{len(changed)} files changed", *map(str, changed)]))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands to argparse."""
    parser = argparse.ArgumentParser(prog="cnnlab", description="Teaching notebooks on CNNs.")
    parser.add_argument("--version", action="version", version=f"cnnlab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, function: Callable[..., int], help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help)
        command.set_defaults(function=function)
        return command

    named = "a path, or a short name such as 09 or afternoon (default: the whole series)"
    for name, folder, pages in (
        ("run", "build", "web pages"),
        ("slides", "build/slides", "slides for the lecture hall"),
        ("site", "build/site", "a web site of pages and slides"),
    ):
        command = add(name, publish, f"execute the notebooks and write {pages}")
        command.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help=named)
        command.add_argument("--jobs", type=int, default=1, metavar="N", help="run N at once")
        help = f"default: {folder}"
        command.add_argument("--output", type=Path, default=folder, metavar="FOLDER", help=help)

    command = add("lab", lab, "open JupyterLab on the notebooks")
    command.epilog = "Other options go on to JupyterLab: cnnlab lab --no-browser"

    command = add("fetch", fetch, "download data and weights ahead of class")
    named = "data, or weights such as resnet18; without a name, list what there is"
    command.add_argument("names", nargs="*", metavar="NAME", help=named)
    command.add_argument("--all", action="store_true", help="everything that the lessons can use")
    command.add_argument("--list", action="store_true", help="list and download nothing")

    command = add("doctor", doctor, "check this machine, and say what to do about what is wrong")
    help = "the evening before: also fetch everything, and run all lessons (or those named) offline"
    command.add_argument("--class", nargs="*", dest="rehearsed", metavar="NOTEBOOK", help=help)

    command = add("stamp", stamp, "write the address of your published copy into the notebooks")
    command.add_argument("repository", nargs="?", metavar="OWNER/REPO", help="on GitHub")
    command.add_argument("--clear", action="store_true", help="take the address out again")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 for a failure, 2 for wrong use."""
    parser = build_parser()
    args, options = parser.parse_known_args(argv)
    args.options = options
    if args.command is None:
        parser.print_help(sys.stderr)
        return WRONG_USE
    if options and args.command != "lab":
        parser.error(f"unrecognized arguments: {' '.join(options)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up like Ctrl-C
    try:
        return args.function(args)
    except KeyboardInterrupt:
        status, message = INTERRUPTED, "interrupted; no kernel is left running"
    except ValueError as error:
        status, message = WRONG_USE, str(error)
    except (OSError, ImportError) as error:
        status, message = FAILED, str(error)
    print(f"cnnlab {args.command}: {message}", file=sys.stderr)
    return status
