"""img2dataset's side of the download workloads and of `line`; runs in the peer's environment.

`URLS AUTHORITIES SIZE QUALITY FOLDER`: its own Downloader fetches the URLs of a file as one shard
into a tar in the folder. Where URLS is a folder of Parquet with url and alt, it fetches all of it
with its captions, a shard of 10,000 after the other. Every host name is on this machine, as it is for ours. Imports nothing of
ours.
"""

import json
import os
import resource
import shutil
import socket
import sys
import tempfile
import time
import types

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
# Its package imports these for its command line, its driver and its log, which a shard does not use.
for name in ("fire", "pandas", "tqdm", "wandb"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["tqdm"].tqdm = None

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from img2dataset.downloader import Downloader  # noqa: E402
from img2dataset.resizer import Resizer  # noqa: E402
from img2dataset.writer import WebDatasetSampleWriter  # noqa: E402

# Else the Arrow library takes it for the real one.
del sys.modules["pandas"]

# Threads are its way to wait for servers; as many as ours has requests under way.
THREADS = 128
# Its default.
SHARD_ROWS = 10_000
_lookup = socket.getaddrinfo


def local(host, *args, **kwargs):
    """Every name of the benchmark's is on this machine."""
    return _lookup("127.0.0.1" if host.endswith(".bench.test") else host, *args, **kwargs)


def cpu_s():
    """User and system seconds of this process, its threads and ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def fetch(table, folder, size, quality, shard_id=0):
    """One shard, with its defaults but for the recipe. table: of url, and caption where wanted."""
    os.makedirs(folder, exist_ok=True)
    shard = os.path.join(folder, f"shard-{shard_id}.feather")
    with pa.OSFile(shard, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    downloader = Downloader(
        sample_writer_class=WebDatasetSampleWriter,
        resizer=Resizer(
            image_size=size,
            resize_mode="keep_ratio",
            resize_only_if_bigger=True,
            encode_quality=quality,
        ),
        thread_count=THREADS,
        save_caption="caption" in table.column_names,
        extract_exif=False,
        output_folder=folder,
        column_list=table.column_names,
        timeout=20,
        number_sample_per_shard=max(10, table.num_rows),
        oom_shard_count=5,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=1,
        user_agent_token=None,
        disallowed_header_directives=["noai", "noimageai", "noindex", "noimageindex"],
    )
    ended, _ = downloader((shard_id, shard))
    if not ended:
        raise SystemExit("the shard failed")


def fetch_all(table, folder, size, quality):
    """As its reader cuts them."""
    table = table.select(["url", "alt"]).rename_columns(["url", "caption"])
    for shard_id, start in enumerate(range(0, table.num_rows, SHARD_ROWS)):
        fetch(table.slice(start, SHARD_ROWS), folder, size, quality, shard_id)


def run(urls, folder, size, quality):
    """The figures of all URLs, after a few to load what is loaded late."""
    fetch(pa.table({"url": urls[:4]}), os.path.join(folder, "warm"), size, quality)
    started, cpu = time.perf_counter(), cpu_s()
    fetch(pa.table({"url": urls}), os.path.join(folder, "all"), size, quality)
    figures = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": cpu_s() - cpu,
        "start_cpu_seconds": cpu,
    }
    table = pq.read_table(os.path.join(folder, "all", "00000.parquet")).to_pylist()
    good = [row for row in table if row["status"] == "success"]
    rows = [[row["url"], row["sha256"], row["width"], row["height"]] for row in good]
    failed = sorted({str(row["error_message"]) for row in table if row["status"] != "success"})
    return figures | {"rows": rows, "errors": failed[:5]}


if __name__ == "__main__":
    urls_file, authorities, size, quality, target = sys.argv[1:]
    # What OpenSSL's default verify paths mean: read anew for every context it makes.
    os.environ["SSL_CERT_FILE"] = authorities
    os.environ["SSL_CERT_DIR"] = os.path.join(target, "none")
    socket.getaddrinfo = local
    if os.path.isdir(urls_file):
        fetch_all(pq.read_table(urls_file), target, int(size), int(quality))
    else:
        with open(urls_file) as lines:
            wanted = lines.read().split()
        work = tempfile.mkdtemp(dir=target)
        print(json.dumps(run(wanted, work, int(size), int(quality))))
        shutil.rmtree(work)
