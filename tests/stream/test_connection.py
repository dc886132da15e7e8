"""Ranges received piece by piece from a server that sends as it likes."""

import itertools
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stream import signed
from pipeline.stream.connection import Connection
from pipeline.stream.signed import SignedReads

DATA = random.Random(3).randbytes(2_000_000)
URL = urlsplit("http://server/bucket/key?Signature=1")


def asked(edges: list[int], buffers: list[bytearray]) -> tuple[Connection, socket.socket]:
    """A connection that has asked for a range, and the server's end of it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = Connection(ours, "server", buffers)
    connection.ask(URL, edges, lambda start, data: (start, bytes(data)))
    request = theirs.recv(4096).decode()
    assert request.startswith("GET /bucket/key?Signature=1 HTTP/1.1\r\nHost: server\r\n")
    assert f"\r\nRange: bytes={edges[0]}-{edges[-1] - 1}\r\n" in request
    assert request.endswith("\r\n\r\n")
    return connection, theirs


def head(size: int, status: str = "206 Partial Content", more: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nX-Long: {'x' * 50}\r\ncontent-length: {size}\r\n{more}\r\n".encode()
    )


def sent(connection: Connection, theirs: socket.socket, answer: bytes, cuts: list[int]) -> bool:
    """Send an answer in parts, each received before the next; whether that made it whole."""
    is_whole = False
    for start, end in itertools.pairwise([0, *cuts, len(answer)]):
        assert not is_whole, "it was whole before all had come"
        theirs.sendall(answer[start:end])
        is_whole = connection.receive() if end > start else is_whole
    return is_whole


@given(data=st.data())
def test_pieces_come_whole_however_they_are_sent(data: st.DataObject) -> None:
    buffers: list[bytearray] = []
    start = data.draw(st.integers(0, 1000))
    sizes = data.draw(st.lists(st.integers(1, 30_000), min_size=1, max_size=6))
    edges = list(itertools.accumulate(sizes, initial=start))
    connection, theirs = asked(edges, buffers)
    answer = head(sum(sizes)) + DATA[edges[0] : edges[-1]]
    cuts = sorted(set(data.draw(st.lists(st.integers(1, len(answer) - 1), max_size=8))))
    assert sent(connection, theirs, answer, cuts)
    assert connection.used == [(a, DATA[a:b]) for a, b in itertools.pairwise(edges)]
    assert not connection.is_last and len(buffers) == 1
    # And once more by the same connection, in the same memory.
    connection.ask(URL, [0, 10], lambda start, data: bytes(data))
    theirs.recv(4096)
    assert sent(connection, theirs, head(10) + DATA[:10], [])
    assert connection.used == [DATA[:10]] and len(buffers) == 1
    connection.close()
    theirs.close()


def test_a_piece_that_is_larger_than_the_memory() -> None:
    connection, theirs = asked([0, 5, 1_500_000], [])
    sender = threading.Thread(target=theirs.sendall, args=(head(1_500_000) + DATA[:1_500_000],))
    sender.start()
    while not connection.receive():
        pass
    sender.join()
    assert connection.used == [(0, DATA[:5]), (5, DATA[5:1_500_000])]
    connection.close()
    theirs.close()


@pytest.mark.parametrize(
    "answer",
    [
        head(10, "200 OK") + DATA[:10],
        head(10, "404 Not Found") + DATA[:10],
        head(11) + DATA[:11],
        b"HTTP/1.1 206 Partial Content\r\n\r\n" + DATA[:10],
        b"x" * 20_000,
        head(10)[:40],
        head(10) + DATA[:9],
        b"",
    ],
    ids="whole missing long unsized endless torn-head torn nothing".split(),
)
def test_what_is_not_the_range_is_refused(answer: bytes) -> None:
    connection, theirs = asked([0, 4, 10], [])
    theirs.sendall(answer)
    theirs.close()
    with pytest.raises(OSError):
        connection.receive()
    connection.close()


@pytest.mark.parametrize(
    "answer", [head(10, more="Connection: close\r\n") + DATA[:10], head(10) + DATA[:10] + b"more"]
)
def test_after_some_answers_nothing_more_is_asked(answer: bytes) -> None:
    connection, theirs = asked([0, 10], [])
    assert not connection.is_last
    assert sent(connection, theirs, answer, [])
    assert connection.used == [(0, DATA[:10])] and connection.is_last
    connection.close()
    theirs.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    opened: ClassVar[list[Any]] = []  # the connections of a test
    timeout: ClassVar[float | None] = None

    def setup(self) -> None:
        self.opened.append(self.client_address)
        super().setup()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        start, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        body = DATA[int(start) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Signer:
    """As much of an s3fs file system as is used, and nothing that could be asked instead."""

    def __init__(self, address: str) -> None:
        self.address = address

    def sign(self, path: str, expiration: int) -> str:
        return f"{self.address}/{path}?expiration={expiration}"

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        raise OSError(f"{path} was asked for through s3fs")


@pytest.fixture(autouse=True)
def nothing_opened() -> None:
    Handler.opened.clear()


@contextmanager
def serving(folder: Path | None) -> Iterator[str]:
    """A server's address: by TLS, with a certificate put into a folder, where one is given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if folder:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(folder))
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"{'https' if folder else 'http'}://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def certificate(folder: Path) -> Path:
    """A key and a certificate for localhost, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "localhost.pem"
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_many_ranges_at_a_time(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "localhost.pem"))
    chance = random.Random(5)
    with serving(tmp_path if scheme == "https" else None) as address:
        reads = SignedReads(Signer(address), 4)
        wanted = [sorted(chance.sample(range(len(DATA)), 1 + n % 5 + 1)) for n in range(60)]
        came: list[Any] = [
            reads.submit("key", edges, lambda start, data: (start, bytes(data))) for edges in wanted
        ]
        for edges, pieces in zip(wanted, came, strict=True):
            assert pieces.result(60) == [(a, DATA[a:b]) for a, b in itertools.pairwise(edges)]
        reads.close()


def test_a_certificate_that_is_not_trusted_is_not_used(tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        reads = SignedReads(Signer(address), 1)
        with pytest.raises(OSError, match="through s3fs"):
            reads.submit("key", [0, 10], lambda _, data: bytes(data)).result(60)
        reads.close()


def test_what_is_made_of_a_piece_may_fail() -> None:
    def fail(_: int, data: memoryview) -> None:
        raise RuntimeError("no sample")

    with serving(None) as address:
        reads = SignedReads(Signer(address), 1)
        with pytest.raises(RuntimeError, match="no sample"):
            reads.submit("key", [0, 10], fail).result(60)
        assert reads.submit("key", [0, 10], lambda _, data: bytes(data)).result(60) == [DATA[:10]]
        reads.close()


def test_a_connection_that_is_long_in_coming_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connected, calls = SignedReads._connected, itertools.count()

    def slow(self: SignedReads, url: Any) -> socket.socket:
        if next(calls):
            time.sleep(20)
        return connected(self, url)

    monkeypatch.setattr(SignedReads, "_connected", slow)
    with serving(None) as address:
        reads = SignedReads(Signer(address), 3)
        came = [reads.submit("key", [n, n + 5], lambda _, data: bytes(data)) for n in range(20)]
        assert [pieces.result(10) for pieces in came] == [[DATA[n : n + 5]] for n in range(20)]
        reads.close()


def test_of_a_host_that_is_not_there_s3fs_is_asked_at_once() -> None:
    with serving(None) as address:
        pass
    reads = SignedReads(Signer(address), 3)
    for came in [reads.submit("key", [n, n + 5], lambda _, data: bytes(data)) for n in range(20)]:
        with pytest.raises(OSError, match="through s3fs"):
            came.result(10)
    reads.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_is_kept_until_the_server_ends_it(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "localhost.pem"))
    monkeypatch.setattr(Handler, "timeout", 1.0)
    with serving(tmp_path if scheme == "https" else None) as address:
        reads = SignedReads(Signer(address), 3)

        def read() -> list[bytes]:
            return reads.submit("key", [0, 9], lambda _, data: bytes(data)).result(10)

        assert read() == [DATA[:9]]
        time.sleep(0.3)
        assert read() == [DATA[:9]] and len(Handler.opened) == 1
        time.sleep(2)  # it is closed by now
        assert read() == [DATA[:9]] and len(Handler.opened) == 2
        reads.close()


def test_a_connection_on_which_nothing_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "_TIMEOUT_S", 0.5)
    silent = socket.create_server(("127.0.0.1", 0))
    reads = SignedReads(Signer(f"http://127.0.0.1:{silent.getsockname()[1]}"), 2)
    for came in [reads.submit("key", [n, n + 5], lambda _, data: bytes(data)) for n in range(4)]:
        with pytest.raises(OSError, match="through s3fs"):
            came.result(20)
    reads.close()
    silent.close()
