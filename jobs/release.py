"""A finished release: checked, told about, exported, cut down to a view; or made of a folder.

python -m jobs.release verify RELEASE [--view FILE]
python -m jobs.release export RELEASE --layout img2dataset|hf|energon-index --out OUT
python -m jobs.release materialise RELEASE [--view FILE] --out OUT
python -m jobs.release import FOLDER --out OUT --name NAME
python -m jobs.release describe RELEASE [--view FILE]
python -m jobs.release report RELEASE [--view FILE] [--against RUN_OR_RELEASE] --out FILE
"""

import argparse
import sys

from pipeline.core import release
from pipeline.core.errors import InputError, PairmillError
from pipeline.core.redact import redact
from pipeline.core.storage import Store, file_system
from pipeline.shards.describe import describe, mixing
from pipeline.shards.export import LAYOUTS, export
from pipeline.shards.publish import owned
from pipeline.shards.verify import verify
from pipeline.stream import views
from pipeline.stream.reader import Release
from pipeline.stream.tombstones import Tombstones
from pipeline.stream.views import View

_PER_SHARD = 10_000


def main(argv: list[str] | None = None) -> int:
    """Run the command line; its exit status: 1 when damaged or wrong."""
    args = _parser().parse_args(argv)
    try:
        return int(globals()[f"_{args.command}"](args))
    except PairmillError as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs.release")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, what: str, given: str = "release") -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what)
        made.add_argument(given, help="folder or URL")
        return made

    check = command("verify", "re-read a release, or the samples of a view, and check every hash")
    check.add_argument("--view", default="", help="file of a view: its samples alone")
    told = command("describe", "count what a release, or a view of it, holds")
    report = command("report", "write what a release, or a view of it, holds as an HTML page")
    for made in (told, report):
        made.add_argument("--view", default="", help="file of a view")
    report.add_argument("--against", default="", help="an earlier run or release: what moved since")
    report.add_argument("--out", required=True, help="the HTML file, a path or URL")
    layouts = command("export", "write it in the layout of another tool")
    layouts.add_argument("--layout", required=True, choices=sorted(LAYOUTS))
    chosen = command(
        "materialise", "write a view, without what tombstones name, into a release of its own"
    )
    chosen.add_argument("--view", default="", help="file of a view; without: all samples")
    folder = command("import", "make a release of a folder that img2dataset wrote", "folder")
    folder.add_argument("--licence", default="other", help="an identifier the Hub knows")
    for made in (layouts, chosen, folder):
        made.add_argument("--out", required=True, help="folder or URL to write")
    for made in (chosen, folder):
        made.add_argument("--name", default="", help="of the new release")
        made.add_argument("--samples-per-shard", type=int, default=_PER_SHARD)
    return parser


def _view(args: argparse.Namespace) -> View:
    return views.load(args.release, args.view) if args.view else views.whole(args.release)


def _verify(args: argparse.Namespace) -> int:
    selected = None
    if args.view:
        view = _view(args)
        starts = views.byte_starts(view.manifest)

        def selected(shard: int) -> list[int]:
            found: list[int] = view.rows(
                shard, 0, view.manifest.shards[shard].samples, starts
            ).tolist()
            return found

    problems = verify(args.release, selected)
    for problem in problems:
        print(problem)
    print(f"{args.release}: {len(problems)} problems" if problems else f"{args.release}: sound")
    if not problems and not args.view:
        fs, root = file_system(args.release)
        print(mixing(fs, root, release.load(fs, root).shards))
    return 1 if problems else 0


def _export(args: argparse.Namespace) -> int:
    source = Release(args.release)
    if gone := Tombstones(args.release).keys():
        raise InputError(
            f"{args.release} has {len(gone):,} tombstones, which other tools do not know: "
            "materialise it first, which leaves these samples out"
        )
    files = export(
        source.manifest,
        source.read_shard,
        source.about,
        Store(args.release),
        args.layout,
        args.out,
    )
    print(f"{args.out}: {files} files, {source.manifest.samples:,} samples")
    return 0


def _materialise(args: argparse.Namespace) -> int:
    from pipeline.stages.materialise import materialise

    with owned(args.out):
        manifest = materialise(_view(args), args.out, args.samples_per_shard, args.name)
    print(f"{args.out}: {manifest.samples:,} samples in {len(manifest.shards)} shards")
    return 0


def _import(args: argparse.Namespace) -> int:
    from pipeline.stages.import_folder import import_folder

    name = args.name or args.folder.rstrip("/").rsplit("/", 1)[-1]
    with owned(args.out):
        manifest, account = import_folder(
            args.folder, args.out, args.samples_per_shard, name, args.licence
        )
    print(f"{args.out}: {manifest.samples:,} samples in {len(manifest.shards)} shards")
    for reason, rows in sorted(account.dropped.items()):
        print(f"  {rows:,} rows left out: {reason}")
    return 0


def _report(args: argparse.Namespace) -> int:
    from pipeline.stages.report_release import write_report

    samples = write_report(_view(args), args.out, args.against)
    print(f"{args.out}: {samples:,} samples")
    return 0


def _describe(args: argparse.Namespace) -> int:
    view = _view(args)
    fs, root = file_system(args.release)
    starts = views.byte_starts(view.manifest)
    rows = (
        (shard, view.rows(number, 0, shard.samples, starts))
        for number, shard in enumerate(release.load(fs, root).shards)
    )
    print(describe(fs, root, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
