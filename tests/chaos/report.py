"""What a chaos run prints: a line for each strike, and the verdict."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.plan import TOLD, Strike

if TYPE_CHECKING:
    from tests.chaos.campaign import Campaign


@dataclass
class Blow:
    """A strike that fell. stage, after_s, parts: where the run was. what: besides the kind. said:
    by the run, for its user. then: how it went on. wrong: what should not have been; "" for nothing.
    """

    strike: Strike
    stage: str
    after_s: float
    parts: str
    what: str = ""
    said: str = ""
    then: str = ""
    wrong: str = ""


@dataclass
class Verdict:
    """faults: what is wrong with the end of it; none when all is well."""

    faults: list[str] = field(default_factory=list)
    compared: int = 0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return not self.faults


def line(number: int, blow: Blow) -> str:
    """A strike as a row of a Markdown table."""
    where = f"{blow.stage}, {blow.after_s:.1f} s" + (f", {blow.parts}" if blow.parts else "")
    what = TOLD[blow.strike.kind] + (f": {blow.what}" if blow.what else "")
    then = blow.then + (f" WRONG: {blow.wrong}" if blow.wrong else "")
    cells = (str(number), where, what, blow.said or "nothing", then)
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def render(campaign: "Campaign", verdict: Verdict) -> str:
    """The table and the verdict."""
    settings = campaign.settings
    told = [
        f"chaos SEED={settings.seed} STRIKES={settings.strikes}: {settings.pages} pages, "
        f"{len(campaign.blows)} strikes on {len({b.stage for b in campaign.blows})} stages, "
        f"{campaign.starts} starts of a job, {verdict.seconds / 60:.0f} minutes",
        "",
        "| # | point | strike | what the run said | what happened then |",
        "|---|---|---|---|---|",
        *(line(number, blow) for number, blow in enumerate(campaign.blows, 1)),
        "",
    ]
    if verdict.is_good:
        told.append(
            f"PASSED: the release has the bytes of an undisturbed run ({verdict.compared} files)."
        )
    else:
        told += ["FAILED:", *(f"- {fault}" for fault in verdict.faults)]
    return "\n".join(told)
