"""Figures in the formats of Prometheus and OpenMetrics, by prometheus-client.

Importing that takes longer than all else that the daemon imports, so this module is imported only where figures are
served, and in a thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from qsup.metrics.families import FAMILIES, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from qsup.metrics.families import Family
    from qsup.metrics.readings import Site

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
_PROCESS: Final = ProcessCollector(registry=None)


_FORMATS: Final[dict[bool, tuple[str, Callable[[Collector], bytes]]]] = {
    False: (PLAIN, generate_latest),
    True: (openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest),
}
_FACTORIES: Final[dict[Kind, Callable[..., Any]]] = {
    Kind.GAUGE: GaugeMetricFamily,
    Kind.COUNTER: CounterMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
    Kind.STATESET: StateSetMetricFamily,
    Kind.INFO: InfoMetricFamily,
}


def exposition(site: Site, *, open_metrics: bool) -> tuple[str, bytes]:
    """The content type and the text."""
    content_type, generate = _FORMATS[open_metrics]
    return content_type, generate(SiteCollector(site))


class SiteCollector(Collector):
    """All metrics of one moment."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def collect(self) -> Iterator[Metric]:
        """Those that have values, and those of the daemon's process."""
        for family in FAMILIES:
            metric = _metric(family, self._site)
            if metric.samples:
                yield metric
        yield from _PROCESS.collect()


def _metric(family: Family, site: Site) -> Any:
    unit = {"unit": family.unit} if family.unit else {}
    metric = _FACTORIES[family.kind](family.name, family.help, labels=family.labels, **unit)
    for labels, value in family.samples(site):
        metric.add_metric(labels, **_value(family, value))
    return metric


def _value(family: Family, value: Any) -> dict[str, Any]:
    """What ``add_metric`` of the family takes."""
    match family.kind:
        case Kind.HISTOGRAM:
            bounds = (*map(str, value.bounds), "+Inf")
            return {"buckets": list(zip(bounds, value.counts, strict=True)), "sum_value": value.sum}
        case Kind.STATESET:
            return {"value": {state: state == value for state in family.states}}
        case _:
            return {"value": value}
