"""`make index` and `make explore`: the nearest kept pictures of a run to a text or a picture."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.run import guarded
from pipeline.core.storage import Store
from pipeline.core.tables import CLIP_MODEL


def open_index(store: Store, device: str = "auto", pretrained: str = "") -> tuple[Any, Any]:
    """The index of a run (`search.nearest.Nearest`) and the model of its `[score]`, which asks it
    (`search.asking.Model`); two None, and a line that says so, where no index was made.

    pretrained: where the weights lie on this machine, when not where the run's config has them.
    Raises InputError where the weights are missing, or are others than those of the embeddings.
    """
    from pipeline.search.asking import Model
    from pipeline.search.building import path
    from pipeline.search.nearest import Nearest

    if not store.exists(path(CLIP_MODEL, "faiss")):
        print(f"This run has no index yet: make index RUN={store.root}")
        return None, None
    record = store.read_json("_stages/score.json")["config"]["score"]
    weights = pretrained or record["pretrained"]
    return Nearest(store), Model(store, CLIP_MODEL, record["model"], weights, device)


def open_explorer(run: str, port: int = 0, device: str = "auto", pretrained: str = "") -> Any:
    """The page of a run's index, `search.server.Explorer`; see `open_index`. Raises InputError
    where the run or its index is missing."""
    from pipeline.search.server import Explorer

    nearest, model = open_index(_store(run), device, pretrained)
    if nearest is None:
        raise InputError(f"{run} has no index yet; make index RUN={run}")
    return Explorer(nearest, model, port)


def _store(run: str) -> Store:
    store = Store(run)
    if not store.exists("_stages/score.json"):
        raise InputError(f"{store.root} is no run that was scored: it has no _stages/score.json")
    return store


def _index(run: str, model: str) -> None:
    from pipeline.search.building import build, path

    store, started = _store(run), time.monotonic()
    built = build(store, model)
    print(
        f"index: {built.pictures:,} kept pictures as {built.kind} in "
        f"{time.monotonic() - started:.1f} s; of the ten nearest of a sample it finds "
        f"{built.recall:.1%}; {store.path(path(model, 'faiss'))}",
        file=sys.stderr,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    parser = argparse.ArgumentParser(description="Nearest kept pictures of a run")
    parser.add_argument("what", choices=("index", "explore"))
    parser.add_argument("--run", default="runs/demo")
    parser.add_argument("--model", default=CLIP_MODEL, help="index: a name of [score.models]")
    parser.add_argument("--port", type=int, default=8765, help="explore: on 127.0.0.1; 0: any")
    parser.add_argument("--device", default="auto", help="explore: auto, cpu or cuda")
    parser.add_argument("--pretrained", default="", help="explore: where the weights lie here")
    args = parser.parse_args(argv)

    def work() -> None:
        if args.what == "index":
            _index(args.run, args.model)
            return
        try:
            explorer = open_explorer(args.run, args.port, args.device, args.pretrained)
        except OSError as error:
            raise InputError(f"port {args.port}: {error.strerror}; give another PORT") from None
        print(f"explore: {explorer.address} until Ctrl-C", file=sys.stderr, flush=True)
        try:
            explorer.serve_forever()
        except KeyboardInterrupt:
            explorer.server_close()

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
