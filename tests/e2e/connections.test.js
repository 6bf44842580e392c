// Clients that leave, stall or come in numbers; and the server's own end.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { eventually, MODEL, rawConnection, runTetrad, startServer, startServerFor, user } from './server.js';

// Keeps the engine busy until it is cancelled: no end token counts.
const ENDLESS = { model: 'demo', messages: user('Tell me a story.'), ignore_eos: true };

const idle = (server) => eventually(async () => {
  const { running, waiting } = await server.load();
  return running === 0 && waiting === 0;
}, 'the engine is idle');

const busy = (server) => eventually(async () => (await server.load()).running > 0, 'a request runs');

const httpRequest = (body) => {
  const json = JSON.stringify(body);
  return 'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n' +
    `Content-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`;
};

describe('connections', () => {
  let server;
  let client;
  before(async () => {
    server = await startServer();
    client = server.client();
  });
  after(() => server.stop());

  test('a client that aborts its stream frees the engine', async () => {
    const stream = await client.chat.completions.create({ ...ENDLESS, stream: true });
    let chunks = 0;
    for await (const _ of stream) {
      chunks += 1;
      if (chunks === 5) break;  // the library aborts the request
    }
    assert.equal(chunks, 5);
    await idle(server);
  });

  test('a client that leaves without a word frees the engine, streaming or not', async () => {
    for (const stream of [true, false]) {
      const { socket } = await rawConnection(server.port, httpRequest({ ...ENDLESS, stream }));
      await busy(server);
      socket.destroy();
      await idle(server);
    }
  });

  test('waiting requests are cancelled too', async () => {
    const crowd = await Promise.all(Array.from({ length: 40 },
      () => rawConnection(server.port, httpRequest(ENDLESS))));
    await eventually(async () => (await server.load()).waiting > 0, 'some wait');
    for (const { socket } of crowd) socket.destroy();
    await idle(server);
  });

  test('a client that does not read delays nobody', async () => {
    const { socket } = await rawConnection(server.port, httpRequest({ ...ENDLESS, stream: true }));
    socket.pause();
    await busy(server);
    const completion = await client.chat.completions.create(
      { model: 'demo', messages: user('What is 47 + 385?'), temperature: 0 });
    assert.match(completion.choices[0].message.content, /432/);
    socket.destroy();
    await idle(server);
  });

  test('one connection serves request after request', async () => {
    const { socket } = await rawConnection(server.port, '');
    for (let i = 0; i < 3; ++i) {
      socket.write(httpRequest({ model: 'demo', messages: user('Hello!'), max_tokens: 2 }));
      const [answer] = await once(socket, 'data');
      assert.match(String(answer), /^HTTP\/1\.1 200 OK/);
    }
    socket.destroy();
  });

  test('200 clients at once are all answered', async () => {
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) =>
      client.chat.completions.create({ model: 'demo', messages: user(`Hello ${i}!`), max_tokens: 2 })));
    for (const answer of answers) assert.equal(answer.usage.completion_tokens, 2);
  });
});

