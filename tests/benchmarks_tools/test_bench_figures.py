"""How rounds become figures, ratios, verdicts and a table."""

import json
from collections import Counter

import pytest

from bench.figures import FIGURES, medians, ratios, spread
from bench.report import Run, as_json, table
from bench.rounds import Plan, Result
from bench.targets import TARGETS, Target, judge, verdict

NGINX = {
    "cpu_us_per_request": 23.0,
    "requests_per_second": 43_800.0,
    "added_p50_us": 37.0,
    "first_chunk_p50_us": 380.0,
    "chunk_p50_us": 135.0,
    "cpu_us_per_chunk": 22.0,
    "rss_idle_mb": 17.0,
    "rss_after_mb": 19.0,
    "start_ms": 13.0,
    "tools_busy": 0.6,
    "held_busy": 0.1,
}
OURS = {key: 2 * value for key, value in NGINX.items()} | {"rss_after_mb": 70.0, "start_ms": 340.0}
SLOWEST = {
    "cpu_us_per_request": 18_555.0,
    "requests_per_second": 54.0,
    "added_p50_us": 16_577.0,
    "first_chunk_p50_us": 27_475.0,
    "chunk_p50_us": 11_486.0,
    "cpu_us_per_chunk": 1_555.0,
    "rss_idle_mb": 1_334.0,
    "rss_after_mb": 1_378.0,
    "start_ms": 28_355.0,
}


def a_run(**faults: int) -> Run:
    return Run(
        plan=Plan(rounds=1),
        machine={"cpu": "Some CPU", "cores": 2},
        versions={"nginx": "1.22.1", "modelpool": "0.1.0"},
        results={
            "direct": [Result({"requests_per_second": 85_000.0})],
            "nginx": [Result(NGINX)],
            "modelpool": [Result(OURS, Counter(faults), "foreign: status 200" if faults else "")],
            "modelpool-traced": [Result(SLOWEST)],
        },
        reference="nginx",
    )


def test_a_figure_is_the_median_of_the_rounds_that_have_it() -> None:
    assert medians([{"a": 1.0}, {"a": 9.0, "b": 4.0}, {"a": 2.0}]) == {"a": 2.0, "b": 4.0}


def test_the_spread_tells_the_least_and_the_greatest() -> None:
    assert spread([{"a": 3.0}, {"a": 1.0, "b": 4.0}]) == {"a": (1.0, 3.0), "b": (4.0, 4.0)}


def test_a_ratio_needs_both_figures_and_a_divisor() -> None:
    mine = {"start_ms": 30.0, "added_p50_us": 5.0, "chunk_p50_us": 1.0, "not_in_the_table": 1.0}
    assert ratios(mine, {"start_ms": 10.0, "added_p50_us": 0.0, "not_in_the_table": 1.0}) == {"start_ms": 3.0}


@pytest.mark.parametrize(
    ("value", "expected"), [(1.3, "aim met"), (1.31, "met"), (2.0, "met"), (2.01, "missed"), (0.0, "aim met")]
)
def test_a_bound_itself_still_meets_its_target(value: float, expected: str) -> None:
    assert verdict(value, Target("x", "x", None, must=2.0, aim=1.3, unit="x")) == expected


def test_every_target_speaks_of_a_figure_of_the_table_and_aims_beyond_its_must() -> None:
    keys = {figure.key for figure in FIGURES}
    assert all(target.key in keys and target.aim < target.must for target in TARGETS)


def test_a_target_against_a_rival_that_did_not_run_is_not_judged() -> None:
    judged = {one.target.what: one.verdict for one in judge("modelpool", {"modelpool": OURS, "nginx": NGINX})}
    assert judged == {
        "CPU per request / nginx": "met",
        "added p50 at c=1 / nginx": "met",
        "CPU per chunk / nginx": "missed",
        "memory after load": "missed",
        "start to first answer": "aim met",
    }


def test_the_table_fits_a_hundred_columns_and_keeps_its_cells_apart() -> None:
    lines = table(a_run()).splitlines()
    assert max(map(len, lines)) <= 100
    assert [len(line.split()) for line in lines[2:6]] == [1 + len(FIGURES)] * 4
    assert any(line.startswith("nginx ") and " 43,800 " in line for line in lines)


def test_wrong_answers_are_the_last_words() -> None:
    assert "WRONG ANSWERS, modelpool: 2 foreign (the first: foreign: status 200)" in table(a_run(foreign=2))
    assert "WRONG ANSWERS" not in table(a_run())


def test_a_core_that_was_full_is_told() -> None:
    text = table(a_run())
    assert "modelpool: its requests/s is bound by the load generator" in text
    assert "nginx: its requests/s" not in text


def test_the_json_holds_every_round_and_is_plain_json() -> None:
    told = json.loads(json.dumps(as_json(a_run(foreign=1))))
    assert told["contenders"]["modelpool"]["rounds"] == [OURS]
    assert told["contenders"]["modelpool"]["faults"] == {"foreign": 1}
    assert told["ratios"]["modelpool"]["cpu_us_per_request"] == 2.0
    assert told["targets"]["modelpool"][0]["verdict"] == "met"
