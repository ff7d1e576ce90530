"""The Grafana dashboard: its panels as they are meant, out of which the JSON is made that Grafana imports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qsup.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
HOST: Final = 'instance=~"$instance"'
GUEST: Final = 'instance=~"$instance",guest=~"$guest"'
RATE: Final = "$__rate_interval"
COLORS: Final = {
    Phase.STOPPED: "text",
    Phase.STARTING: "light-blue",
    Phase.RUNNING: "green",
    Phase.PAUSED: "yellow",
    Phase.STOPPING: "blue",
    Phase.BACKOFF: "orange",
    Phase.GAVE_UP: "dark-red",
    Phase.UNREACHABLE: "purple",
}
WIDTH: Final = 24
"""Columns of a dashboard."""


class Query(NamedTuple):
    """What is asked, and what its lines are called."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One panel; ``size`` is its width and height in Grafana's units."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    size: tuple[int, int] = (8, 8)
    about: str = ""
    field: dict[str, Any] = {}  # noqa: RUF012 - never changed
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


def _rate(metric: str, by: str, legend: str) -> Query:
    return Query(f"sum by (instance, guest, {by}) (rate({metric}{{{GUEST}}}[{RATE}]))", legend)


def _both(reading: str, writing: str, by: str) -> tuple[Query, ...]:
    """What comes in and what goes out."""
    return (
        _rate(reading, by, f"{{{{guest}}}} {{{{{by}}}}} {'in' if by == 'nic' else 'read'}"),
        _rate(writing, by, f"{{{{guest}}}} {{{{{by}}}}} {'out' if by == 'nic' else 'write'}"),
    )


def _took(time: str, count: str, what: str) -> Query:
    """How long one request took on average."""
    sums = (f"sum by (instance, guest, disk) (rate({one}{{{GUEST}}}[{RATE}]))" for one in (time, count))
    return Query(" / ".join(sums), f"{{{{guest}}}} {{{{disk}}}} {what}")


def _quantile(metric: str, of: str, by: str, legend: str) -> Query:
    return Query(f"histogram_quantile(0.99, sum by ({by}) (rate({metric}_bucket{{{of}}}[{RATE}])))", legend)


def _phase(phase: Phase) -> str:
    return f'qsup_guest_phase{{{GUEST},qsup_guest_phase="{phase}"}}'


def _stat(title: str, expr: str, about: str, bad: str = "") -> Panel:
    """A number that is red, or another colour, unless it is 0."""
    steps = [{"color": "green", "value": None}, *([{"color": bad, "value": 1}] if bad else [])]
    return Panel(
        title, (Query(expr, ""),), kind="stat", size=(4, 4), about=about,
        field={"thresholds": {"mode": "absolute", "steps": steps}},
    )  # fmt: skip


