"""A process that decodes pictures: frames in, frames out, until the socket is closed.

Run as `python -m pipeline.score.worker`; both sides are ours, hence pickles.
"""

import pickle
import socket

from pipeline.core.wire import read_frame, write_frame
from pipeline.score.looks import Looker


def serve(connection: socket.socket) -> None:
    """Answer lists of `Asked` with what a `Looker`, the first frame, makes of each."""
    first = read_frame(connection)
    if first is None:
        return
    look: Looker = pickle.loads(first)
    while (frame := read_frame(connection)) is not None:
        found = [look(asked) for asked in pickle.loads(frame)]
        write_frame(connection, pickle.dumps(found, protocol=5))


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
