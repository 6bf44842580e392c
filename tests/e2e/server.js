// Starts the program under test and talks to it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';

const here = path.dirname(fileURLToPath(import.meta.url));
export const TETRAD = process.env.TETRAD;
export const MODEL = process.env.TETRAD_MODEL ?? path.join(here, '../../models/tetrad-demo-mxfp4_16');

/**
 * Runs `tetrad serve` on a free port. The caller stop()s it; what is left dies with this process.
 * Keys and values are in BF16 unless the arguments say otherwise: the demo model is so small that an
 * FP8 cache costs it digits of its sums. One thread computes: two wait for each other wherever the
 * clients, or anybody else, use a core.
 */
export async function startServer({ args = [], env = {} } = {}) {
  const kvCache = args.includes('--kv-cache-dtype') ? [] : ['--kv-cache-dtype', 'bf16'];
  const threads = args.includes('--threads') ? [] : ['--threads', '1'];
  const child = spawn(TETRAD, ['serve', MODEL, '--port', '0', '--served-model-name', 'demo', 'alias',
    ...kvCache, ...threads, ...args], { env: { ...process.env, ...env } });
  process.on('exit', () => child.kill('SIGKILL'));
  let log = '';
  child.stderr.on('data', (data) => { log += data; });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const ready = Promise.race([once(lines, 'line'), exited.then(() => null)]);
  const line = (await ready)?.[0];
  if (line === undefined) throw new Error(`tetrad serve did not start:\n${log}`);
  const url = /http:\S+/.exec(line)[0];
  const server = {
    url,
    port: Number(new URL(url).port),
    readyLine: line,
    log: () => log,
    signal: (name) => child.kill(name),
    /** Resolves to the exit status. */
    exited: exited.then(([status]) => status),
    async stop() {
      child.kill('SIGTERM');
      return server.exited;
    },
    client: (options = {}) =>
      new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0, ...options }),
    get: (target, options) => fetch(url + target, options),
    post: (target, body, headers = {}) => fetch(url + target, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }),
    load: async () => (await fetch(`${url}/load`)).json(),
  };
  return server;
}

/** A server for one test, whose end is the server's. */
export async function startServerFor(t, options) {
  const server = await startServer(options);
  t.after(() => server.signal('SIGKILL'));
  return server;
}

/** Runs `tetrad` to its end. */
export async function runTetrad(...args) {
  const child = spawn(TETRAD, args);
  let output = '';
  child.stdout.on('data', (data) => { output += data; });
  child.stderr.on('data', (data) => { output += data; });
  const [status] = await once(child, 'exit');
  return { status, output };
}

/** Polls until `condition` holds; a condition that never does fails the test. */
export async function eventually(condition, what) {
  for (let i = 0; i < 500; ++i) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error(`never happened: ${what}`);
}

/** A bare socket that has sent `bytes`; read() resolves to all that came until the other end closed. */
export async function rawConnection(port, bytes) {
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => {});
  socket.write(bytes);
  return {
    socket,
    async read() {
      let text = '';
      socket.on('data', (data) => { text += data; });
      if (!socket.closed) await once(socket, 'close');
      return text;
    },
  };
}

export const user = (content) => [{ role: 'user', content }];

/** The streamed answer, put together, with what only streams have. */
export async function foldStream(stream) {
  const folded = { content: '', reasoning: '', reasoning_content: '', roles: 0, finish_reason: null };
  for await (const chunk of stream) {
    if (chunk.usage) folded.usage = chunk.usage;
    const choice = chunk.choices[0];
    if (!choice) continue;
    const { delta } = choice;
    if (delta.role) folded.roles += 1;
    folded.content += delta.content ?? '';
    folded.reasoning += delta.reasoning ?? '';
    folded.reasoning_content += delta.reasoning_content ?? '';
    if (choice.finish_reason) folded.finish_reason = choice.finish_reason;
  }
  return folded;
}
