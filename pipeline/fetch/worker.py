"""The decoder process: bodies in, pictures out, over one socket, until it is closed.

Run as `python -m pipeline.fetch.worker`. Decoding hostile bytes may crash or hang in native code;
here that costs this process and one picture. Memory and time are limited by the kernel.
"""

import resource
import signal
import socket

import msgspec

from pipeline.core.wire import read_frame, write_frame
from pipeline.fetch.picture import DecodeSettings


class Start(msgspec.Struct, frozen=True):
    """The first frame: settings, the limit on address space, and seconds per picture."""

    settings: DecodeSettings
    memory_bytes: int
    timeout_s: float


def serve(connection: socket.socket) -> None:
    """Answer frames until the other side closes."""
    first = read_frame(connection)
    if first is None:
        return
    start = msgspec.msgpack.decode(first, type=Start)
    from pipeline.fetch.decode import decode

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (start.memory_bytes, start.memory_bytes))
    encoder = msgspec.msgpack.Encoder()
    write_frame(connection, b"ready")
    while (body := read_frame(connection)) is not None:
        # The default action of SIGALRM ends the process, whatever code it is in.
        signal.setitimer(signal.ITIMER_REAL, start.timeout_s)
        answer = encoder.encode(decode(body, start.settings))
        signal.setitimer(signal.ITIMER_REAL, 0)
        write_frame(connection, answer)


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
