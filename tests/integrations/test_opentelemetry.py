"""OpenTelemetry: an observer makes a span and a measurement of each unit."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from session_aware import UnitRecord, configure
from tests.integrations.bank import Bank, UnknownAccountError
from tests.integrations.store import Store


@pytest.fixture
def bank(store: Store) -> Iterator[Bank]:
    engine = create_engine(store.url)
    bank = Bank()
    bank.session_factory = sessionmaker(engine)
    yield bank
    engine.dispose()


def test_each_unit_is_a_span_beneath_the_request_and_a_measurement(bank: Bank) -> None:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider([reader], shutdown_on_exit=False)
    tracer = provider.get_tracer("bank")
    seconds = meters.get_meter("bank").create_histogram("session_aware.unit.duration", "s")

    def observe(record: UnitRecord) -> None:
        end = time.time_ns()
        seconds.record(record.seconds, {"name": record.name, "outcome": record.outcome})
        span = tracer.start_span(record.name, start_time=end - int(record.seconds * 1e9))
        span.set_attributes({"outcome": record.outcome, "attempts": record.attempts})
        if record.error is not None:
            span.record_exception(record.error)
            span.set_status(StatusCode.ERROR, type(record.error).__name__)
        span.end(end)

    configure(observer=observe)
    with tracer.start_as_current_span("POST /transfers") as request:
        bank.move("house", "ann", 1)
        with pytest.raises(UnknownAccountError):
            bank.move("ann", "zoe", 1)
    committed, failed, _ = spans.get_finished_spans()
    for span in (committed, failed):
        assert span.name == "Bank.move"
        assert span.parent is not None
        assert span.parent.span_id == request.get_span_context().span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time < span.end_time
    assert committed.attributes == {"outcome": "committed", "attempts": 1}
    assert committed.status.status_code is StatusCode.UNSET
    assert failed.attributes == {"outcome": "rolled back", "attempts": 1}
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "UnknownAccountError")
    assert [event.name for event in failed.events] == ["exception"]

    data = reader.get_metrics_data()
    assert data is not None
    [metric] = data.resource_metrics[0].scope_metrics[0].metrics
    points = [point for point in metric.data.data_points if isinstance(point, HistogramDataPoint)]
    assert [(point.attributes, point.count, point.sum > 0) for point in points] == [
        ({"name": "Bank.move", "outcome": "committed"}, 1, True),
        ({"name": "Bank.move", "outcome": "rolled back"}, 1, True),
    ]
    meters.shutdown()
    provider.shutdown()
