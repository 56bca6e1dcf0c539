"""What the operator counts, and what its spans say."""

import os
import subprocess
import sys

import pytest

from modelpool_operator.telemetry import CONTENT_TYPE, Telemetry
from modelpool_operator.worklist import RetryError
from otlp_receiver import OtlpReceiver

VALUE = "SHOUT-1"


def _values(telemetry: Telemetry) -> dict[str, float]:
    """Each sample by name and labels, as Prometheus reads them."""
    lines = telemetry.scrape().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_looks_are_counted_by_how_they_ended_and_timed() -> None:
    telemetry = Telemetry({})
    with telemetry.reconciling("shop") as look:
        look.pools(3)
    for error in (ValueError(VALUE), RetryError(1.0)):
        with pytest.raises(type(error)), telemetry.reconciling("shop"):
            raise error
    values = _values(telemetry)
    assert values['modelpool_operator_reconciles_total{result="ok"}'] == 2
    assert values['modelpool_operator_reconciles_total{result="error"}'] == 1
    assert values["modelpool_operator_reconcile_duration_seconds_count"] == 3
    assert VALUE not in telemetry.scrape().decode()


def test_both_ways_to_end_are_there_before_anything_happened() -> None:
    values = _values(Telemetry({}))
    assert values['modelpool_operator_reconciles_total{result="ok"}'] == 0
    assert values['modelpool_operator_reconciles_total{result="error"}'] == 0
    assert values["modelpool_operator_leader"] == 0


def test_writes_conflicts_sizes_and_lag_are_told() -> None:
    telemetry = Telemetry({})
    telemetry.wrote("secret")
    telemetry.wrote("secret")
    telemetry.conflict("shop", True)
    telemetry.config_bytes("shop", 1000)
    telemetry.late(0.25)
    telemetry.resynced(1_800_000_000.0)
    telemetry.leading(True)
    values = _values(telemetry)
    assert values['modelpool_operator_writes_total{what="secret"}'] == 2
    assert values['modelpool_operator_name_conflict{namespace="shop"}'] == 1
    assert values['modelpool_operator_config_bytes{namespace="shop"}'] == 1000
    assert values["modelpool_operator_loop_lag_seconds"] == 0.25
    assert values["modelpool_operator_resync_timestamp_seconds"] == 1_800_000_000.0
    assert values["modelpool_operator_leader"] == 1


def test_a_namespace_that_is_gone_leaves_no_series_behind() -> None:
    telemetry = Telemetry({})
    for _ in range(2):
        telemetry.conflict("shop", True)
        telemetry.config_bytes("shop", 1)
        telemetry.conflict("shop", False)
        telemetry.config_bytes("shop", None)
        telemetry.conflict("never", False)
        telemetry.config_bytes("never", None)
    assert not [name for name in _values(telemetry) if "namespace=" in name]


def test_what_is_known_and_what_waits_is_asked_at_each_scrape() -> None:
    telemetry, known = Telemetry({}), [1.0]
    telemetry.observe({"Pod": lambda: known[0]}, {"reconcile": lambda: 2.0})
    assert _values(telemetry)['modelpool_operator_objects{kind="Pod"}'] == 1
    known[0] = 5.0
    values = _values(telemetry)
    assert values['modelpool_operator_objects{kind="Pod"}'] == 5
    assert values['modelpool_operator_worklist{name="reconcile"}'] == 2


def test_one_that_leads_no_more_says_nothing_about_what_it_saw() -> None:
    """An alert on a name conflict would burn for ever at the replica that once led."""
    telemetry = Telemetry({})
    telemetry.leading(True)
    telemetry.observe({"Pod": lambda: 1.0}, {"reconcile": lambda: 2.0})
    telemetry.conflict("shop", True)
    telemetry.config_bytes("shop", 1000)
    telemetry.resynced(1_800_000_000.0)
    telemetry.leading(False)
    values = _values(telemetry)
    assert not [name for name in values if "namespace=" in name or "_objects{" in name or "_worklist{" in name]
    assert (values["modelpool_operator_leader"], values["modelpool_operator_resync_timestamp_seconds"]) == (0, 0)
    telemetry.leading(True)
    telemetry.observe({"Pod": lambda: 7.0}, {})
    assert _values(telemetry)['modelpool_operator_objects{kind="Pod"}'] == 7


def test_the_text_is_what_prometheus_reads() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
    text = Telemetry({}).scrape().decode()
    assert "# TYPE modelpool_operator_reconciles_total counter" in text
    assert "_created" not in text


LOOKS = """
import contextlib, os, sys
from modelpool_operator.telemetry import Telemetry
from modelpool_operator.worklist import RetryError
telemetry = Telemetry(os.environ)
faults = {"": None, "ValueError": ValueError("SHOUT-1"), "RetryError": RetryError(1.0)}
with contextlib.suppress(ValueError, RetryError), telemetry.reconciling("shop") as look:
    look.pools(3)
    if fault := faults[sys.argv[1]]:
        raise fault
telemetry.shutdown()
"""


def _looks(receiver: OtlpReceiver, fault: str = "", **env: str) -> None:
    """A process that looks at a namespace once, as the SDK reads the environment of a process."""
    subprocess.run(
        [sys.executable, "-c", LOOKS, fault], check=True, env={**os.environ, **receiver.env, **env}, timeout=60
    )


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [("", "UNSET", None), ("ValueError", "ERROR", "ValueError"), ("RetryError", "UNSET", None)],
)
def test_a_look_is_a_span_that_says_what_kind_of_fault_it_was_and_never_its_words(
    fault: str, status: str, kind: str | None
) -> None:
    with OtlpReceiver() as receiver:
        _looks(receiver, fault)
        span = receiver.span("reconcile")
        more = {"error.type": kind} if kind else {}
        assert span.attributes == {"k8s.namespace.name": "shop", "modelpool.pools": 3, **more}
        assert span.status == status
        assert receiver.resource["service.name"] == "modelpool-operator"
        assert not [body for body in receiver.bodies if VALUE.encode() in body]


@pytest.mark.parametrize("more", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_traces_can_be_turned_off(more: dict[str, str]) -> None:
    with OtlpReceiver() as receiver:
        _looks(receiver, **more)
        assert receiver.bodies == []


def test_the_service_is_named_by_who_runs_it() -> None:
    with OtlpReceiver() as receiver:
        _looks(receiver, OTEL_SERVICE_NAME="mine")
        assert receiver.resource["service.name"] == "mine"
