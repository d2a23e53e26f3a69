"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nextword.server.jobs import Job
from nextword.server.scheduler import Scheduler

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class _Counts(Collector):
    """Reads the scheduler when asked."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def collect(self) -> Iterator[Metric]:
        """Everything that is a number at this moment."""
        counts = self._scheduler.counts
        for name, about, value in (
            ("requests", "Texts asked for", counts.requests),
            ("refused", "Requests refused because the queue was full", counts.refused),
            ("cancelled", "Texts given up because the client went", counts.cancelled),
            ("failed", "Texts that ended with an error", counts.failed),
            ("prompt_tokens", "Tokens of prompts", counts.prompt_tokens),
            ("reused_tokens", "Tokens of prompts that were read before", counts.reused_tokens),
            ("written_tokens", "Tokens written", counts.written_tokens),
            ("passes", "Passes of the model", counts.passes),
        ):
            yield CounterMetricFamily(f"nextword_{name}", about, value=value)
        for name, about, value in (
            ("waiting", "Texts that wait for a slot", self._scheduler.waiting),
            ("active", "Texts that are being written", self._scheduler.active),
            ("cache_bytes", "Memory that slots hold for keys and values", self._scheduler.cache_bytes),
        ):
            yield GaugeMetricFamily(f"nextword_{name}", about, value=value)


class Metrics:
    """Counters of one server."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._first_token = Histogram(
            "nextword_first_token_seconds",
            "From the request to its first token",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._request = Histogram(
            "nextword_request_seconds", "From the request to its end", buckets=_SECONDS, registry=self._registry
        )

    def watch(self, scheduler: Scheduler) -> None:
        """Counts what a scheduler does."""
        self._registry.register(_Counts(scheduler))

    def ended(self, job: Job) -> None:
        """A job ended."""
        self._request.observe(time.monotonic() - job.submitted)
        if job.first_token_time is not None:
            self._first_token.observe(job.first_token_time - job.submitted)

    def text(self) -> bytes:
        """The page that Prometheus fetches."""
        return generate_latest(self._registry)
