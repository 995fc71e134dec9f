"""TensorBoard on the runs that lie below a folder."""

from __future__ import annotations

import ipaddress
import logging
import warnings
from pathlib import Path

from medseg.errors import DataError, OutputError

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_EVENTS = "events.out.tfevents.*"


def log_folder(folder: Path) -> tuple[Path, int]:
    """What TensorBoard is to open, and how many runs it will show there.

    Parameters
    ----------
    folder
        A run's folder, its tensorboard/, or a folder with many runs anywhere below it.

    Returns
    -------
    tuple
        The one folder with TensorBoard's files; `folder` itself where there are several, which TensorBoard then names
        by their paths below it.

    Raises
    ------
    DataError
        No run below `folder`.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder", expected="the folder of a training run, or one that holds runs")
    runs = sorted({file.parent for file in folder.rglob(_EVENTS)})
    if not runs:
        raise DataError(
            f"{folder}: no TensorBoard files in it or below it",
            expected="the folder of a training run, or one that holds runs",
            next_step="train first: medseg train BUNDLE --datalist FILE -o RUN_DIR",
        )
    return (runs[0] if len(runs) == 1 else folder), len(runs)


def serve(folder: Path, *, host: str = LOOPBACK, port: int | None = None) -> str:
    """Start TensorBoard in a thread of this process and return its address.

    Parameters
    ----------
    folder
        What `log_folder` gave.
    host
        The address to listen at. TensorBoard asks nobody for a password, so another one than the default shows the
        pictures of the runs to everybody who reaches it; a warning says so.
    port
        None takes the first free one from 6006 on.

    Raises
    ------
    OutputError
        The port is taken, or the address is not one of this machine.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that TensorBoard brings along
        from tensorboard import program

        board = program.TensorBoard()
    if not _is_loopback(host):
        logger.warning("TensorBoard has no password: everybody who reaches %s sees these runs and their pictures", host)
    chosen = [] if port is None else ["--port", str(port)]
    board.configure(argv=["tensorboard", "--logdir", str(folder), "--host", host, *chosen])
    try:
        address: str = board.launch()
    except program.TensorBoardServerException as error:
        raise OutputError(
            f"TensorBoard cannot listen at {host}" + ("" if port is None else f", port {port}"),
            got=str(error).strip().partition("\n")[0],
            next_step="give another --port, or leave it out for a free one",
        ) from error
    except SystemExit as end:  # of werkzeug, which has said why on standard error
        raise OutputError(
            f"TensorBoard cannot listen at {host}",
            expected="a name or an address of this machine",
            next_step="give another --host, or leave it out",
        ) from end
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