describe('the end', () => {
  const readStream = async (connection) => {
    const text = await connection.read();
    return { text, done: text.includes('data: [DONE]') };
  };

  /** What /ready says once the server has taken its first signal. */
  const drainingAnswer = async (server) => {
    let answer;
    await eventually(async () => {
      try {
        answer = await server.get('/ready');
      } catch {
        return false;  // it closed a connection that was idle as we were about to use it
      }
      return answer.status === 503;
    }, 'it is draining');
    return answer;
  };

  test('SIGTERM lets a running request finish and takes no new one', async (t) => {
    const server = await startServerFor(t, { args: ['--shutdown-timeout', '600'] });
    const connection = await rawConnection(server.port,
      httpRequest({ ...ENDLESS, stream: true, max_tokens: 1000 }));
    const answer = readStream(connection);
    await busy(server);
    server.signal('SIGTERM');
    const refusal = await drainingAnswer(server);
    assert.ok(Number(refusal.headers.get('retry-after')) > 0);
    assert.equal((await server.get('/health')).status, 200);
    assert.ok((await answer).done);
    assert.equal(await server.exited, 0);
  });

  test('what lasts longer than --shutdown-timeout is cancelled with an error event', async (t) => {
    const server = await startServerFor(t, { args: ['--shutdown-timeout', '0'] });
    const connection = await rawConnection(server.port, httpRequest({ ...ENDLESS, stream: true }));
    const answer = readStream(connection);
    await busy(server);
    server.signal('SIGINT');
    const { text, done } = await answer;
    assert.ok(!done);
    assert.match(text, /data: \{"error":\{"message":"the request was cancelled/);
    assert.equal(await server.exited, 0);
  });

  test('a second signal ends at once', async (t) => {
    const server = await startServerFor(t);
    await rawConnection(server.port, httpRequest({ ...ENDLESS, stream: true }));
    await busy(server);
    server.signal('SIGTERM');
    await drainingAnswer(server);
    server.signal('SIGTERM');
    assert.equal(await server.exited, 1);
  });
});

describe('the command line', () => {
  const serve = (...args) => runTetrad('serve', MODEL, ...args);

  test('a port in use is said so', async (t) => {
    const server = await startServerFor(t);
    const { status, output } = await serve('--port', String(server.port));
    assert.equal(status, 1);
    assert.match(output, new RegExp(`port ${server.port} on 127.0.0.1 is in use.*another port`));
  });

  test('other machines are not served without a key', async () => {
    const { status, output } = await serve('--host', '0.0.0.0', '--port', '0');
    assert.equal(status, 1);
    assert.match(output, /--api-key.*--allow-unauthenticated/);
  });

  test('a mistyped flag gets the nearest one', async () => {
    const { status, output } = await serve('--max-modle-len', '5');
    assert.equal(status, 2);
    assert.match(output, /--max-modle-len.*did you mean --max-model-len/);
  });

  test('what cannot be is refused', async () => {
    const { status, output } = await serve('--tensor-parallel-size', '3');
    assert.equal(status, 2);
    assert.match(output, /--tensor-parallel-size 3: .*possible are 1, 2, 4, 8/);
    assert.match((await serve('--override-generation-config', '{"temperature": 9}')).output,
      /--override-generation-config.*temperature/);
    assert.equal((await runTetrad('serve', '/no/such/model')).status, 1);
  });

  test('a KV cache that does not exist, or a scale that nothing uses, is refused', async () => {
    for (const [flags, message] of [
      [['--kv-cache-dtype', 'fp8_e5m2'], /--kv-cache-dtype: 'fp8_e5m2' is not one of auto, fp8/],
      [['--kv-cache-dtype', 'bf16', '--kv-scale', '1.0'], /--kv-scale belongs to/]]) {
      const { status, output } = await serve(...flags);
      assert.equal(status, 2);
      assert.match(output, message);
    }
    assert.equal((await serve('--kv-scale', '0')).status, 2);
  });

  test('the command of a model card starts, and says which flags do nothing', async (t) => {
    const server = await startServerFor(t, { args: ['--trust-remote-code', '-tp', '1',
      '--enable-expert-parallel', '--disable-cascade-attn', '--reasoning-parser', 'minimax_m2',
      '--enable-auto-tool-choice', '--tool-call-parser', 'minimax_m2', '--enable-prefix-caching',
      '--gpu-memory-utilization', '0.95', '--max-model-len', '1k', '--max-num-seqs', '4',
      '--max-num-batched-tokens', '256', '--kv-cache-dtype', 'auto', '--attention-backend', 'TRITON_ATTN',
      '--dtype', 'auto'] });
    for (const flag of ['--trust-remote-code', '--enable-expert-parallel', '--disable-cascade-attn',
      '--enable-auto-tool-choice', '--attention-backend']) {
      assert.equal(server.log().split(flag).length - 1, 1, flag);
    }
    const { data } = await (await server.get('/v1/models')).json();
    assert.equal(data[0].max_model_len, 1000);
  });
});