def _timeline() -> Panel:
    """The phases of all guests; each is a number, as Grafana's timeline wants one, with the phase's name and colour."""
    terms = (f"{number} * sum by (instance, guest) ({_phase(phase)})" for number, phase in enumerate(Phase))
    names = {
        str(number): {"text": phase.value, "color": COLORS[phase], "index": number}
        for number, phase in enumerate(Phase)
    }
    return Panel(
        "Phases", (Query(" + ".join(terms), "{{guest}}"),), kind="state-timeline", size=(24, 9),
        field={"mappings": [{"type": "value", "options": names}], "color": {"mode": "thresholds"}},
        options={"mergeValues": True, "showValue": "auto", "rowHeight": 0.8},
    )  # fmt: skip


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    ("Guests", (
        _stat("Running", f"sum({_phase(Phase.RUNNING)})", "Guests whose vCPUs run."),
        _stat("Wanted, not ready", f"count(qsup_guest_wanted{{{GUEST}}} == 1 and qsup_guest_ready{{{GUEST}}} == 0)"
              " or vector(0)", "Guests that should run and are not ready.", "orange"),
        _stat("Given up", f"sum({_phase(Phase.GAVE_UP)})", "`qsup why` tells of each; `qsup start` begins anew.",
              "dark-red"),
        _stat("Not well", f'sum(qsup_guest_condition{{{GUEST},qsup_guest_condition!="well"}}) or vector(0)',
              "Guests that hang, or whose QEMU does.", "dark-red"),
        _stat("Failures, 24 h", f"round(sum(increase(qsup_guest_failures_total{{{GUEST}}}[24h])))",
              "Runs that ended by a failure.", "orange"),
        _stat("Silent", f"count(qsup_guest_qmp_up{{{GUEST}}} == 0) or vector(0)",
              "QEMUs that have not answered at the last scrape.", "orange"),
        _timeline(),
        Panel("Ends by cause, in all", (Query(
            f"sum by (guest, cause) (qsup_guest_ends_total{{{GUEST}}})", "{{guest}} {{cause}}"),),
            about="Since the daemon was started. A cause is there from its first time on, so no rate would show that."),
        Panel("Troubles by cause, in all", (Query(
            f"sum by (guest, cause) (qsup_guest_troubles_total{{{GUEST}}})", "{{guest}} {{cause}}"),)),
        Panel("Time to ready", (Query(f"qsup_guest_time_to_ready_seconds{{{GUEST}}}", "{{guest}}"),), "s"),
    )),
    ("CPU and memory", (
        Panel("CPU", (Query(f"sum by (instance, guest) (rate(qsup_guest_cpu_seconds_total{{{GUEST}}}[{RATE}]))",
                            "{{guest}}"),), "percentunit", about="100 % is one CPU of the host."),
        Panel("vCPUs", (_rate("qsup_guest_vcpu_cpu_seconds_total", "vcpu", "{{guest}} {{vcpu}}"),), "percentunit"),
        Panel("vCPUs wait for a CPU", (_rate("qsup_guest_vcpu_wait_seconds_total", "vcpu", "{{guest}} {{vcpu}}"),),
              "percentunit", about="What a guest sees as stolen time."),
        Panel("Memory in RAM", (Query(f"qsup_guest_resident_memory_bytes{{{GUEST}}}", "{{guest}}"),), "bytes"),
        Panel("Memory given, and left by the balloon", (
            Query(f"qsup_guest_memory_bytes{{{GUEST}}}", "{{guest}} given"),
            Query(f"qsup_guest_balloon_bytes{{{GUEST}}}", "{{guest}} left"),
        ), "bytes"),
        Panel("Control groups", (
            Query(f"qsup_guest_cgroup_memory_bytes{{{GUEST}}}", "{{guest}}"),
            Query(f"qsup_guest_cgroup_swap_bytes{{{GUEST}}}", "{{guest}} swap"),
        ), "bytes"),
    )),
    ("Disks and networks", (
        Panel("Disk throughput", _both("qsup_guest_disk_read_bytes_total", "qsup_guest_disk_written_bytes_total",
                                       "disk"), "Bps"),
        Panel("Disk requests", _both("qsup_guest_disk_reads_completed_total",
                                     "qsup_guest_disk_writes_completed_total", "disk"), "iops"),
        Panel("Disk latency", (
            _took("qsup_guest_disk_read_time_seconds_total", "qsup_guest_disk_reads_completed_total", "read"),
            _took("qsup_guest_disk_write_time_seconds_total", "qsup_guest_disk_writes_completed_total", "write"),
            _took("qsup_guest_disk_flush_time_seconds_total", "qsup_guest_disk_flushes_completed_total", "flush"),
        ), "s"),
        Panel("Network throughput", _both("qsup_guest_nic_receive_bytes_total",
                                          "qsup_guest_nic_transmit_bytes_total", "nic"), "Bps"),
        Panel("Packets", _both("qsup_guest_nic_receive_packets_total",
                               "qsup_guest_nic_transmit_packets_total", "nic"), "pps"),
        Panel("Packets dropped", _both("qsup_guest_nic_receive_drop_total",
                                       "qsup_guest_nic_transmit_drop_total", "nic"), "pps"),
    )),
    ("Virtualisation and the daemon", (
        Panel("Exits to KVM", (Query(
            f"sum by (instance, guest) (rate(qsup_guest_kvm_exits_total{{{GUEST}}}[{RATE}]))", "{{guest}}"),), "ops"),
        Panel("Exits by reason", (_rate("qsup_guest_kvm_exits_by_reason_total", "reason", "{{guest}} {{reason}}"),),
              "ops"),
        Panel("QEMU answers within", (_quantile(
            "qsup_guest_qmp_latency_seconds", GUEST, "le, instance, guest", "{{guest}}, 99 %"),), "s"),
        Panel("The daemon reacts within", (_quantile(
            "qsup_event_loop_lag_seconds", HOST, "le, instance", "{{instance}}, 99 %"),), "s"),
        Panel("The daemon's CPU", (
            Query(f'rate(process_cpu_seconds_total{{job="qsup",{HOST}}}[{RATE}])', "{{instance}}"),), "percentunit"),
        Panel("The daemon's memory", (
            Query(f'process_resident_memory_bytes{{job="qsup",{HOST}}}', "{{instance}}"),), "bytes"),
        Panel("Events", (Query(f"sum by (event) (rate(qsup_events_total{{{HOST}}}[{RATE}]))", "{{event}}"),), "ops",
              size=(24, 6)),
    )),
)  # fmt: skip


def dashboard() -> str:
    """The JSON that Grafana imports."""
    made = {
        "title": "qsup guests",
        "uid": "qsup-guests",
        "tags": ["qsup", "qemu"],
        "editable": True,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }
    return json.dumps(made, indent=1) + "\n"


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    for name, label, query in (
        ("instance", "Host", "label_values(qsup_build_info, instance)"),
        ("guest", "Guest", 'label_values(qsup_guest_phase{instance=~"$instance"}, guest)'),
    ):
        yield {
            "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": query, "definition": query,
            "multi": True, "includeAll": True, "allValue": ".*", "refresh": 2, "sort": 1,
            "current": {"text": "All", "value": "$__all"},
        }  # fmt: skip


def _panels() -> Iterator[dict[str, Any]]:
    """Rows from the top, panels from the left."""
    number, top = 0, 0
    for title, panels in ROWS:
        number += 1
        yield {
            "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        }  # fmt: skip
        top += 1
        left, height = 0, 0
        for panel in panels:
            number += 1
            if left + panel.size[0] > WIDTH:
                top, left, height = top + height, 0, 0
            yield _panel(number, panel, left, top)
            left, height = left + panel.size[0], max(height, panel.size[1])
        top += height


def _panel(number: int, panel: Panel, left: int, top: int) -> dict[str, Any]:
    width, height = panel.size
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"x": left, "y": top, "w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": panel.unit, **panel.field}, "overrides": []},
        "options": panel.options,
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query.expr, "legendFormat": query.legend}
            for index, query in enumerate(panel.queries)
        ],
    }  # fmt: skip
