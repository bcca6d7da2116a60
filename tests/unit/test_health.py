"""When is it ill? Only where a restart may help."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from canarysync.health import RouteVitals, Vitals, ailments, remarks
from canarysync.metrics import Meter
from canarysync.tracks import Tally

NOW_S = 5000.0
WELL = RouteVitals("clinic", 60.0, Tally(Counter(), None), False, "", NOW_S, NOW_S, NOW_S)
LONG_AGO_S = NOW_S - 300.0


def vitals(route: RouteVitals, api_trouble: str = "") -> Vitals:
    return Vitals(NOW_S, [WELL, route], api_trouble, 9, 0)


@pytest.mark.parametrize(
    ("route", "api_trouble", "ill"),
    [
        pytest.param(WELL, "", False, id="all is well"),
        pytest.param(WELL, "no connection", False, id="no API"),
        pytest.param(replace(WELL, gone="the folder is gone"), "", False, id="no folder"),
        pytest.param(replace(WELL, listed_s=NOW_S - 239), "", False, id="a slow scan"),
        pytest.param(replace(WELL, listed_s=LONG_AGO_S), "", True, id="a scan that hangs"),
        pytest.param(replace(WELL, listed_s=LONG_AGO_S, rescan_s=100.0), "", False, id="rescans are rare"),
        pytest.param(replace(WELL, listed_s=LONG_AGO_S, scanned_s=None), "", True, id="the first scan hangs"),
        pytest.param(replace(WELL, listed_s=LONG_AGO_S, crowded=True), "", False, id="a long scan, and files go"),
        pytest.param(
            replace(WELL, listed_s=LONG_AGO_S, crowded=True, visited_s=LONG_AGO_S), "", True, id="visits hang"
        ),
        pytest.param(
            replace(WELL, listed_s=LONG_AGO_S, crowded=True, visited_s=LONG_AGO_S), "HTTP 429", False, id="an outage"
        ),
    ],
)
def test_ailments(route: RouteVitals, api_trouble: str, ill: bool) -> None:
    told = list(ailments(vitals(replace(route, name="other"), api_trouble)))
    assert [line.partition(":")[0] for line in told] == ["other"] * ill


def test_a_loop_that_gives_no_answer_is_ill() -> None:
    assert any(ailments(None))


def test_what_no_restart_mends_is_remarked_on() -> None:
    told = list(remarks(vitals(replace(WELL, gone="no\nfolder"), "no connection")))
    assert told == ["the API cannot be used: no connection", r"clinic: no\nfolder"]


def test_a_hang_and_a_hold_have_gauges_of_their_own() -> None:
    page = Meter().page(vitals(replace(WELL, name="other", hangs=True, on_hold=True))).body.decode()
    for gauge in ("canarysync_folder_hangs", "canarysync_on_hold"):
        assert f'{gauge}{{route="clinic"}} 0.0\n' in page
        assert f'{gauge}{{route="other"}} 1.0\n' in page
