"""What all jobs share: load the recipe, provide the web it asks for, run stages, tell the end.

`[run] web` says where the download goes: "live" is the real web; "embedded" generates and serves
the demo's web on loopback; "replay" serves the responses recorded in the archives themselves.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filters
from pipeline.core.amendment import Amendment
from pipeline.core.config import Config
from pipeline.core.filter import Filter
from pipeline.core.records import digest
from pipeline.core.run import amend, guarded, load_config, run
from pipeline.core.stage import Section
from pipeline.core.storage import Store
from pipeline.fakeweb.config import DemoSection
from pipeline.fetch import adopt
from pipeline.fetch.settings import DownloadSection
from pipeline.judge.settings import JudgeSection
from pipeline.stages import download, extract, verify
from pipeline.stages.line import LINE
from pipeline.stages.takedown import BLOCKED, lists_of
from pipeline.stats.funnel import funnel, render_funnel
from pipeline.stats.state import render, states

if TYPE_CHECKING:
    from pipeline.fakeweb.serving import Served

EXTRA: dict[str, type[Section]] = {
    "demo": DemoSection,
    "judge": JudgeSection,
    verify.STAGE.name: verify.STAGE.config,
}

# By whether the release is on this machine's file system.
_HOW_TO_READ = {
    True: """\
    import webdataset
    tars = webdataset.WebDataset("{0}/00000.tar", shardshuffle=False)
    for image, text in tars.decode("pil").to_tuple("jpg", "txt"):
        print(image.size, text)
or:
    import datasets
    rows = datasets.load_dataset("{0}", split="train")""",
    False: """\
    from pipeline.stream.loader import Stream
    for batch in Stream("{0}", batch_size=256):
        print(batch.keys, batch.txt)""",
}


def run_stages(*names: str, argv: Sequence[str] | None = None) -> int:
    """Run the named stages with the command line's recipe; the exit status (see `guarded`)."""
    args = _arguments(f"Pairmill: {', '.join(names)}", argv)

    def work() -> None:
        overrides = _overrides(args)
        config = _load(args.config, overrides)
        with _web(config, names) as served:
            config = _load(args.config, [*overrides, *served])
            run(names, LINE, config, args.redo)
        if len(names) == len(LINE):
            _tell_end(config)

    return guarded(work)


