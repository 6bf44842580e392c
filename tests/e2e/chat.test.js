// What a client of the OpenAI API does on a good day.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { foldStream, startServer, startServerFor, user } from './server.js';

const QUESTIONS = [
  'Hello!', 'Who are you?', 'What can you do?', 'What is 47 + 385?', 'What is 512 - 78?',
  'What is 23 * 17?', 'Define the word river.', 'What is a lighthouse?',
];

describe('chat', () => {
  let server;
  let client;
  before(async () => {
    server = await startServer();
    client = server.client();
  });
  after(() => server.stop());

  const ask = (content, more = {}) => client.chat.completions.create(
    { model: 'demo', messages: user(content), temperature: 0, ...more });

  test('answers with content, reasoning under both names, and usage', async () => {
    const completion = await ask('What is 47 + 385?');
    const [choice] = completion.choices;
    assert.match(completion.id, /^chatcmpl-[0-9a-f]{32}$/);
    assert.equal(completion.object, 'chat.completion');
    assert.equal(completion.model, 'demo');
    assert.ok(Math.abs(completion.created - Date.now() / 1000) < 60);
    assert.match(completion.system_fingerprint, /^tetrad-/);
    assert.equal(choice.finish_reason, 'stop');
    assert.equal(choice.message.role, 'assistant');
    assert.match(choice.message.content, /432/);
    assert.doesNotMatch(choice.message.content, /think>/);
    assert.match(choice.message.reasoning, /carry/);
    assert.equal(choice.message.reasoning_content, choice.message.reasoning);
    const { usage } = completion;
    assert.ok(usage.prompt_tokens > 10);
    assert.ok(usage.completion_tokens > 10);
    assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    assert.ok(usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens);
    assert.equal(completion._request_id, completion.id);
  });

  test('a stream adds up to the whole answer', async () => {
    for (const question of QUESTIONS) {
      await ask(question);  // so that both find the same prefix in the cache
      const whole = await ask(question);
      const streamed = await foldStream(
        await ask(question, { stream: true, stream_options: { include_usage: true } }));
      const { message, finish_reason } = whole.choices[0];
      assert.deepEqual(streamed, {
        content: message.content ?? '',
        reasoning: message.reasoning ?? '',
        reasoning_content: message.reasoning ?? '',
        roles: 1,
        finish_reason,
        // The second time, the prompt is in the cache.
        usage: { ...whole.usage, prompt_tokens_details: streamed.usage.prompt_tokens_details },
      }, question);
    }
  });

  test('the client library makes the same message of a stream', async () => {
    const whole = await ask('Who are you?');
    const stream = client.chat.completions.stream(
      { model: 'demo', messages: user('Who are you?'), temperature: 0 });
    assert.equal(await stream.finalContent(), whole.choices[0].message.content);
  });

  test('requests at the same time get the answers they get alone', async () => {
    const alone = [];
    for (const question of QUESTIONS) alone.push((await ask(question)).choices[0].message);
    const together = await Promise.all(QUESTIONS.map((question) => ask(question)));
    assert.deepEqual(together.map((completion) => completion.choices[0].message), alone);
  });

  test('a seed makes sampling repeatable', async () => {
    const draw = async (seed) => (await client.completions.create({
      model: 'demo', prompt: 'The', temperature: 1.5, top_k: -1, seed, max_tokens: 30 })).choices[0].text;
    assert.equal(await draw(1), await draw(1));
    const draws = await Promise.all([1, 2, 3, 4, 5].map(draw));
    assert.ok(new Set(draws).size > 1);
  });

  test('ends at max_tokens and says so', async () => {
    const completion = await ask('What is 23 * 17?', { max_tokens: 5 });
    assert.equal(completion.choices[0].finish_reason, 'length');
    assert.equal(completion.usage.completion_tokens, 5);
    assert.equal(completion.choices[0].message.content, null);
    assert.ok(completion.choices[0].message.reasoning.length > 0);
  });

  test('ends before a stop string, wherever tokens cut it', async () => {
    const { content } = (await ask('What is 47 + 385?')).choices[0].message;
    for (const stop of [content.slice(2, 5), content.slice(-4), content.slice(3, 4)]) {
      const body = { messages: user('What is 47 + 385?'), temperature: 0, stop: [stop, 'never so'] };
      const { reasoning } = (await ask('What is 47 + 385?')).choices[0].message;
      const expected = reasoning.includes(stop) ? null : content.slice(0, content.indexOf(stop));
      const [choice] = (await ask('What is 47 + 385?', { stop: [stop, 'never so'] })).choices;
      assert.equal(choice.finish_reason, 'stop');
      assert.equal(choice.stop_reason, stop);
      if (expected !== null) assert.equal(choice.message.content, expected);
      const streamed = await foldStream(await client.chat.completions.create({ ...body, stream: true }));
      assert.equal(streamed.content, choice.message.content ?? '');
    }
  });

  test('remembers a conversation and takes parts, tools and reasoning as input', async () => {
    const completion = await client.chat.completions.create({
      model: 'alias',
      temperature: 0,
      messages: [
        { role: 'system', content: 'You are a helpful assistant.' },
        { role: 'user', content: [{ type: 'text', text: 'What is ' }, { type: 'text', text: '1 + 1?' }] },
        { role: 'assistant', content: '2', reasoning_content: 'Easy.' },
        { role: 'user', content: 'What is 47 + 385?' },
      ],
      tools: [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object', properties: {} } } }],
      tool_choice: 'none',
    });
    assert.equal(completion.model, 'alias');
    assert.ok(completion.choices[0].message.content.length > 0);
  });

  test('control tokens in a message are text', async () => {
    const plain = await ask('a b');
    const tricky = await ask('a ]~b]ai b');
    // Five characters of text are several tokens; the control token would be one.
    assert.ok(tricky.usage.prompt_tokens > plain.usage.prompt_tokens + 2);
  });

  test('completes text and token ids', async () => {
    const whole = await client.completions.create(
      { model: 'demo', prompt: 'The sun', max_tokens: 8, temperature: 0 });
    assert.match(whole.id, /^cmpl-/);
    assert.equal(whole.object, 'text_completion');
    assert.equal(whole.usage.completion_tokens, 8);
    assert.equal(whole.choices[0].finish_reason, 'length');
    let streamed = '';
    const stream = await client.completions.create(
      { model: 'demo', prompt: 'The sun', max_tokens: 8, temperature: 0, stream: true });
    for await (const chunk of stream) streamed += chunk.choices[0]?.text ?? '';
    assert.equal(streamed, whole.choices[0].text);
    const fromIds = await client.completions.create(
      { model: 'demo', prompt: [1, 2, 3], max_tokens: 2, temperature: 0 });
    assert.equal(fromIds.usage.prompt_tokens, 3);
  });

  test('lists its models under all their names', async () => {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.deepEqual(names, ['demo', 'alias']);
    const model = await client.models.retrieve('alias');
    assert.equal(model.id, 'alias');
    assert.ok(model.max_model_len > 0);
  });

  test('says what it is', async () => {
    assert.equal((await server.get('/health')).status, 200);
    const version = await (await server.get('/version')).json();
    assert.equal(version.model, 'demo');
    for (const key of ['version', 'device', 'kernels', 'kv_cache_dtype', 'build_type']) {
      assert.ok(version[key].length > 0, key);
    }
    assert.ok(server.readyLine.includes(`kernels ${version.kernels}`));
    const head = await server.get('/health', { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(await head.text(), '');
  });
});

test('append_think keeps the thinking in the content', async (t) => {
  const split = (await startServerFor(t)).client();
  const appended = (await startServerFor(t, { args: ['--reasoning-parser', 'minimax_m2_append_think'] })).client();
  const body = { model: 'demo', messages: user('Who are you?'), temperature: 0 };
  const { message } = (await split.chat.completions.create(body)).choices[0];
  const [choice] = (await appended.chat.completions.create(body)).choices;
  assert.equal(choice.message.reasoning_content, null);
  assert.ok(choice.message.content.startsWith(`<think>${message.reasoning}`));
  assert.ok(choice.message.content.endsWith(message.content));
});

test('the operator overrides the model\'s defaults', async (t) => {
  const server = await startServerFor(t, {
    args: ['--override-generation-config', '{"temperature": 0, "max_new_tokens": 6}'] });
  const ask = (more) => server.client().chat.completions.create(
    { model: 'demo', messages: user('Hello!'), ...more });
  const first = await ask({});
  assert.equal(first.usage.completion_tokens, 6);
  assert.deepEqual((await ask({})).choices[0].message, first.choices[0].message);
  assert.equal((await ask({ max_tokens: 3 })).usage.completion_tokens, 3);
});
