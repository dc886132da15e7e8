"""Length-prefixed frames over a socket, between a task and the processes that work for it."""

import socket
import struct

_LENGTH = struct.Struct("<I")
_MAX_FRAME_BYTES = 2**31
_PIECE_BYTES = 2**20


def write_frame(connection: socket.socket, data: bytes) -> None:
    """Send one frame. Raises OSError when the other side is gone, TimeoutError past a timeout."""
    connection.sendall(_LENGTH.pack(len(data)))
    connection.sendall(data)


def read_frame(connection: socket.socket) -> bytes | None:
    """Receive one frame; None when the other side closed. Raises OSError, TimeoutError, EOFError
    when it closed inside a frame or announces more than 2 GiB."""
    head = _read(connection, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > _MAX_FRAME_BYTES:
        raise EOFError(f"frame of {length} bytes")
    data = _read(connection, length)
    if data is None:
        raise EOFError("closed inside a frame")
    return data


def _read(connection: socket.socket, length: int) -> bytes | None:
    """So many bytes: in one call and without a copy where the socket blocks."""
    data = connection.recv(length, socket.MSG_WAITALL)
    if len(data) == length:
        return data
    pieces = bytearray(data)
    while data and len(pieces) < length:
        data = connection.recv(min(length - len(pieces), _PIECE_BYTES))
        pieces += data
    return bytes(pieces) if len(pieces) == length else None
