"""The S3 server that tests talk to: moto in this process, or with PAIRMILL_S3=ceph a real one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.s3 import ceph

ROOT = Path(__file__).resolve().parent.parent.parent
ACCESS_KEY = "tests-access-key"
# Whoever finds this in anything that was written has found a leak.
SECRET_KEY = "canary/7f3c9a51e0b24d68/secret"


@dataclass(frozen=True)
class Endpoint:
    """How a server is reached; `name` is moto or ceph."""

    name: str
    url: str

    @property
    def environment(self) -> dict[str, str]:
        """By which every client finds it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def is_real() -> bool:
    """Whether tests were told to use the real server."""
    return os.environ.get("PAIRMILL_S3") == "ceph"


@contextmanager
def chosen() -> Iterator[Endpoint]:
    """The server, until the block ends. Where the real one was asked for and cannot be had, the
    tests end with what would help."""
    if not is_real():
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer("127.0.0.1", 0)
        server.start()
        try:
            host, port = server.get_host_and_port()
            yield Endpoint("moto", f"http://{host}:{port}")
        finally:
            server.stop()
        return
    try:
        with ceph.serving(ROOT / "build/ceph", ACCESS_KEY, SECRET_KEY) as real:
            yield Endpoint("ceph", real.endpoint)
    except ceph.Unavailable as error:
        pytest.exit(f"no real S3 server on this machine: {error}", returncode=3)
