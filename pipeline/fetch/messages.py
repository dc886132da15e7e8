"""Frames between a task and the coordinator: a 32-bit length and a MessagePack list of messages
[kind, key, ...]."""

import asyncio
import struct
from typing import Any

import msgspec

_LENGTH = struct.Struct("<I")
_MAX_FRAME_BYTES = 64 * 2**20

Message = list[Any]


async def read(reader: asyncio.StreamReader) -> list[Message]:
    """The messages of one frame. Raises IncompleteReadError when the other side is gone."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > _MAX_FRAME_BYTES:
        raise ConnectionError(f"frame of {length} bytes")
    messages: list[Message] = msgspec.msgpack.decode(await reader.readexactly(length))
    return messages


class Outbox:
    """Sends what was put in during one turn of the loop as one frame."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._messages: list[Message] = []

    def put(self, *message: Any) -> None:
        """Send a message, with whatever else is sent in this turn of the loop."""
        if not self._messages:
            asyncio.get_running_loop().call_soon(self._flush)
        self._messages.append(list(message))

    def _flush(self) -> None:
        data = msgspec.msgpack.encode(self._messages)
        self._messages = []
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(data)) + data)
