"""Brings one file from one place, an address or a folder: patiently, but never without an end."""

from __future__ import annotations

import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
import urllib3
from tqdm.auto import tqdm

PIECE = 64 * 1024  # bytes read at once
MAX_BYTES = 2 * 1024**3  # for a file of unknown size
RETRY_LATER = (408, 425, 429)  # besides every 5xx: the server may do better in a moment
BAR_DELAY = 0.2  # seconds before a progress bar appears: none for what fails at once
GZIP = 31  # zlib's word for "gzip, largest window"


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Attributes
    ----------
    attempts
        How often to ask, in all.
    pause
        Seconds before the second attempt, doubled for each further one.
    answer
        Seconds until the first answer, and between two pieces of the file.
    grace
        Seconds after which the minimum speed must be reached.
    speed
        Bytes a second, on average since the start, below which a download is given up.
    """

    attempts: int = 4
    pause: float = 1.0
    answer: float = 30.0
    grace: float = 20.0
    speed: float = 2_000.0


PATIENT = Patience()
HURRIED = Patience(attempts=1, answer=4.0, grace=8.0, speed=250_000.0)  # a class is waiting


class TransferError(ValueError):
    """A file could not be had from this place; `retry` says whether asking again may help."""

    def __init__(self, reason: str, retry: bool = False) -> None:
        super().__init__(reason)
        self.retry = retry


def transfer(
    source: str,
    target: Path,
    check: Callable[[Path], None],
    *,
    size: int | None = None,
    patience: Patience = PATIENT,
    progress: bool = True,
) -> None:
    """Bring a file from an address or a folder, and check it.

    Parameters
    ----------
    source
        An http(s) address, or the path of a file. An address that ends in ``.gz`` is unpacked on
        the way.
    target
        Where to put the file; its folder is to be a temporary one.
    check
        Raises ValueError when the file is not the right one.
    size
        Expected bytes: more than twice as many are refused.

    Raises
    ------
    TransferError
        With the reason, when every attempt failed.
    OSError
        When `target` cannot be written.
    """
    attempts = patience.attempts if _is_address(source) else 1
    for attempt in range(attempts):
        try:
            downloader = Downloader(size, patience, progress)
            pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
            path = pooch.retrieve(source, None, target.name, target.parent, downloader=downloader)
            with suppress(OSError):  # temporary files are private, a shared cache is not
                Path(path).chmod(0o644)
            check(target)
            return
        except ValueError as error:
            target.unlink(missing_ok=True)
            final = isinstance(error, TransferError) and not error.retry
            if final or attempt + 1 == attempts:
                raise TransferError(str(error)) from error
            time.sleep(patience.pause * 2**attempt)


@dataclass(frozen=True)
class Downloader:
    """What pooch calls to get the bytes: unlike its own, it gives up on a server that trickles."""

    size: int | None
    patience: Patience
    progress: bool

    def __call__(self, source: str, output_file: str, _: object = None) -> None:
        limit = 2 * self.size if self.size else MAX_BYTES
        if _is_address(source):
            pieces = _from_server(source, self.patience)
        else:
            pieces = _from_file(Path(source))
        name = source.replace("\\", "/").rsplit("/", 1)[-1]
        if name.endswith(".gz"):
            pieces = _gunzip(pieces)
        written = 0
        bar = tqdm(
            desc=name,
            total=self.size,
            unit="B",
            unit_scale=True,
            delay=BAR_DELAY,
            disable=not self.progress,
        )
        with open(output_file, "wb") as file, bar:
            for piece in pieces:
                written += file.write(piece)
                bar.update(len(piece))
                if written > limit:
                    raise TransferError(f"more than {limit:,} bytes came, too many for this file")


def _is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _from_file(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                yield piece
    except FileNotFoundError as error:
        raise TransferError("no such file") from error
    except OSError as error:
        raise TransferError(f"cannot be read ({error.strerror})") from error


def _from_server(url: str, patience: Patience) -> Iterator[bytes]:
    started = time.monotonic()
    received = 0
    try:
        with _ask(url, patience.answer) as response:
            _refuse(response)
            announced = int(response.headers.get("Content-Length", -1))
            # read1 hands over what has come; read would wait until a whole piece is there
            while piece := response.raw.read1(PIECE):
                received += len(piece)
                seconds = time.monotonic() - started
                if seconds > patience.grace and received < patience.speed * seconds:
                    raise TransferError(f"too slow: {received:,} bytes in {seconds:.0f} s")
                yield piece
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _readable(error, patience) from error
    if announced not in (-1, received):
        raise TransferError(f"cut off after {received:,} of {announced:,} bytes", retry=True)


def _ask(url: str, seconds: float) -> requests.Response:
    """GET in a thread of its own, because looking up a host's name knows no time limit."""
    answers: queue.Queue[requests.Response | Exception] = queue.Queue()

    def ask() -> None:
        try:
            headers = {"Accept-Encoding": "identity"}
            answers.put(requests.get(url, stream=True, timeout=seconds, headers=headers))
        except Exception as error:
            answers.put(error)  # raised again below, where somebody listens

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise requests.Timeout from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _refuse(response: requests.Response) -> None:
    status = response.status_code
    if status != 200:
        retry = status >= 500 or status in RETRY_LATER
        raise TransferError(f"the server answered {status} {response.reason}", retry)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise TransferError("a web page came instead of the file; does the Wi-Fi want a log-in?")


def _readable(error: Exception, patience: Patience) -> TransferError:
    """Say in a few words what requests says in three lines."""
    if isinstance(error, requests.TooManyRedirects):
        return TransferError("the server redirects in circles")
    if isinstance(error, requests.exceptions.SSLError):
        return TransferError("no secure connection: the certificate is not accepted")
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return TransferError(f"no answer within {patience.answer:g} s", retry=True)
    if isinstance(error, requests.ConnectionError):
        return TransferError("no connection: host not found, refused or cut off", retry=True)
    if isinstance(error, urllib3.exceptions.HTTPError):
        return TransferError("the connection was cut off", retry=True)
    return TransferError(f"{type(error).__name__}: {error}")


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(GZIP)
    try:
        for piece in pieces:
            yield unpacker.decompress(piece)
    except zlib.error as error:
        raise TransferError(f"not gzip data ({error})", retry=True) from error