def _arguments(description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", required=True, help="a recipe, e.g. conf/default.toml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--archives", help="archives to read, instead of extract.archives")
    parser.add_argument(
        "--from",
        dest="lists",
        metavar="PATH",
        help="a list of URLs and captions (Parquet, CSV, TSV, JSONL; a file, glob or folder) to "
        "start from, instead of archives; pictures that img2dataset stored beside it are taken",
    )
    parser.add_argument("--redo", action="store_true", help="do it again, and what depends on it")
    args = parser.parse_args(argv)
    if args.lists and args.archives:
        parser.error("--from and --archives exclude each other")
    return args


def _overrides(args: argparse.Namespace) -> list[str]:
    """What the command line sets."""
    overrides = list(args.set)
    if args.archives:
        overrides.append(f"extract.archives={json.dumps([args.archives])}")
    if args.lists:
        overrides.append(f"extract.lists={json.dumps([args.lists])}")
        overrides += ["extract.archives=[]", "extract.crawl=''", "extract.index=''"]
        if adopt.is_output(args.lists):
            # First, so that --set comes after it.
            overrides.insert(0, f"download.adopt={json.dumps(args.lists)}")
    return overrides


def tell_status(argv: Sequence[str] | None = None) -> int:
    """Print where the run of the command line's recipe stands; the exit status."""
    args = _arguments("Pairmill: status", argv)

    def work() -> None:
        overrides = _overrides(args)
        config = _load(args.config, overrides)
        config = _load(args.config, [*overrides, *_own_archives(config)])
        store = Store(config.run.root)
        identities = {stage.name: config.identity(stage) for stage in LINE}
        print(render(store, states(store, LINE, identities)))

    return guarded(work)


def _own_archives(config: Config) -> list[str]:
    """The setting by which an embedded web's own archives are read, where they are."""
    section: Any = config.sections["extract"]
    if config.run.web != "embedded" or section.lists or section.archives:
        return []
    return [f"extract.archives={json.dumps([_all_archives(config)])}"]


def _all_archives(config: Config) -> str:
    return f"{_demo_folder(config)}/archives/*.gz"


def _is_whole_web(config: Config) -> bool:
    """True when all of the embedded web was milled, which is what its truth is about."""
    section: Any = config.sections["extract"]
    return config.run.web == "embedded" and section.archives == (_all_archives(config),)


def verify_against(argv: Sequence[str] | None = None) -> int:
    """Hold a finished download against the command line's list, or the recipe's, or the one that
    the run was made from; the exit status."""
    parser = argparse.ArgumentParser(description="Pairmill: verify")
    parser.add_argument("--config", required=True, help="a recipe, e.g. conf/default.toml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument(
        "--expected",
        help="files of url and sha256, md5 or perceptual hash; "
        "default: the list that the run was made from",
    )
    parser.add_argument("--redo", action="store_true", help="do it again")
    args = parser.parse_args(argv)
    overrides = list(args.set)
    if args.expected:
        overrides.append(f"verify.expected={json.dumps([args.expected])}")

    def work() -> None:
        config = _load(args.config, overrides)
        section = config.sections[verify.STAGE.name]
        assert isinstance(section, verify.VerifySection)
        if not section.expected:
            found = verify.list_of_run(Store(config.run.root))
            config = _load(args.config, [*overrides, *found])
        run((verify.STAGE.name,), (*LINE, verify.STAGE), config, args.redo)

    return guarded(work)


def amend_download(
    amendment: Callable[[DownloadSection, Mapping[str, Filter]], Amendment[DownloadSection]],
    argv: Sequence[str] | None = None,
) -> int:
    """Replace some of what the download gave, by the command line's recipe; the exit status."""
    parser = argparse.ArgumentParser(description=f"Pairmill: {amendment.__name__}")
    parser.add_argument("--config", required=True, help="a recipe, e.g. conf/default.toml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = parser.parse_args(argv)

    def work() -> None:
        config = _load(args.config, args.set)
        with _web(config, ("download",)) as served:
            config = _load(args.config, [*args.set, *served])
            section: Any = config.sections[download.STAGE.name]
            amend(download.STAGE, LINE, config, amendment(section, config.filters))

    return guarded(work)


def _load(path: str, overrides: list[str]) -> Config:
    config = load_config(path, overrides, LINE, filters.load(), EXTRA)
    removed = _removed(config)
    if not removed:
        return config
    return load_config(path, [*overrides, *removed], LINE, filters.load(), EXTRA)


def _removed(config: Config) -> list[str]:
    """The settings by which the run keeps to what was taken down from earlier releases. The lists
    lie in the registry that the run is held to."""
    sections: Any = config.sections
    optouts = list(sections[download.STAGE.name].optout_lists)
    found = []
    for folder in sorted({sections["dedupe"].registry, sections["match"].registry} - {""}):
        addresses, blocked = lists_of(folder, Store(config.run.root))
        if addresses and addresses not in optouts:
            optouts.append(addresses)
            found.append(f"download.optout_lists={json.dumps(optouts)}")
        if blocked:
            source = f'{{kind = "block", path = {json.dumps(blocked)}}}'
            found.append(f"match.lists.{BLOCKED}={source}")
    return found


@contextmanager
def _web(config: Config, names: Sequence[str]) -> Iterator[list[str]]:
    """Serve the web that the recipe asks for while the block runs; overrides that point to it.

    Nothing is served but for the download, which alone asks for it.
    """
    overrides = _own_archives(config)
    serve: AbstractContextManager[Served | None] = nullcontext()
    if config.run.web == "embedded":
        from pipeline.fakeweb.build import write_web
        from pipeline.fakeweb.serving import serving

        folder = _demo_folder(config)
        write_web(folder, config.sections["demo"])  # type: ignore[arg-type]
        if "download" in names:
            serve = serving(folder)
    elif config.run.web == "replay" and "download" in names:
        from pipeline.fakeweb.replay import replaying

        recorded = extract.archives(config.sections["extract"])  # type: ignore[arg-type]
        serve = replaying(recorded, _replay_folder(config))
    with serve as served:
        if served is not None:
            overrides += [
                *_names_of(config, served),
                f"download.ca_file={json.dumps(served.ca_file)}",
                f"download.port_map={{{_ports(config, served)}}}",
                # What its sites say goes with it: another web may have the same names.
                f"download.hosts_root={json.dumps(str(Path(served.log_path).parent))}",
            ]
        yield overrides


def _names_of(config: Config, served: "Served") -> list[str]:
    """Settings by which the download knows the names of the served web, and no other."""
    if not served.dns_server:
        return [f"download.hosts_file={json.dumps(served.hosts_file)}"]
    section = config.sections[download.STAGE.name]
    assert isinstance(section, DownloadSection)
    contact = section.contact or "demo@pairmill.example"
    return [
        f"download.dns_servers={json.dumps([served.dns_server])}",
        # Some of its names change when they are asked again: let them, and ask none in advance.
        "download.dns_min_ttl_s=0",
        "download.check_dns=false",
        f"download.contact={json.dumps(contact)}",
    ]


def _ports(config: Config, served: "Served") -> str:
    """Ports as TOML. A replay takes every other port too: nothing else on this machine is asked."""
    ports = {80: served.http_port, 443: served.https_port}
    if config.run.web == "replay":
        ports[0] = served.http_port
    return ", ".join(f"{port} = {to}" for port, to in ports.items())


def _demo_folder(config: Config) -> str:
    demo = config.sections["demo"]
    assert isinstance(demo, DemoSection)
    return str(Path(demo.folder).absolute())


def _replay_folder(config: Config) -> str:
    """Where a replayed web keeps its own files, on this machine whatever the run is on."""
    store = Store(config.run.root)
    return store.path("web") if store.is_local else str(Path("runs", digest(store.root)).absolute())


def _tell_end(config: Config) -> None:
    """The funnel, the quality where the truth is known, and how to read the release."""
    store = Store(config.run.root)
    out = sys.stdout
    print(f"\nFunnel\n{render_funnel(funnel(store.root))}", file=out)
    if _is_whole_web(config):
        from pipeline.fakeweb.evaluate import evaluate
        from pipeline.fakeweb.gentleness import Limits
        from pipeline.fakeweb.verdict import render

        section = config.sections[download.STAGE.name]
        assert isinstance(section, DownloadSection)
        limits = Limits(
            section.host_concurrency,
            section.host_interval_s,
            section.address_concurrency,
            section.address_interval_s,
        )
        found = evaluate(store.root, _demo_folder(config), limits)
        store.write_json("evaluation.json", found)
        print(f"\nAgainst the ground truth\n{render(found)}", file=out)
    print(
        f"""
Release: {store.path("release")}
Report:  {store.path("report", "report.html")}

Read it in Python:
{_HOW_TO_READ[store.is_local].format(store.path("release"))}""",
        file=out,
    )
