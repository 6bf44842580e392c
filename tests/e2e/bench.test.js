// `tetrad bench serve` against `tetrad serve`. What is measured is right or wrong here, never slow.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually, MODEL, runTetrad, startServer, TETRAD } from './server.js';

const METRICS = ['ttft', 'tpot', 'itl', 'e2el'];
const STATISTICS = ['mean', 'median', 'std', 'p50', 'p90', 'p95', 'p99'];

describe('bench serve', () => {
  let server;
  let folder;
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'tetrad-bench-'));
    server = await startServer({ args: ['--max-num-seqs', '8'] });
  });
  after(async () => {
    await server.stop();
    await rm(folder, { recursive: true });
  });

  /** Runs the bench and reads its result. */
  const bench = async (...args) => {
    const file = path.join(folder, 'result.json');
    await rm(file, { force: true });
    const { status, output } = await runTetrad('bench', 'serve', '--base-url', server.url,
      '--result-filename', file, '--ignore-eos', '--temperature', '0', ...args);
    const text = await readFile(file, 'utf8').catch(() => assert.fail(output));
    return { status, output, result: JSON.parse(text) };
  };

  test('random prompts: every token is counted, in vLLM\'s fields', async () => {
    const { status, output, result } = await bench('--dataset-name', 'random', '--tokenizer', MODEL,
      '--random-input-len', '24', '--random-output-len', '6', '--num-prompts', '10',
      '--max-concurrency', '3', '--goodput', 'ttft:600000', 'tpot:0');
    assert.equal(status, 0, output);
    assert.equal(result.completed, 10);
    assert.equal(result.failed, 0);
    assert.equal(result.total_input_tokens, 240);
    assert.equal(result.total_output_tokens, 60);
    assert.equal(result.max_concurrency, 3);
    assert.equal(result.max_concurrent_requests, 3);
    assert.equal(result.request_rate, 'inf');
    assert.equal(result.num_prompts, 10);
    assert.equal(result.model_id, 'demo');
    assert.equal(result.request_goodput, 0);
    assert.ok(Math.abs(result.output_throughput * result.duration - 60) < 1e-6);
    assert.ok(Math.abs(result.total_token_throughput * result.duration - 300) < 1e-6);
    assert.ok(Math.abs(result.request_throughput * result.duration - 10) < 1e-6);
    for (const metric of METRICS) {
      for (const statistic of STATISTICS) {
        assert.equal(typeof result[`${statistic}_${metric}_ms`], 'number', `${statistic} ${metric}`);
      }
      assert.ok(result[`p50_${metric}_ms`] <= result[`p99_${metric}_ms`]);
    }
    assert.ok(result.mean_ttft_ms < result.mean_e2el_ms);
    for (const label of ['completed', 'generation throughput', 'KV cache capacity', 'ttft']) {
      assert.ok(output.includes(label), label);
    }
    assert.ok(!output.includes('\x1b'), 'no progress bar where there is no terminal');
  });

  test('Poisson arrivals, words, and every request in detail', async () => {
    const { status, output, result } = await bench('--request-rate', '50', '--num-prompts', '6',
      '--random-input-len', '12', '--random-output-len', '4', '--save-detailed', '--seed', '3');
    assert.equal(status, 0, output);
    assert.equal(result.completed, 6);
    assert.equal(result.request_rate, 50);
    for (const list of ['input_lens', 'output_lens', 'ttfts', 'itls', 'start_times', 'generated_texts',
      'errors']) {
      assert.equal(result[list].length, 6, list);
    }
    assert.deepEqual(result.output_lens, Array(6).fill(4));
    assert.equal(result.input_lens.reduce((a, b) => a + b), result.total_input_tokens);
  });

  test('shared prefixes', async () => {
    const { status, output, result } = await bench('--dataset-name', 'shared-prefix', '--tokenizer',
      MODEL, '--prefix-repetition-prefix-len', '64', '--prefix-repetition-suffix-len', '16',
      '--prefix-repetition-num-prefixes', '2', '--prefix-repetition-output-len', '2',
      '--num-prompts', '8', '--max-concurrency', '2');
    assert.equal(status, 0, output);
    assert.equal(result.total_input_tokens, 8 * 80);
    assert.equal(result.total_output_tokens, 16);
  });

  test('conversations of an agent', async () => {
    const { status, output, result } = await bench('--dataset-name', 'multi-turn-agent',
      '--num-sessions', '2', '--num-turns', '3', '--agent-prefix-len', '10',
      '--agent-result-len', '10', '--agent-output-len', '12', '--max-concurrency', '2');
    assert.equal(status, 0, output);
    assert.equal(result.completed, 6);
    assert.equal(result.total_output_tokens, 6 * 12);
    assert.equal(result.num_sessions, 2);
    assert.equal(result.num_turns, 3);
  });

  test('the same seed asks the same', async () => {
    const args = ['--random-input-len', '20', '--random-output-len', '3', '--num-prompts', '5',
      '--max-concurrency', '1', '--save-detailed'];
    const one = await bench(...args, '--seed', '1');
    const same = await bench(...args, '--seed', '1');
    const other = await bench(...args, '--seed', '2');
    assert.deepEqual(one.result.generated_texts, same.result.generated_texts);
    assert.deepEqual(one.result.input_lens, same.result.input_lens);
    assert.notDeepEqual(one.result.generated_texts, other.result.generated_texts);
  });

  test('connections closed on purpose free the server and are no failures', async () => {
    const { status, output, result } = await bench('--num-prompts', '24', '--random-input-len', '40',
      '--random-output-len', '300', '--max-concurrency', '8', '--disconnect-fraction', '1');
    assert.equal(status, 0, output);
    assert.equal(result.failed, 0);
    assert.equal(result.completed + result.disconnected, 24);
    assert.ok(result.disconnected > 12, output);
    await eventually(async () => {
      const { running, waiting } = await server.load();
      return running === 0 && waiting === 0;
    }, 'the engine is idle');
  });

  test('Ctrl-C prints what was measured so far', async () => {
    const child = spawn(TETRAD, ['bench', 'serve', '--base-url', server.url, '--ignore-eos',
      '--random-input-len', '8', '--random-output-len', '8', '--max-concurrency', '2',
      '--duration', '600']);
    let output = '';
    child.stdout.on('data', (data) => { output += data; });
    child.stderr.on('data', (data) => { output += data; });
    await eventually(async () => (await server.load()).running > 0, 'requests run');
    child.kill('SIGINT');
    const [status] = await once(child, 'exit');
    assert.equal(status, 1, output);
    assert.match(output, /interrupted: what was measured so far/);
    assert.match(output, /generation throughput/);
  });

  test('what the server refuses is failed, with its message', async () => {
    const { status, output, result } = await bench('--tokenizer', MODEL, '--random-input-len', '5000',
      '--num-prompts', '2');
    assert.equal(status, 1);
    assert.equal(result.failed, 2);
    assert.equal(result.completed, 0);
    assert.equal(result.mean_ttft_ms, null);
    assert.match(output, /The first failure: HTTP 400: .*4096/);
  });

  test('a wrong command line is said so', async () => {
    const run = (...args) => runTetrad('bench', 'serve', '--base-url', server.url, ...args);
    const cases = [
      [['--model', 'nobody'], 2, /--model.*nobody.*it serves demo, alias/],
      [['--request-rate', 'fast'], 2, /--request-rate/],
      [['--goodput', 'speed:1'], 2, /--goodput.*speed:1/],
      [['--duration', '5'], 2, /--duration needs --max-concurrency/],
      [['--dataset-name', 'multi-turn-agent', '--num-prompts', '5'], 2, /--num-sessions/],
      [['--dataset-name', 'sharegpt'], 2, /sharegpt/],
      [['--max-concurrency', '0'], 2, /--max-concurrency/],
      [['--tokenizer', '/no/such/model'], 1, /no\/such\/model/],
    ];
    for (const [args, expected, message] of cases) {
      const { status, output } = await run(...args);
      assert.equal(status, expected, output);
      assert.match(output, message);
    }
    const https = await runTetrad('bench', 'serve', '--base-url', 'https://x');
    assert.equal(https.status, 2);
    assert.match(https.output, /only http:/);
  });
});

