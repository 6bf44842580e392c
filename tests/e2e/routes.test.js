// Every path of the server: who may ask, and from where.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startServer, user } from './server.js';

const KEY = 'the-key';
const OPEN = ['/health', '/ping', '/ready'];  // for load balancers, which have no keys
// What makes each path that takes a body answer 200.
const CHAT = { model: 'demo', messages: user('Hello!'), max_tokens: 2 };
const BODIES = {
  '/v1/chat/completions': CHAT,
  '/v1/chat/completions/render': CHAT,
  '/v1/completions': { model: 'demo', prompt: 'x', max_tokens: 2 },
  '/v1/responses': { model: 'demo', input: 'Hello!', max_output_tokens: 2 },
  '/v1/messages': CHAT,
  '/v1/messages/count_tokens': { model: 'demo', messages: user('Hello!') },
  '/tokenize': { prompt: 'Hello!' },
  '/detokenize': { tokens: [1, 2, 3] },
};

describe('routes', () => {
  let server;
  let routes;  // of [method, path]
  before(async () => {
    server = await startServer({ args: ['--api-key', KEY] });
    const response = await server.get('/no/such/path', { headers: { 'x-api-key': KEY } });
    assert.equal(response.status, 404);
    const { error } = await response.json();
    assert.equal(error.code, 'unknown_path');
    routes = [...error.message.matchAll(/\b(GET|POST) (\/[^\s,]+)/g)].map(
      ([, method, path]) => [method, path.replace('{id}', 'demo')]);
  });
  after(() => server.stop());

  const fetchRoute = (method, path, headers, query = '') => server.get(path + query,
    method === 'GET' ? { headers } : { method, headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(BODIES[path]) });

  test('the list of paths that a wrong one gets has them all', () => {
    const posts = routes.filter(([method]) => method === 'POST').map(([, path]) => path);
    assert.deepEqual(posts.toSorted(), Object.keys(BODIES).toSorted());
    const gets = routes.filter(([method]) => method === 'GET').map(([, path]) => path);
    for (const path of [
      ...OPEN, '/v1/models', '/v1/models/demo', '/version', '/load', '/metrics', '/health_generate']) {
      assert.ok(gets.includes(path), path);
    }
  });

  test('every path answers whoever has the key, in either header', async () => {
    for (const [method, path] of routes) {
      for (const headers of [
        { Authorization: `Bearer ${KEY}` }, { authorization: `bearer ${KEY}` }, { 'x-api-key': KEY }]) {
        const response = await fetchRoute(method, path, headers);
        assert.equal(response.status, 200, `${method} ${path}: ${await response.clone().text()}`);
        await response.text();
      }
    }
  });

  test('no path but those of load balancers answers anybody else', async () => {
    const strangers = [
      {}, { Authorization: 'Bearer wrong' }, { 'x-api-key': 'wrong' }, { Authorization: KEY },
      { Authorization: 'Bearer ' }, { Authorization: `Basic ${btoa(`x:${KEY}`)}` },
      { 'x-api-key': `${KEY}x` }, { 'x-api-key': '' },
      { Cookie: `x-api-key=${KEY}` }];
    for (const [method, path] of routes) {
      for (const headers of strangers) {
        for (const query of ['', `?api_key=${KEY}`]) {
          const response = await fetchRoute(method, path, headers, query);
          const expected = OPEN.includes(path) ? 200 : 401;
          assert.equal(response.status, expected, `${method} ${path}${query} ${JSON.stringify(headers)}`);
          if (expected === 200) continue;
          const { error, type } = await response.json();
          assert.equal(error.type, 'authentication_error');
          if (path.startsWith('/v1/messages')) assert.equal(type, 'error');
        }
      }
    }
  });

  test('paths that do not exist tell strangers nothing', async () => {
    for (const [path, options] of [
      ['/v1/embeddings', { method: 'POST', body: '{}' }], ['/', {}], ['/v1/', {}], ['/metrics/', {}],
      ['//v1/models', {}], ['/v1/models/..', {}], ['/V1/MODELS', {}], ['/invocations', { method: 'POST' }]]) {
      const response = await server.get(path, options);
      assert.ok([401, 404].includes(response.status), `${path}: ${response.status}`);
      assert.doesNotMatch(await response.text(), /"data"|tetrad_|vllm:/);
    }
  });

  test('a method that a path does not have is a 405 with those it has', async () => {
    for (const [method, path] of routes) {
      const wrong = method === 'GET' ? 'DELETE' : 'PUT';
      const response = await server.get(path, { method: wrong, headers: { 'x-api-key': KEY } });
      assert.equal(response.status, 405, path);
      assert.match(response.headers.get('allow'), new RegExp(method));
      await response.text();
    }
  });

  test('no page of a foreign origin may read an answer, or be asked for with its preflight', async () => {
    for (const [method, path] of routes) {
      const foreign = { Origin: 'https://evil.example' };
      const answer = await fetchRoute(method, path, { ...foreign, 'x-api-key': KEY });
      const preflight = await server.get(path, { method: 'OPTIONS', headers: {
        ...foreign, 'Access-Control-Request-Method': method, 'Access-Control-Request-Headers': 'authorization' } });
      for (const response of [answer, preflight]) {
        for (const [name] of response.headers) assert.doesNotMatch(name, /^access-control/i, path);
        await response.text();
      }
    }
  });

  test('a body that is not declared as JSON is not read', async () => {
    for (const path of Object.keys(BODIES)) {
      const response = await server.get(path, { method: 'POST', body: JSON.stringify(BODIES[path]),
        headers: { 'x-api-key': KEY, 'Content-Type': 'text/plain' } });
      assert.equal(response.status, 415, path);
      await response.text();
    }
  });

  test('tokens and texts go back and forth', async () => {
    const post = async (path, body) => (await server.post(path, body, { 'x-api-key': KEY })).json();
    const text = 'Hello, \u00e9\u4f60\u{1f600}! ]~b]ai';
    const { tokens, count } = await post('/tokenize', { prompt: text });
    assert.equal(count, tokens.length);
    assert.equal((await post('/detokenize', { tokens })).prompt, text);
    const rendered = await post('/v1/chat/completions/render', CHAT);
    const ofChat = await post('/tokenize', { messages: CHAT.messages });
    assert.deepEqual(rendered.token_ids, ofChat.tokens);
    const { usage } = await post('/v1/chat/completions', CHAT);
    assert.equal(usage.prompt_tokens, ofChat.count);
  });
});
