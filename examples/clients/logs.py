"""Sends two lines with the client that the second argument names to the server that the first one does."""

import logging
import sys


def logging_loki(url, name, path, version):
    from logging_loki import LokiHandler

    return LokiHandler(url=url + path, tags={"client": name}, version=version)


def loki_logger_handler(url, name):
    from loki_logger_handler.loki_logger_handler import LokiLoggerHandler

    return LokiLoggerHandler(
        url=url + "/loki/api/v1/push",
        labels={"client": name},
        enable_self_errors=True,
        enable_structured_loki_metadata=True,
        loki_metadata={"team": "a"},
    )


def otlp(url, name, compression):
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource

    exporter = OTLPLogExporter(endpoint=url + "/otlp/v1/logs", compression=Compression(compression))
    provider = LoggerProvider(resource=Resource.create({"service.name": name}))
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("clients", "1.0")
    for body in ["first line", "second line"]:
        logger.emit(LogRecord(body=body, severity_number=SeverityNumber.INFO, attributes={"http.route": "/"}))
    provider.shutdown()


def main():
    url, name = sys.argv[1:]
    if name.startswith("otlp-python"):
        return otlp(url, name, "gzip" if name.endswith("gzip") else "none")
    handler = {
        "python-logging-loki": lambda: logging_loki(url, name, "/loki/api/v1/push", "1"),
        "python-logging-loki-v0": lambda: logging_loki(url, name, "/api/prom/push", "0"),
        "loki-logger-handler": lambda: loki_logger_handler(url, name),
    }[name]()
    logger = logging.getLogger("clients")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.info("first line")
    logger.warning("second line")


main()
