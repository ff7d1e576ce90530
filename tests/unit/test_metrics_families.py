"""The metrics keep to Prometheus' conventions, and both formats say the same to prometheus-client's own parsers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from qsup.metrics.expose import exposition
from qsup.metrics.families import FAMILIES, SUFFIXES, UNITS, Family, Kind
from qsup.metrics.readings import Site
from qsup.phase import Phase
from qsup.vitals.verdict import Condition
from tests.unit.metrics_site import guest, latency, site

PARSERS: dict[bool, Any] = {False: plain_families, True: open_metrics_families}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(made: Site, *, open_metrics: bool = True) -> Samples:
    """Every sample, as a scraper gets it; a sample that comes twice is a mistake."""
    _, text = exposition(made, open_metrics=open_metrics)
    found: Samples = {}
    for family in PARSERS[open_metrics](text.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def value(made: Samples, name: str, **labels: str) -> float | None:
    return made.get((name, frozenset(labels.items())))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_keep_to_the_conventions(family: Family) -> None:
    assert re.fullmatch(r"qsup(_[a-z][a-z0-9]*)+", family.name)
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info", "_created"))
    assert re.fullmatch(r"[A-Z].*[.]", family.help)
    assert all(re.fullmatch(r"[a-z]+", label) for label in (*family.labels, *family.facts))
    assert family.name.startswith("qsup_guest") == ("guest" in family.labels)
    words = family.name.split("_")
    assert not {"milliseconds", "ms", "kb", "mb", "kib", "percent", "minutes"} & {*words}
    for unit in UNITS:
        assert unit not in words[:-1]


def test_no_sample_could_belong_to_two_metrics() -> None:
    names = [family.name + suffix for family in FAMILIES for suffix in SUFFIXES[family.kind]]
    assert len(set(names)) == len(names)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_a_guest_with_everything_has_a_value_in_every_metric() -> None:
    for family in FAMILIES:
        assert list(family.samples(site())), family.name


def test_both_formats_say_the_same() -> None:
    plain = samples(site(), open_metrics=False)
    rich = samples(site(), open_metrics=True)
    processes = {key for key in (*plain, *rich) if key[0].startswith("process_")}
    assert {key: plain[key] for key in plain.keys() - processes} == {
        key: rich[key] for key in rich.keys() - processes
    }
    assert {name for name, _ in processes} >= {"process_cpu_seconds_total", "process_resident_memory_bytes"}


def test_types_units_and_explanations_arrive() -> None:
    content_type, text = exposition(site(), open_metrics=True)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    arrived = {family.name: family for family in PARSERS[True](text.decode())}
    for family in FAMILIES:
        found = arrived[family.name]
        assert (found.type, found.unit, found.documentation) == (family.kind, family.unit, family.help)
        for sample in found.samples:
            assert {*sample.labels} - {"le"} == {*family.all_labels}


def test_figures_stand_where_one_looks_for_them() -> None:
    found = samples(site())
    assert value(found, "qsup_guest_cpu_seconds_total", guest="web1", mode="user") == 1.5
    assert value(found, "qsup_guest_vcpu_wait_seconds_total", guest="web1", vcpu="0") == 0.5
    assert value(found, "qsup_guest_disk_read_bytes_total", guest="web1", disk="root") == 512
    assert value(found, "qsup_guest_disk_read_time_seconds_total", guest="web1", disk="root") == 0.002
    assert value(found, "qsup_guest_nic_receive_drop_total", guest="web1", nic="lan") == 3
    assert value(found, "qsup_guest_kvm_exits_by_reason_total", guest="web1", reason="io") == 7
    assert value(found, "qsup_guest_balloon_bytes", guest="web1") == 1 << 29
    assert value(found, "qsup_guest_restarts_total", guest="web1", cause="qemu-signal") == 1
    assert value(found, "qsup_guest_ends_total", guest="web1", cause="qemu-signal") == 2
    assert value(found, "qsup_guest_failures_total", guest="web1") == 2
    assert value(found, "qsup_guest_qmp_latency_seconds_bucket", guest="web1", le="0.0025") == 2
    assert value(found, "qsup_guest_qmp_latency_seconds_count", guest="web1") == 3
    assert value(found, "qsup_event_loop_lag_seconds_count") == 1
    assert value(found, "qsup_build_info", version="1.2.3", python="3.11.2") == 1


@pytest.mark.parametrize("phase", Phase)
def test_of_all_phases_one_is_set(phase: Phase) -> None:
    found = samples(site(guest(phase=phase)))
    for one in Phase:
        there = value(found, "qsup_guest_phase", guest="web1", qsup_guest_phase=one.value)
        assert there == (one is phase)


def test_what_is_not_known_is_left_out() -> None:
    off = guest(
        phase=Phase.GAVE_UP, ready=False, process=None, answers=None, condition=None, ready_after=None,
        started=None, accel=None, qemu=None, latency=latency().counted(),
    )  # fmt: skip
    names = {name for name, labels in samples(site(off)) if ("guest", "web1") in labels}
    assert not {name for name in names if "_cpu_" in name or "_disk_" in name or "_memory_" in name} - {
        "qsup_guest_memory_bytes"
    }
    assert "qsup_guest_qmp_up" not in names
    assert "qsup_guest_condition" not in names
    silent = samples(site(guest(answers=None, condition=Condition.QEMU_HUNG)))
    assert value(silent, "qsup_guest_qmp_up", guest="web1") == 0
    assert value(silent, "qsup_guest_condition", guest="web1", qsup_guest_condition="qemu-hung") == 1
    assert value(silent, "qsup_guest_cpu_seconds_total", guest="web1", mode="user") == 1.5


def test_a_host_without_guests_has_metrics_too() -> None:
    found = samples(site().__class__(**{**_fields(site()), "guests": ()}))
    assert value(found, "qsup_config_problems") == 0


def _fields(made: Site) -> dict[str, Any]:
    return {name: getattr(made, name) for name in made.__struct_fields__}


@given(st.text(max_size=40), st.booleans())
def test_whatever_a_qemu_calls_itself_the_text_can_be_read(version: str, open_metrics: bool) -> None:
    readable = version.encode(errors="ignore").decode()
    found = samples(site(guest(qemu=readable)), open_metrics=open_metrics)
    labels = {"guest": "web1", "machine": "pc-q35-7.2", "accel": "kvm", "qemu": readable}
    assert value(found, "qsup_guest_info", **labels) == 1


def test_the_number_of_series_grows_with_what_is_declared_only() -> None:
    one, two = len(samples(site())), len(samples(site(guest("web1"), guest("web2"))))
    each = two - one
    assert each < 120
    assert len(samples(site(*(guest(f"web{number}") for number in range(10))))) == one + 9 * each


def test_kinds_are_the_names_that_openmetrics_has() -> None:
    assert {kind.value for kind in Kind} == {"gauge", "counter", "histogram", "stateset", "info"}
