"""The decoder process: bodies in, pictures out, over one socket, until it is closed.

Run as `python -m pipeline.fetch.worker`. Decoding hostile bytes may crash or hang in native code;
here that costs this process and one picture. Memory and time are limited by the kernel.
"""

import ctypes
import resource
import signal
import socket

import msgspec

from pipeline.core.wire import read_frame, write_frame
from pipeline.fetch.picture import DecodeSettings

_LARGE_PIXELS = 2**23


class Start(msgspec.Struct, frozen=True):
    """The first frame: settings, the limit on data (heap and private mappings), and seconds per
    picture."""

    settings: DecodeSettings
    memory_bytes: int
    timeout_s: float


def serve(connection: socket.socket) -> None:
    """Answer frames until the other side closes."""
    first = read_frame(connection)
    if first is None:
        return
    start = msgspec.msgpack.decode(first, type=Start)
    from pipeline.fetch.decode import decode, warm_up

    warm_up()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What it may write to; the libraries that are merely mapped count for nothing.
    resource.setrlimit(resource.RLIMIT_DATA, (start.memory_bytes, start.memory_bytes))
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library
    encoder = msgspec.msgpack.Encoder()
    write_frame(connection, b"ready")
    while (body := read_frame(connection)) is not None:
        # The default action of SIGALRM ends the process, whatever code it is in.
        signal.setitimer(signal.ITIMER_REAL, start.timeout_s)
        picture = decode(body, start.settings)
        answer = encoder.encode(picture)
        signal.setitimer(signal.ITIMER_REAL, 0)
        write_frame(connection, answer)
        pixels = (picture.original_width or 0) * (picture.original_height or 0)
        if trim is not None and pixels > _LARGE_PIXELS:
            trim(0)  # what a large picture took is not kept from the fetcher


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
