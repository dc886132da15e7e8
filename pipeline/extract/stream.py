"""Archives from anywhere: a reader that goes on where a broken connection left it."""

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, NoReturn, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.extract.retry import Failure, Pace, judge

_MIN_BLOCK_BYTES = 16 << 10
_ENDS_EARLY = Failure("the answer ends early", is_transient=True)
# The pace of this process, whichever archives it reads.
PACE = Pace()


def open_archive(
    url: str,
    block_bytes: int = 8 << 20,
    max_tries: int = 8,
    is_ahead: bool = True,
    pace: Pace = PACE,
) -> IO[bytes]:
    """A seekable binary reader of a local file or any fsspec URL.

    A failing read is tried again where it stopped, after a growing pause, `max_tries` times without
    a byte of progress. block_bytes: asked for at once; a server that breaks off is asked for less.
    is_ahead: the next block is fetched while this one is read. Memory: three blocks. Raises OSError
    that names archive, offset and cause, then or when trying again is of no use (not found, not
    allowed, no credentials); also when the file ends before its announced length.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise OSError(f"archive {url} cannot be read: {error}") from None
    if isinstance(fs, LocalFileSystem):
        return open(path, "rb")
    return cast(IO[bytes], _Remote(url, fs, path, block_bytes, max_tries, is_ahead, pace))


class _Remote:
    """See `open_archive`. The block in hand is `_block`, which starts at `_block_start`."""

    def __init__(
        self,
        url: str,
        fs: Any,
        path: str,
        block_bytes: int,
        max_tries: int,
        is_ahead: bool,
        pace: Pace,
    ) -> None:
        self._url, self._fs, self._path = url, fs, path
        self._max_block_bytes = self._block_bytes = block_bytes
        self._max_tries = max_tries
        self._pace = pace
        self._file: Any = None
        self._file_at = 0
        self._is_stream = False  # the server knows no ranges: only from the start on
        self._at = self._block_start = 0
        self._block = b""
        self.closed = False  # which pyarrow asks
        self._thread = ThreadPoolExecutor(1, "archive") if is_ahead else None
        self._ahead: tuple[int, Future[bytes]] | None = None
        self._size = self._length()

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 2 and self._size is None:
            raise OSError(f"archive {self._url}: its size is not known")
        self._at = max(0, offset + (0, self._at, self._size or 0)[whence])
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes, fewer only at the end of the file."""
        parts: list[bytes] = []
        while size:
            start = self._at - self._block_start
            if not 0 <= start < len(self._block):
                self._block = self._fetch_ahead(self._at, size)
                self._block_start, start = self._at, 0
                if not self._block:
                    break
            part = self._block[start : start + size] if size > 0 else self._block[start:]
            parts.append(part)
            self._at += len(part)
            size -= len(part) if size > 0 else 0
        return b"".join(parts)

    def close(self) -> None:
        self.closed = True
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._ahead = None
        self._close_file()

    def __enter__(self) -> "_Remote":
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def _fetch_ahead(self, offset: int, size: int) -> bytes:
        """The block at an offset; the one behind it is asked for."""
        if self._thread is None:
            return self._fetch(offset, size if size > 0 else self._max_block_bytes)
        ahead, self._ahead = self._ahead, None
        block = None
        if ahead is not None:
            block = ahead[1].result() if ahead[0] == offset else None
            if block is None and not ahead[1].cancel():
                ahead[1].exception()  # one request at a time
        if block is None:
            block = self._fetch(offset, self._max_block_bytes)
        following = offset + len(block)
        if block and (self._size is None or following < self._size):
            future = self._thread.submit(self._fetch, following, self._max_block_bytes)
            self._ahead = (following, future)
        return block

    def _length(self) -> int | None:
        tries = 0
        while True:
            try:
                self._pace.wait()
                size = self._fs.info(self._path)["size"]
            except Exception as error:  # noqa: BLE001 - any library's
                tries += 1
                self._retry(judge(error), 0, tries, error)
            else:
                return int(size) if size is not None else None

    def _fetch(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at an offset; none at the end of the file alone."""
        if self._size is not None and offset >= self._size:
            return b""
        tries = 0
        while True:
            wanted = min(size, self._block_bytes)
            error: Exception | None = None
            try:
                self._pace.wait()
                data = self._read_at(offset, wanted)
                if data or self._size is None:
                    self._pace.succeeded()
                    self._block_bytes = min(self._block_bytes * 2, self._max_block_bytes)
                    return data
                failure = _ENDS_EARLY
            except Exception as caught:  # noqa: BLE001 - any library's
                failure, error = judge(caught), caught
                if isinstance(caught, ValueError) and not self._is_stream and offset:
                    self._is_stream = True  # fsspec's answer where ranges are not served
                    failure = Failure("no ranges", is_transient=True)
            self._close_file()
            tries += 1
            self._block_bytes = max(min(_MIN_BLOCK_BYTES, size), self._block_bytes // 4)
            self._retry(failure, offset, tries, error)

    def _read_at(self, offset: int, size: int) -> bytes:
        if self._file is None or (self._file_at != offset and not self._move(offset)):
            self._close_file()
            self._file, self._file_at = self._open(), 0
            if offset and not self._move(offset):
                self._skip(offset)
        data = bytes(self._file.read(size))
        self._file_at += len(data)
        if self._size is not None and self._file_at > self._size:
            raise EOFError(f"more than the announced {self._size} bytes")
        return data

    def _move(self, offset: int) -> bool:
        """Seek; False where that is not possible."""
        if self._is_stream:
            return False
        try:
            self._file.seek(offset)
        except (OSError, ValueError):
            self._is_stream = True
            return False
        self._file_at = offset
        return True

    def _skip(self, offset: int) -> None:
        while self._file_at < offset:
            data = self._file.read(min(1 << 20, offset - self._file_at))
            if not data:
                raise EOFError("the answer ends early")
            self._file_at += len(data)

    def _open(self) -> Any:
        block = 0 if self._is_stream else self._max_block_bytes
        try:
            return self._fs.open(self._path, "rb", block_size=block, cache_type="none")
        except TypeError:  # file systems that know no caches
            return self._fs.open(self._path, "rb")

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(Exception):  # it may be broken
                file.close()

    def _retry(self, failure: Failure, offset: int, tries: int, error: Exception | None) -> None:
        """Wait before another try. Raises OSError when there is to be none."""
        if not failure.is_transient:
            self._fail(f"at byte {offset}: {failure.cause}", error)
        if tries >= self._max_tries:
            self._fail(f"at byte {offset} after {tries} tries: {failure.cause}", error)
        self._pace.failed(failure, tries)

    def _fail(self, why: str, error: Exception | None) -> NoReturn:
        raise OSError(f"archive {self._url} cannot be read {why}") from error
