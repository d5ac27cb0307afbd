"""From raw timestamps to latency figures: records, their metrics, definitions, and limits of service."""

from wayra.lab.latency.definitions import DEFINITIONS
from wayra.lab.latency.metrics import RequestTimes, stage_figures, times_of
from wayra.lab.latency.record import RequestRecord
from wayra.lab.latency.slo import PRESETS, Slo, parse_slo

__all__ = ["DEFINITIONS", "PRESETS", "RequestRecord", "RequestTimes", "Slo", "parse_slo", "stage_figures", "times_of"]