describe('bench serve without a good server', () => {
  test('nobody listens', async () => {
    const { status, output } = await runTetrad('bench', 'serve', '--base-url', 'http://127.0.0.1:1');
    assert.equal(status, 1);
    assert.match(output, /cannot connect: Connection refused/);
  });

  test('a server that breaks off, talks nonsense or needs a key', async (t) => {
    const answers = [
      (response) => response.end('data: {oops\n\n'),
      (response) => response.end('data: {"choices": []}\n\n'),
      (response) => { response.write('data: '); setTimeout(() => response.destroy(), 50); },
    ];
    let next = 0;
    const keys = new Set();
    const odd = http.createServer((request, response) => {
      keys.add(request.headers.authorization);
      if (request.url === '/v1/models') {
        response.end('{"data": [{"id": "odd"}]}');
      } else if (request.url === '/metrics') {
        response.writeHead(404).end();
      } else {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        answers[next++ % answers.length](response);
      }
    }).listen(0, '127.0.0.1');
    await once(odd, 'listening');
    t.after(() => odd.close());
    const { status, output } = await runTetrad('bench', 'serve', '--base-url',
      `http://127.0.0.1:${odd.address().port}/v1`, '--num-prompts', '6', '--api-key', 'secret',
      '--max-concurrency', '1');
    assert.equal(status, 1);
    assert.match(output, /failed +6/);
    assert.match(output, /The first failure: an event of the stream: not valid JSON/);
    assert.deepEqual([...keys], ['Bearer secret']);
  });
});
