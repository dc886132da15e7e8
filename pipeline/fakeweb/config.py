"""The `[demo]` section: how large the embedded web is and what is on it."""

from pydantic import Field

from pipeline.core.stage import Section, tuning


class DemoSection(Section):
    """`[demo]`. Everything scales with `pages`: twice as many image URLs, a tenth as many hosts."""

    folder: str = tuning("build/web")  # where the web is written
    pages: int = Field(default=3000, ge=20, le=10_000_000)  # HTML pages of the web
    seed: int = Field(default=0, ge=0)  # another one is another web
    archives: int = Field(default=4, ge=2, le=10_000)  # archive files, WARC and WAT together
    wat_share: float = Field(default=0.5, ge=0, le=1)  # share of the archives that are WAT
    korean_share: float = Field(
        default=0.4, ge=0, le=1
    )  # share of the domains whose pages are Korean
    processes: int = tuning(0, ge=0)  # that draw the pictures; 0: one per core
