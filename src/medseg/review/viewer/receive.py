"""The files of a multipart request, written to disk while they come in, within limits."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from anyio.to_thread import run_sync
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from medseg.errors import ReviewError
from medseg.review.viewer.names import Places, is_passed_over, parts_of
from medseg.review.viewer.settings import MEGABYTE, Limits

_WRITTEN_BYTES = 1 << 20
_LONGEST_HEADER_BYTES = 8192


class TooLargeError(ReviewError):
    """More than the limits allow."""


class FileReceiver:
    """Writes the parts of a multipart body that are files; other fields are passed over.

    Parameters
    ----------
    boundary
        Of the body, from its Content-Type.
    places
        Says where a file goes.
    limits
        Number of files.

    Attributes
    ----------
    files
        Those that were written.
    complete
        Whether the body came to its end: half a series must not pass for a whole one.
    """

    def __init__(self, boundary: bytes, places: Places, *, limits: Limits) -> None:
        self.files: list[Path] = []
        self.complete = False
        self._places, self._limits = places, limits
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._file: IO[bytes] | None = None
        with _refused():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._open,
                    "on_part_data": self._data,
                    "on_part_end": self.close,
                    "on_end": self._end,
                },
            )

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""
        with _refused():
            self._parser.write(data)

    def close(self) -> None:
        """Close the file that is being written."""
        file, self._file = self._file, None
        if file is not None:
            with _refused():  # what waits in memory is written now
                file.close()

    def _end(self) -> None:
        self.complete = True

    def _begin(self) -> None:
        self._headers, self._name, self._value = {}, b"", b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > _LONGEST_HEADER_BYTES:
            raise ReviewError("the upload is no multipart form", got="a header without end")

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        given = options.get(b"filename")
        if given is None:
            return
        parts = parts_of(given.decode("utf-8", "replace"))
        if is_passed_over(parts):
            return
        if len(self.files) >= self._limits.files:
            raise TooLargeError("too many files at once", expected=f"at most {self._limits.files}")
        path = self._places.place(parts)
        self.files.append(path)
        self._file = path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])


@contextmanager
def _refused() -> Iterator[None]:
    """What is no form is told, and so is a disk that has become full: others may write to it meanwhile."""
    try:
        yield
    except FormParserError as error:
        raise ReviewError("the upload is no multipart form", got=str(error)) from error
    except OSError as error:
        raise TooLargeError("the upload cannot be written to the disk", got=error.strerror) from error


async def receive_files(
    body: AsyncIterator[bytes], *, content_type: str, declared: int | None, folder: Path, limits: Limits
) -> list[Path]:
    """Write the files of a request's body into a folder.

    Parameters
    ----------
    body
        The body in pieces, as it comes in.
    content_type, declared
        The headers Content-Type and Content-Length.
    folder
        An empty folder.
    limits
        What is too much.

    Raises
    ------
    TooLargeError
        The body, or the number of files, is beyond the limits, or the disk has no room for it.
    ReviewError
        It is no multipart form, or a file's name leads out.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ReviewError("the upload is no multipart form", got=repr(content_type[:100]))
    most = min(limits.upload_bytes, max(0, shutil.disk_usage(folder).free - limits.free_bytes))
    _refuse_beyond(declared or 0, most)
    receiver = FileReceiver(options[b"boundary"], Places(folder), limits=limits)
    waiting, done = bytearray(), 0
    try:
        async for chunk in body:
            done += len(chunk)
            _refuse_beyond(done, most)
            waiting += chunk
            if len(waiting) >= _WRITTEN_BYTES:
                await run_sync(receiver.feed, bytes(waiting))
                waiting.clear()
        await run_sync(receiver.feed, bytes(waiting))
    finally:
        receiver.close()
    if not receiver.complete:
        raise ReviewError("the upload is cut off before its end", next_step="send it again")
    return receiver.files


def _refuse_beyond(size: int, most: int) -> None:
    if size > most:
        raise TooLargeError(
            "the upload is too large", got=f"{size // MEGABYTE} MB or more", expected=f"at most {most // MEGABYTE} MB"
        )
