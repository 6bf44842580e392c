// What a client learns when something is wrong.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { rawConnection, startServer, user } from './server.js';

describe('errors', () => {
  let server;
  let client;
  before(async () => {
    server = await startServer({ args: ['--max-model-len', '512', '--max-body-size', '1MiB'] });
    client = server.client();
  });
  after(() => server.stop());

  const good = { model: 'demo', messages: user('Hello!') };
  const failure = (body) => client.chat.completions.create({ ...good, ...body }).then(
    () => assert.fail(`accepted ${JSON.stringify(body)}`), (error) => error);

  test('a bad field is a BadRequestError that names it', async () => {
    for (const [body, param] of [
      [{ temperature: 3 }, 'temperature'],
      [{ top_p: 0 }, 'top_p'],
      [{ stop: '' }, 'stop'],
      [{ n: 17 }, 'n'],
      [{ best_of: 2 }, 'best_of'],
      [{ top_logprobs: 3 }, 'top_logprobs'],
      [{ response_format: { type: 'xml' } }, 'response_format.type'],
      [{ tool_choice: 'required' }, 'tool_choice'],
      [{ messages: [] }, 'messages'],
      [{ max_tokens: 0 }, 'max_tokens'],
      [{ stop_token_ids: [99999999] }, 'stop_token_ids'],
    ]) {
      const error = await failure(body);
      assert.ok(error instanceof OpenAI.BadRequestError, `${param}: ${error}`);
      assert.equal(error.param, param);
      assert.equal(error.type, 'invalid_request_error');
    }
  });

  test('a bad message is named by its place', async () => {
    for (const message of [{ role: 'robot', content: 'x' }, { content: 'x' },
      { role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }]) {
      const error = await failure({ messages: [...good.messages, message] });
      assert.ok(error instanceof OpenAI.BadRequestError, String(error));
      assert.match(error.param, /^messages/);
    }
  });

  test('an unknown model is a NotFoundError', async () => {
    const error = await failure({ model: 'gpt-5' });
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, 'model_not_found');
    assert.match(error.message, /demo/);
    await assert.rejects(client.models.retrieve('gpt-5'), OpenAI.NotFoundError);
  });

  test('what does not fit the context has the code clients look for', async () => {
    for (const [body, param] of [
      [{ messages: user('word '.repeat(600)) }, 'messages'], [{ max_tokens: 512 }, 'max_tokens']]) {
      const error = await failure(body);
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.equal(error.code, 'context_length_exceeded');
      assert.equal(error.param, param);
    }
    assert.equal((await server.load()).running, 0);
  });

  test('a stream that cannot begin is an error, not a stream', async () => {
    const error = await failure({ stream: true, messages: user('word '.repeat(600)) });
    assert.ok(error instanceof OpenAI.BadRequestError);
  });

  test('what is not JSON, or not declared as JSON, is refused', async () => {
    for (const body of ['', '{', '[]', '{"messages": [}', '{"a": 1, "a": 2}', '[[[['.repeat(5000)]) {
      const response = await server.post('/v1/chat/completions', body);
      assert.equal(response.status, 400, body.slice(0, 20));
      assert.match((await response.json()).error.message, /request body/);
    }
    const response = await server.get('/v1/chat/completions', { method: 'POST', body: '{}' });
    assert.equal(response.status, 415);
  });

  test('a body that is too large is a 413', async () => {
    const response = await server.post('/v1/chat/completions',
      { ...good, messages: user('x'.repeat(2 << 20)) });
    assert.equal(response.status, 413);
    assert.match((await response.json()).error.message, /1048576 bytes/);
  });

  test('paths and methods that do not exist', async () => {
    const unknown = await server.post('/v1/embeddings', {});
    assert.equal(unknown.status, 404);
    assert.match((await unknown.json()).error.message, /\/v1\/chat\/completions/);
    const wrong = await server.get('/v1/chat/completions');
    assert.equal(wrong.status, 405);
    assert.equal(wrong.headers.get('allow'), 'POST, OPTIONS');
  });

  test('no page of another origin may read an answer', async () => {
    const response = await server.get('/v1/models', { headers: { Origin: 'https://evil.example' } });
    assert.equal(response.headers.get('access-control-allow-origin'), null);
  });

  test('bytes that are not HTTP', async () => {
    for (const bytes of ['garbage\r\n\r\n', '\x16\x03\x01\x00\xa5\x01', 'GET / HTTP/9.9\r\n\r\n',
      'POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n']) {
      const answer = await (await rawConnection(server.port, bytes)).read();
      assert.match(answer, /^HTTP\/1\.1 400 /);
      assert.match(answer, /"code":"malformed_http"/);
    }
    assert.equal((await server.get('/health')).status, 200);
  });

  test('unknown fields are ignored and named in the log, once', async () => {
    await client.chat.completions.create({ ...good, temprature: 0, max_tokens: 1 });
    await client.chat.completions.create({ ...good, temprature: 0, max_tokens: 1 });
    assert.equal(server.log().split('"temprature"').length - 1, 1);
  });
});

describe('API keys', () => {
  let server;
  before(async () => {
    server = await startServer({ args: ['--api-key', 'first'], env: { TETRAD_API_KEY: 'second' } });
  });
  after(() => server.stop());
  const ask = (apiKey) => server.client({ apiKey }).chat.completions.create(
    { model: 'demo', messages: user('Hello!'), max_tokens: 1 });

  test('each key opens, nothing else does', async () => {
    await ask('first');
    await ask('second');
    for (const wrong of ['third', 'firs', 'firstt', 'first second']) {
      await assert.rejects(ask(wrong), OpenAI.AuthenticationError);
    }
  });

  test('every path but /health is closed without one, known or not', async () => {
    for (const [method, path] of [
      ['POST', '/v1/chat/completions'], ['POST', '/v1/completions'], ['GET', '/v1/models'],
      ['GET', '/v1/models/demo'], ['GET', '/version'], ['GET', '/load'], ['GET', '/'],
      ['GET', '/metrics'], ['OPTIONS', '/v1/models'], ['GET', '/health/../version'], ['GET', '//health'],
      ['DELETE', '/v1/models'], ['GET', '/healthz']]) {
      // By hand: fetch would tidy the paths up.
      const request = `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
      const answer = await (await rawConnection(server.port, request)).read();
      assert.match(answer, /^HTTP\/1\.1 401 /, `${method} ${path}`);
    }
    assert.equal((await server.get('/health')).status, 200);
  });

  test('the key is asked for before the body is read', async () => {
    const head = 'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n' +
      'Content-Length: 1000000\r\n\r\n';
    const connection = await rawConnection(server.port, head);  // and no body
    const answer = new Promise((resolve) => connection.socket.once('data', resolve));
    assert.match(String(await answer), /^HTTP\/1\.1 401 /);
    connection.socket.destroy();
  });
});
