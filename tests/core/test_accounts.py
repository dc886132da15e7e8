"""Nothing vanishes: in = kept + dropped, per unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.accounts import Account, merge
from pipeline.core.errors import ContractError


def test_a_lost_row_is_an_error() -> None:
    account = Account("links", rows_in=3, kept=1)
    account.dropped["no_caption"] = 1
    with pytest.raises(ContractError, match="1 unaccounted"):
        account.check("extract")


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 9), st.sampled_from("xyz"))))
def test_merge_keeps_every_count(rows: list[tuple[str, int, str]]) -> None:
    parts = []
    for unit, count, reason in rows:
        account = Account(unit)
        account.keep(count)
        account.drop(reason, count)
        parts.append(account)
    merged = merge(parts)
    assert sum(a.rows_in for a in merged) == 2 * sum(count for _, count, _ in rows)
    for account in merged:
        account.check("test")
        assert Account.from_json(account.to_json()) == account


def test_units_do_not_mix() -> None:
    with pytest.raises(ContractError, match="records"):
        Account("links").add(Account("records"))


def test_no_rows_give_no_reason_and_less_than_none_is_refused() -> None:
    account = Account("links")
    account.drop("none", 0)
    assert account.to_json() == {"unit": "links", "in": 0, "kept": 0, "dropped": {}}
    with pytest.raises(ContractError, match="more kept than came in"):
        account.drop("lost", -1)
