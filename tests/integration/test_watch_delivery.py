"""Events of a watch through kill -9 and broker outages; `tests/acceptance/watch_delivery.py` has the long version."""

import dataclasses
from pathlib import Path

import pytest

from tests.acceptance.watch_delivery import holds, table
from tests.support.watch_kills import KillRun, Row, run_kills


@pytest.mark.slow
def test_events_survive_kills_and_an_outage(tmp_path: Path) -> None:
    run = run_kills(tmp_path, kills=2, outages=1, seed=3)
    assert run.begun and not run.lost() and not run.doubled() and not run.disordered()
    assert all(holds(value, bound) for _, value, bound in table(run))


def test_the_check_finds_losses_doubles_and_disorder() -> None:
    a, b = "a" * 32, "b" * 32
    ids = [f"{a}-begin", f"{b}-begin", f"{a}-finish", f"{b}-finish"]
    good = KillRun(
        begun=[a, b],
        finished=[a, b],
        stored={a: "finish", b: "finish"},
        rows=[Row(one, "yard", "mqtt", "delivered") for one in ids],
        received={"mqtt": [*ids[:2], ids[1], *ids[2:]], "json_lines": []},
        kills=1,
        outages=0,
    )
    lines = [Row(one, "yard", "json_lines", "delivered") for one in ids[2:]]
    good = dataclasses.replace(good, rows=good.rows + lines, received=good.received | {"json_lines": ids[2:]})
    assert (good.lost(), good.doubled(), good.disordered(), good.repeated("mqtt")) == ([], [], [], 1)
    assert dataclasses.replace(good, stored={a: "finish"}).lost()
    assert dataclasses.replace(good, stored={a: "finish", b: "update"}).lost()
    assert dataclasses.replace(good, received=good.received | {"mqtt": ids[:3]}).lost() == [f"mqtt: {b}-finish"]
    pending = [row._replace(state="pending") if row.id == ids[0] else row for row in good.rows]
    assert dataclasses.replace(good, rows=pending).lost() == [f"mqtt: {a}-begin"]
    assert dataclasses.replace(good, rows=[*good.rows, good.rows[0]]).doubled() == [f"mqtt: {a}-begin"]
    assert dataclasses.replace(good, received=good.received | {"json_lines": [*ids[2:], ids[2]]}).doubled()
    turned = dataclasses.replace(good, received=good.received | {"mqtt": [ids[1], ids[0], *ids[2:]]})
    assert turned.disordered() == ["mqtt: yard"]
    assert not holds(1, "0") and not holds(0, "> 0") and holds(5, "")
