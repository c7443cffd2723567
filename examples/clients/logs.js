// Sends two lines with the client that the second argument names to the server that the first one does.
'use strict';

const [url, name] = process.argv.slice(2);

async function winstonLoki(json) {
  const winston = require('winston');
  const LokiTransport = require('winston-loki');
  const transport = new LokiTransport({
    host: url,
    json,
    labels: { client: name },
    interval: 3600,
    onConnectionError: (error) => { throw error; },
  });
  const logger = winston.createLogger({ transports: [transport] });
  logger.info('first line');
  logger.warn('second line');
  await new Promise((done) => setImmediate(done));
  await transport.close();
  process.exit(0);
}

async function pinoLoki() {
  const pino = require('pino');
  const { pinoLoki } = require('pino-loki');
  const stream = pinoLoki({
    host: url,
    labels: { client: name },
    structuredMetaKey: 'meta',
    batching: { interval: 3600 },
    silenceErrors: false,
  });
  const logger = pino(stream);
  logger.info({ meta: { team: 'a' } }, 'first line');
  logger.warn('second line');
  await new Promise((done) => stream.end(done));
}

async function otlp() {
  const { LoggerProvider, BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs');
  const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-http');
  const { resourceFromAttributes } = require('@opentelemetry/resources');
  const exporter = new OTLPLogExporter({
    url: `${url}/otlp/v1/logs`,
    compression: name.endsWith('gzip') ? 'gzip' : 'none',
  });
  const provider = new LoggerProvider({
    resource: resourceFromAttributes({ 'service.name': name }),
    processors: [new BatchLogRecordProcessor({ exporter })],
  });
  const logger = provider.getLogger('clients', '1.0');
  for (const body of ['first line', 'second line']) {
    logger.emit({ severityNumber: 9, severityText: 'INFO', body, attributes: { 'http.route': '/' } });
  }
  await provider.shutdown();
}

const clients = {
  'winston-loki': () => winstonLoki(false),
  'winston-loki-json': () => winstonLoki(true),
  'pino-loki': pinoLoki,
  'otlp-node': otlp,
  'otlp-node-gzip': otlp,
};
clients[name]().catch((error) => {
  console.error(error);
  process.exit(1);
});
