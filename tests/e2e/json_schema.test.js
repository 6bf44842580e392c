// Documents for many schemas, sampled at a temperature that makes every byte the schema's doing, for another
// validator to judge. TETRAD_SCHEMAS says how many schemas (5000: all there are), TETRAD_SEEDS how many documents
// for each; with TETRAD_VERBOSE, refusals are printed.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startServer, user } from './server.js';
import { validator } from './tools.js';

const NUM_SCHEMAS = Number(process.env.TETRAD_SCHEMAS ?? 40);
const NUM_OWN = Math.min(Math.floor(NUM_SCHEMAS * 0.7), 28);  // those of tools
const NUM_SEEDS = Number(process.env.TETRAD_SEEDS ?? 1);
const CONCURRENCY = 8;
const MAX_TOKENS = 700;
const SUITE = process.env.TETRAD_JSON_SCHEMA_SUITE ?? '/usr/share/json-schema-test-suite/tests';
const DIALECTS = {
  draft6: 'http://json-schema.org/draft-06/schema#', draft7: 'http://json-schema.org/draft-07/schema#' };

const here = path.dirname(fileURLToPath(import.meta.url));
const readJson = (file) => JSON.parse(readFileSync(file));

/** What tools of agents ask for; every one of them must compile. */
const ownSchemas = () => readdirSync(path.join(here, 'schemas')).toSorted().map(
  (file) => ({ name: file, schema: readJson(path.join(here, 'schemas', file)), own: true }));

function suiteSchemas() {
  assert.ok(existsSync(SUITE), `${SUITE} is missing: apt-get install json-schema-test-suite`);
  const found = [];
  for (const [folder, $schema] of Object.entries(DIALECTS)) {
    const files = readdirSync(path.join(SUITE, folder), { recursive: true }).filter((file) => file.endsWith('.json'));
    for (const file of files.toSorted()) {
      for (const { description, schema } of readJson(path.join(SUITE, folder, file))) {
        const dialect = typeof schema === 'object' && !schema.$schema ? { $schema, ...schema } : schema;
        found.push({ name: `${folder}/${file}: ${description}`, schema: dialect });
      }
    }
  }
  return found;
}

/** The same schemas once more, as parts of larger ones; a reference would not lead where it led. */
function nestedSchemas(schemas) {
  const alone = schemas.filter(
    ({ schema }) => typeof schema === 'object' && !/"\$(ref|id)"/.test(JSON.stringify(schema)));
  return alone.flatMap(({ name, schema: { $schema, ...schema } }) => [
    { name: `${name}, in an object`, schema: { $schema, type: 'object', required: ['value'],
      properties: { id: { type: 'integer' }, value: schema }, additionalProperties: false } },
    { name: `${name}, in an array`, schema: { $schema, type: 'array', items: schema, minItems: 1, maxItems: 3 } }]);
}

/** `count` of them, from all parts. */
const spread = (all, count) => (count >= all.length ? all
  : Array.from({ length: count }, (_, i) => all[Math.floor(i * all.length / count)]));

describe('documents that schemas describe', () => {
  let server;
  before(async () => { server = await startServer(); });
  after(() => server.stop());

  /** A document as the answer. */
  const document = (schema) => ['/v1/completions', {
    prompt: 'JSON: ', response_format: { type: 'json_schema', json_schema: { name: 'document', schema } } }];
  /** A document as the arguments of a call, which the model writes in its own XML. */
  const call = (schema) => ['/v1/chat/completions', {
    messages: user('Hello!'), thinking_token_budget: 2, tool_choice: 'required', parallel_tool_calls: false,
    tools: [{ type: 'function', function: { name: 'f', parameters: schema, strict: true } }] }];
  const textOf = ({ text, message }) => text ?? message.tool_calls[0].function.arguments;

  /** null, or what is wrong. */
  async function judge({ name, schema, own }, seed, request, counts) {
    const [target, body] = request(schema);
    const response = await server.post(target, { ...body, model: 'demo', max_tokens: MAX_TOKENS, temperature: 1.5,
      top_k: -1, top_p: 1, seed });
    const answer = await response.json();
    if (response.status !== 200) {
      counts.refused += 1;
      const { param, message } = answer.error;
      const keyword = param?.split('.').at(-1);
      counts.keywords[keyword] = (counts.keywords[keyword] ?? 0) + 1;
      if (process.env.TETRAD_VERBOSE) console.log(`${name}: ${message}`);
      const names = /^(response_format\.json_schema\.schema|tools\[0\]\.function\.parameters)/.test(param)
        && message.includes(param);
      // The whole schema is named where the fault is the whole's.
      const named = names
        && (!/\.(schema|parameters)$/.test(param) || /nothing satisfies|refers to itself/.test(message));
      if (response.status !== 400 || !named) return `${name}: ${response.status} ${JSON.stringify(answer)}`;
      return own ? `${name} is refused: ${message}` : null;
    }
    counts.answered += 1;
    const [choice] = answer.choices;
    if (choice.finish_reason === 'length') return `${name}, seed ${seed}: too long: ${JSON.stringify(choice)}`;
    const text = textOf(choice);
    try {
      const error = validator(schema)(JSON.parse(text));
      return error && `${name}, seed ${seed}: ${text}: ${error}`;
    } catch (error) {
      return `${name}, seed ${seed}: ${text}: ${error}`;
    }
  }

  async function judgeAll(schemas, t, request = document) {
    const counts = { answered: 0, refused: 0, keywords: {} };
    const faults = [];
    const jobs = schemas.flatMap((entry) => Array.from({ length: NUM_SEEDS }, (_, seed) => [entry, seed + 1]));
    const work = async () => {
      for (let job = jobs.shift(); job; job = jobs.shift()) {
        const fault = await judge(...job, request, counts);
        if (fault) faults.push(fault);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, work));
    t.diagnostic(`${schemas.length} schemas: ${counts.answered} documents, ${faults.length} faults, `
      + `${counts.refused} refusals ${JSON.stringify(counts.keywords)}`);
    assert.deepEqual(faults, []);
    return counts;
  }

  test('of tools as agents have them', async (t) => {
    const { refused } = await judgeAll(spread(ownSchemas(), NUM_OWN), t);
    assert.equal(refused, 0);
  });

  test('of strict tools, as arguments of their calls', async (t) => {
    const { refused } = await judgeAll(spread(ownSchemas(), NUM_OWN), t, call);
    assert.equal(refused, 0);
  });

  test('of the JSON-Schema-Test-Suite', async (t) => {
    const suite = suiteSchemas();
    const all = [...suite, ...nestedSchemas(suite)];
    const { answered } = await judgeAll(spread(all, NUM_SCHEMAS - NUM_OWN), t);
    assert.ok(answered > 0);
  });
});
