"""The dashboard and the alerting rules ask only for metrics, labels and values that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qsup.cause import Cause
from qsup.events import Kind as EventKind
from qsup.metrics.families import FAMILIES, KVM_EXITS, MEMORY_EVENTS, SUFFIXES, Family, Kind
from qsup.phase import Phase
from qsup.vitals.verdict import Condition
from tests.conftest import ROOT

RULES = ROOT / "configs/prometheus/qsup.rules.yml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "configs/grafana/qsup.json").read_text(encoding="utf-8"))
SAMPLES: dict[str, Family] = {
    family.name + suffix: family for family in FAMILIES for suffix in SUFFIXES[family.kind]
}
OTHERS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Metrics of Prometheus itself, and of the daemon's process."""
OF_THE_SCRAPE = {"instance", "job"}
VALUES: dict[str, set[str]] = {
    "qsup_guest_phase": {*Phase},
    "qsup_guest_condition": {*Condition},
    "cause": {*Cause},
    "reason": {*KVM_EXITS},
    "mode": {"user", "system"},
}
WORDS = {
    "and", "avg", "by", "count", "histogram_quantile", "increase", "or", "rate", "round", "sum", "vector",
    "label_values",
}  # fmt: skip
"""Of PromQL and of Grafana."""


def rules() -> list[str]:
    """The expression of each rule."""
    text = RULES.read_text(encoding="utf-8")
    return [
        found.replace(">-", "")
        for found in re.findall(r"^ +expr: ((?:.|\n)*?)\n +(?:for|labels):", text, re.MULTILINE)
    ]


def panels() -> Iterator[str]:
    """The expression of each line of each panel, and of each variable."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]


def test_there_are_some() -> None:
    assert len(rules()) == RULES.read_text().count("alert:") >= 10
    assert len(list(panels())) > 30


@pytest.mark.parametrize("expr", [*rules(), *panels()])
def test_a_query_asks_for_what_there_is(expr: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', expr)
    # What stands before a brace, a bracket, a comparison or the end is a metric.
    names = {*re.findall(r"\b(?:qsup|process)_\w+|\bup\b", re.sub(r"\{[^}]*\}", "", bare))}
    assert names, expr
    assert names <= SAMPLES.keys() | OTHERS, expr
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expr):
        _check_selector(name, selector)
    grouped = {
        label for labels in re.findall(r"\bby \(([^)]*)\)", bare) for label in re.split(r", *", labels)
    }
    asked = {label for name in names if name in SAMPLES for label in SAMPLES[name].all_labels}
    assert grouped <= asked | OF_THE_SCRAPE | {"le"}, expr
    left = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)|\b(qsup|process)_\w+|\bup\b", "", bare)
    assert {*re.findall(r"[a-z_]+", left)} <= WORDS | OF_THE_SCRAPE | {"guest"}, expr


def _check_selector(name: str, selector: str) -> None:
    known = {*SAMPLES[name].all_labels} if name in SAMPLES else set()
    for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', selector):
        assert label in known | OF_THE_SCRAPE, (name, label)
        if "$" in value or label in OF_THE_SCRAPE:
            continue
        values = VALUES.get(label)
        if label == "event":
            values = {*EventKind} if name == "qsup_events_total" else {*MEMORY_EVENTS}
        assert values is not None, label
        assert {*(value.split("|") if "~" in operator else [value])} <= values, (label, value)


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_the_lines_of_a_panel_are_called_by_labels_that_they_have(panel: dict[str, Any]) -> None:
    for target in panel.get("targets", ()):
        kept = re.findall(r"\bby \(([^)]*)\)", target["expr"])
        known = {label for labels in kept for label in re.split(r", *", labels)} or {"guest", "instance"}
        assert {*re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])} <= known, target


def test_counters_are_shown_as_rates_unless_they_come_and_go() -> None:
    counters = {name for name, family in SAMPLES.items() if family.kind is Kind.COUNTER}
    counters -= {name for name in counters if "cause" in SAMPLES[name].labels}
    for expr in (*rules(), *panels()):
        for name in re.findall(r"\bqsup_\w+", re.sub(r"(rate|increase)\([^)]*\)", "", expr)):
            assert name not in counters, expr


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_a_guest_that_is_given_up_is_seen_in_both() -> None:
    gave_up = 'qsup_guest_phase="gave-up"'
    assert any(gave_up in expr for expr in rules())
    assert any(gave_up in expr for expr in panels())


def test_the_rules_do_what_they_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (package prometheus)")
    for words in (
        ("check", "config", ROOT / "configs/prometheus/prometheus.yml"),
        ("test", "rules", ROOT / "tests/data/qsup.rules.test.yml"),
    ):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_address_is_the_one_of_the_sample() -> None:
    scraped = re.search(r'targets: \["(.*)"\]', Path(RULES.parent / "prometheus.yml").read_text())
    assert scraped is not None
    assert f'listen = "{scraped[1]}"' in (ROOT / "configs/qsup.toml").read_text()
