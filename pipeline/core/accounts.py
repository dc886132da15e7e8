"""Accounting: what went in equals what was kept plus what was dropped, by reason."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.core.errors import ContractError


@dataclass
class Account:
    """Counts of one kind of thing through one stage.

    unit: what is counted, plural ("records", "links", "images", "pairs"). cpu_s: CPU seconds by
    step of the work, where the stage measures them; of no consequence for what is written.
    """

    unit: str
    rows_in: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    cpu_s: dict[str, float] = field(default_factory=dict)

    def drop(self, reason: str, rows: int = 1) -> None:
        """Count `rows` that came in and leave with `reason`; nothing is noted of zero rows.

        Raises ContractError for a negative number: more was counted as kept than came in.
        """
        if rows < 0:
            raise ContractError(f"{rows} {self.unit} dropped as {reason}: more kept than came in")
        if rows:
            self.rows_in += rows
            self.dropped[str(reason)] += rows

    def keep(self, rows: int = 1) -> None:
        """Count `rows` that came in and stay."""
        self.rows_in += rows
        self.kept += rows

    def add(self, other: "Account") -> None:
        """Add another account of the same unit."""
        if other.unit != self.unit:
            raise ContractError(f"cannot add an account of {other.unit} to one of {self.unit}")
        self.rows_in += other.rows_in
        self.kept += other.kept
        self.dropped.update(other.dropped)
        for step, seconds in other.cpu_s.items():
            self.cpu_s[step] = self.cpu_s.get(step, 0.0) + seconds

    def check(self, where: str) -> None:
        """Raise ContractError unless in = kept + dropped."""
        lost = self.rows_in - self.kept - self.dropped.total()
        if lost:
            raise ContractError(
                f"{where}: {self.rows_in} {self.unit} in, {self.kept} kept, "
                f"{self.dropped.total()} dropped: {lost} unaccounted for"
            )

    def to_json(self) -> dict[str, object]:
        """A JSON-ready form, reasons by falling count."""
        data: dict[str, object] = {
            "unit": self.unit,
            "in": self.rows_in,
            "kept": self.kept,
            "dropped": dict(self.dropped.most_common()),
        }
        if self.cpu_s:
            data["cpu_s"] = {step: round(seconds, 3) for step, seconds in self.cpu_s.items()}
        return data

    @classmethod
    def from_json(cls, data: dict[str, object]) -> "Account":
        """Undo `to_json`."""
        return cls(
            unit=str(data["unit"]),
            rows_in=int(data["in"]),  # type: ignore[call-overload]
            kept=int(data["kept"]),  # type: ignore[call-overload]
            dropped=Counter(data["dropped"]),  # type: ignore[call-overload]
            cpu_s=dict(data.get("cpu_s", {})),  # type: ignore[call-overload]
        )


def merge(accounts: Iterable[Account]) -> list[Account]:
    """Sum accounts by unit; units keep the order they first appear in."""
    merged: dict[str, Account] = {}
    for account in accounts:
        merged.setdefault(account.unit, Account(account.unit)).add(account)
    return list(merged.values())
