"""The OTEL_* variables: when traces are sent, and what is said of a value that cannot be used."""

import pytest

from modelpool_sidecar.telemetry import settings

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def test_nothing_is_sent_without_an_endpoint():
    assert settings.read({}) == settings.Read(None, ())
    assert settings.read({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}).traces is None


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "TRUE"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_EXPORTER": " none "}]
)
def test_it_is_switched_off_in_silence(off):
    assert settings.read({**HERE, **off}) == settings.Read(None, ())


def test_a_base_endpoint_gets_the_path_of_traces_and_their_own_one_stays_as_it_is():
    assert settings.read({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/otlp/"}).traces.endpoint == (
        "http://c:4318/otlp/v1/traces"
    )
    own = {**HERE, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/in"}
    assert settings.read(own).traces.endpoint == "https://c/in"


def test_the_defaults_are_those_of_a_sidecar():
    read = settings.read(HERE)
    assert read.problems == ()
    assert read.traces == settings.TraceSettings(
        endpoint="http://collector:4318/v1/traces",
        timeout_ms=3000,
        delay_ms=1500,
        sampler="parentbased_always_on",
        ratio=1.0,
        resource={"service.name": "modelpool-sidecar"},
        queue=2048,
        batch=512,
    )


def test_every_variable_is_taken():
    read = settings.read(
        {
            **HERE,
            "OTEL_EXPORTER_OTLP_HEADERS": "x=general",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Bearer%20k",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "9000",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "700",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "ca.pem",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "cert.pem",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": "key.pem",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_TRACES_SAMPLER": "ParentBased_TraceIdRatio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=listed, k8s.pod.name=a%2Cb,",
            "OTEL_SERVICE_NAME": "named",
        }
    )
    assert read.problems == ()
    assert read.traces == settings.TraceSettings(
        endpoint="http://collector:4318/v1/traces",
        headers="authorization=Bearer%20k",
        timeout_ms=700,
        compression="gzip",
        certificate="ca.pem",
        client_certificate="cert.pem",
        client_key="key.pem",
        sampler="parentbased_traceidratio",
        ratio=0.25,
        resource={"service.name": "named", "k8s.pod.name": "a,b"},
        delay_ms=200,
        queue=100,
        batch=50,
    )
    assert "Bearer" not in repr(read)


def test_the_list_of_attributes_may_name_the_service():
    read = settings.read({**HERE, "OTEL_RESOURCE_ATTRIBUTES": "service.name=listed"})
    assert read.traces.resource == {"service.name": "listed"}


@pytest.mark.parametrize(
    ("variables", "sentence", "traces"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL 'grpc' is not supported", False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "is not an http or https URL", False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "is not an http or https URL", False),
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER 'console' is not supported", False),
        ({"OTEL_TRACES_EXPORTER": "otlp,zipkin"}, "OTEL_TRACES_EXPORTER 'zipkin' is not supported", True),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "OTEL_EXPORTER_OTLP_COMPRESSION 'zstd' is none of", True),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER 'sometimes' is none of", True),
        ({"OTEL_BSP_SCHEDULE_DELAY": "0"}, "OTEL_BSP_SCHEDULE_DELAY '0' is not a positive whole number", True),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "OTEL_BSP_MAX_QUEUE_SIZE 'many' is not a positive whole number", True),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096"}, "4096 is more than the queue holds (2048)", True),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "1s"}, "OTEL_EXPORTER_OTLP_TIMEOUT '1s' is not a positive", True),
        ({"OTEL_RESOURCE_ATTRIBUTES": "oops"}, "'oops', which is not KEY=VALUE", True),
    ],
)
def test_a_value_that_cannot_be_used_is_told(variables, sentence, traces):
    read = settings.read({**HERE, **variables})
    (problem,) = read.problems
    assert sentence in problem
    assert (read.traces is not None) is traces


@pytest.mark.parametrize("ratio", ["2", "-1", "nan", "half"])
def test_a_ratio_outside_its_bounds_is_one(ratio):
    read = settings.read({**HERE, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio})
    assert read.traces.ratio == 1.0
    assert "OTEL_TRACES_SAMPLER_ARG" in read.problems[0]


def test_a_ratio_of_a_sampler_that_takes_none_is_nobodys_business():
    read = settings.read({**HERE, "OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "x"})
    assert read.problems == ()
