"""Serve an embedded web in the foreground: `python -m pipeline.fakeweb FOLDER`."""

import argparse
import json
import signal
import threading
from dataclasses import asdict

from pipeline.fakeweb.build import write_web
from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.serving import serving


def main() -> None:
    """Write the web if the folder has none, then serve it until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.fakeweb", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--pages", type=int, default=DemoSection().pages)
    parser.add_argument("--seed", type=int, default=DemoSection().seed)
    args = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    write_web(args.folder, DemoSection(pages=args.pages, seed=args.seed))
    with serving(args.folder) as served:
        print(json.dumps(asdict(served), indent=1), flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
