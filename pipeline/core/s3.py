"""What S3 gives beyond fsspec's files: objects that appear whole, on condition, and what is left.

An object is there when its upload is completed, and not before: that is the rename of other file
systems. `If-None-Match: *` lets one of several writers have a name. Requests are tried again by
botocore and s3fs, with growing pauses; an answer that was lost after the server had done what was
asked makes the second try fail, so every upload carries a mark by which it knows its own object.
"""

import io
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import fsspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

# Of a multipart upload, of which S3 takes 10,000 parts: 160 GB a file. What is smaller is put by
# one request. Source: Amazon S3 User Guide, "Multipart upload limits".
PART_BYTES = 16 << 20
# A header of the object, kept with it.
_MARK = "pairmill-upload"


class Taken(OSError):
    """An object that was to be put only where none is has found one."""


class Conditions(NamedTuple):
    """What a server does on condition that a name is free. puts: objects put by one request;
    completes: multipart uploads. A server that does not know the condition overwrites."""

    puts: bool
    completes: bool


def is_s3(fs: fsspec.AbstractFileSystem) -> bool:
    """True for file systems that this module is about."""
    protocol = fs.protocol
    return "s3" in ((protocol,) if isinstance(protocol, str) else protocol)


class Upload(io.RawIOBase):
    """A file to write that becomes an object by `commit`, or nothing at all by `discard`.

    once: only where there is no object of that name. Memory: two parts.
    """

    def __init__(self, fs: fsspec.AbstractFileSystem, path: str, once: bool = False) -> None:
        super().__init__()
        self._fs: Any = fs
        self._bucket, self._key, _ = self._fs.split_path(path)
        self._if = {"IfNoneMatch": "*"} if once else {}
        self._mark = uuid.uuid4().hex
        self._buffer = bytearray()
        self._size = 0
        self._id = ""
        self._parts: list[dict[str, Any]] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, data: "ReadableBuffer", /) -> int:
        """Append; sent when a part is full."""
        view = memoryview(data).cast("B")
        self._buffer += view
        self._size += len(view)
        while len(self._buffer) >= PART_BYTES:
            self._send(PART_BYTES)
        return len(view)

    def commit(self) -> None:
        """Let the object appear. Raises Taken when it was to be put once and another is there."""
        try:
            if self._parts:
                if self._buffer:
                    self._send(len(self._buffer))
                done = {"Parts": self._parts}
                self._call(
                    "complete_multipart_upload", self._upload, MultipartUpload=done, **self._if
                )
            else:
                marked = {"Metadata": {_MARK: self._mark}}
                self._call("put_object", marked, Body=bytes(self._buffer), **self._if)
        except OSError as error:
            there = self._mark_there()
            if there == self._mark:
                return  # done at a try whose answer was lost
            if self._if and there is not None:
                self.discard()
                raise Taken(f"s3://{self._bucket}/{self._key} is there already") from error
            raise

    def discard(self) -> None:
        """Leave nothing. What cannot be removed now (no network) is found by `abort_uploads`."""
        self._buffer.clear()
        if self._id:
            with suppress(Exception):
                self._call("abort_multipart_upload", self._upload)
        self._id = ""

    @property
    def _upload(self) -> dict[str, str]:
        return {"UploadId": self._id}

    def _send(self, size: int) -> None:
        if not self._id:
            marked = {"Metadata": {_MARK: self._mark}}
            self._id = self._call("create_multipart_upload", marked)["UploadId"]
        number = len(self._parts) + 1
        body = bytes(memoryview(self._buffer)[:size])
        sent = self._call("upload_part", self._upload, PartNumber=number, Body=body)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        del self._buffer[:size]

    def _mark_there(self) -> str | None:
        """The mark of the object that is there; "" when it has none, None when there is none."""
        try:
            return str(self._call("head_object")["Metadata"].get(_MARK, ""))
        except OSError:
            return None

    def _call(self, method: str, *more: dict[str, Any], **given: Any) -> Any:
        more = (self._fs.s3_additional_kwargs, *more)
        return self._fs.call_s3(method, *more, Bucket=self._bucket, Key=self._key, **given)


def put_once(fs: fsspec.AbstractFileSystem, path: str, data: bytes) -> bool:
    """Put a small object unless one is there; whether it was put."""
    upload = Upload(fs, path, once=True)
    upload.write(data)
    try:
        upload.commit()
    except Taken:
        return False
    return True


def move(fs: fsspec.AbstractFileSystem, path: str, to: str) -> None:
    """Copy an object, or all below a folder, to another name, and then remove it: a kill in between
    leaves what was there. (The file system's own `mv` takes a folder for an object.)"""
    inside, target = fs._strip_protocol(path), fs._strip_protocol(to)
    found = fs.find(inside)
    for name in found:
        fs.cp_file(name, target + name.removeprefix(inside))
    for name in found:
        fs.rm_file(name)


def abort_uploads(fs: fsspec.AbstractFileSystem, folder: str) -> int:
    """End the uploads below a folder that were not completed; how many. Nobody sees them, but their
    parts are stored and paid for."""
    aborted = 0
    for bucket, upload in _uploads(fs, folder):
        given = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        with suppress(FileNotFoundError):  # ended by its own writer at this moment
            fs.call_s3("abort_multipart_upload", **given)
            aborted += 1
    return aborted


def _uploads(fs: Any, folder: str) -> "Iterator[tuple[str, dict[str, Any]]]":
    bucket, prefix, _ = fs.split_path(folder)
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    asked = {"Bucket": bucket, "Prefix": prefix}
    while True:
        found = fs.call_s3("list_multipart_uploads", **asked)
        for upload in found.get("Uploads", ()):
            yield bucket, upload
        if not found.get("IsTruncated"):
            return
        asked |= {
            "KeyMarker": found["NextKeyMarker"],
            "UploadIdMarker": found["NextUploadIdMarker"],
        }


def conditions(fs: fsspec.AbstractFileSystem, folder: str) -> Conditions:
    """What the server of a folder does on condition, found by trying; nothing stays there."""
    path = f"{folder.rstrip('/')}/.trying-{uuid.uuid4().hex}"
    try:
        put_once(fs, path, b"first")
        puts = not put_once(fs, path, b"second")
        upload = Upload(fs, path, once=True)
        upload.write(b"third")
        upload._send(len(b"third"))
        try:
            upload.commit()
            completes = False
        except Taken:
            completes = True
    finally:
        with suppress(FileNotFoundError):
            fs.rm_file(path)
    return Conditions(puts, completes)
