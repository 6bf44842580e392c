// Anthropic's Messages API, with its official client.

import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { after, before, describe, test } from 'node:test';
import { startServer, startServerFor, user } from './server.js';
import { descriptionOf, parametersOf, RESULTS, validator } from './tools.js';

const SYSTEM = 'You are a helpful assistant.';
const TOOLS = ['get_weather', 'set_timer', 'turn_on_light', 'move_robot'].map((name) => ({
  name, description: descriptionOf(name), input_schema: parametersOf(name) }));
const SUM = 'What is 47 + 385?';
const PARIS = "What's the weather in Paris?";
const TWO_CITIES = "What's the weather in Berlin? Also: What's the weather in Madrid?";
const THINKING = { type: 'enabled', budget_tokens: 1024 };

const clientOf = (server, options = {}) => new Anthropic(
  { baseURL: server.url, apiKey: 'none', maxRetries: 0, ...options });

const textOf = ({ content }) => content.filter(({ type }) => type === 'text').map(({ text }) => text).join('');
const usesOf = ({ content }) => content.filter(({ type }) => type === 'tool_use');
const inputTokens = ({ usage }) => usage.input_tokens + usage.cache_read_input_tokens;

/** A message without its ids, the library's own field, and whether its prompt was in the cache. */
function timeless(message) {
  const { id: _, content, usage, parsed_output: _p, ...rest } = message;
  return JSON.parse(JSON.stringify({
    ...rest, content: content.map(({ id: _i, ...block }) => block),
    input: inputTokens(message), output: usage.output_tokens }));
}

describe('messages', () => {
  let server;
  let client;
  before(async () => {
    server = await startServer();
    client = clientOf(server);
  });
  after(() => server.stop());

  const body = (content, more) => ({
    model: 'demo', system: SYSTEM, messages: user(content), max_tokens: 300, temperature: 0, ...more });
  const ask = (content, more = {}) => client.messages.create(body(content, more));
  const refused = async (more, message, Class = Anthropic.BadRequestError) => {
    const error = await ask('Hello!', more).then(
      () => assert.fail(`accepted ${JSON.stringify(more)}`), (e) => e);
    assert.ok(error instanceof Class, String(error));
    assert.equal(error.error.type, 'error');
    assert.match(error.error.error.message, message);
    return error;
  };

  test('an answer is text and usage; its thinking is not shown unasked', async () => {
    const message = await ask(SUM);
    assert.match(message.id, /^msg_/);
    assert.equal(message.type, 'message');
    assert.equal(message.role, 'assistant');
    assert.equal(message.model, 'demo');
    assert.deepEqual(message.content.map(({ type }) => type), ['text']);
    assert.match(textOf(message), /432/);
    assert.equal(message.stop_reason, 'end_turn');
    assert.equal(message.stop_sequence, null);
    assert.ok(message.usage.output_tokens > 10);
    assert.ok(inputTokens(message) > 10);
    assert.equal(message._request_id, message.id);
  });

  test('it is the answer that a chat gives', async () => {
    const chat = await server.client().chat.completions.create({ model: 'demo', temperature: 0, messages: [
      { role: 'system', content: SYSTEM }, ...user(SUM)] });
    const message = await ask(SUM, { thinking: THINKING, max_tokens: 2048 });
    const [thinking, text] = message.content;
    assert.equal(thinking.thinking, chat.choices[0].message.reasoning);
    assert.equal(text.text, chat.choices[0].message.content);
    assert.equal(message.usage.output_tokens, chat.usage.completion_tokens);
    assert.equal(inputTokens(message), chat.usage.prompt_tokens);
  });

  test('thinking, where it is asked for, comes first and signed', async () => {
    const message = await ask(SUM, { thinking: THINKING, max_tokens: 2048 });
    assert.deepEqual(message.content.map(({ type }) => type), ['thinking', 'text']);
    assert.match(message.content[0].thinking, /carry/);
    assert.ok(message.content[0].signature.length > 0);
    const disabled = await ask(SUM, { thinking: { type: 'disabled' } });
    assert.deepEqual(disabled.content.map(({ type }) => type), ['text']);
    assert.equal(textOf(disabled), textOf(message));
  });

  test('a thinking budget is kept', async () => {
    const stream = client.messages.stream(body(SUM, { thinking: { type: 'enabled', budget_tokens: 12 } }));
    const message = await stream.finalMessage();
    assert.equal(message.content[0].type, 'thinking');
    assert.ok(message.usage.output_tokens_details.thinking_tokens <= 13);
    assert.ok(textOf(message).length > 0);
  });

  test('the client library makes the same message of a stream', async () => {
    for (const [content, more] of [
      [SUM, { thinking: THINKING, max_tokens: 2048 }], ['Who are you?', {}], [TWO_CITIES, { tools: TOOLS }],
      [PARIS, { tools: TOOLS, thinking: THINKING, max_tokens: 2048 }], [SUM, { max_tokens: 6, thinking: THINKING }],
      ['Tell me a story about a fox.', { temperature: 1, seed: 5, max_tokens: 60 }]]) {
      const whole = await ask(content, more);
      const stream = client.messages.stream(body(content, more));
      let text = '';
      stream.on('text', (delta) => { text += delta; });
      const final = await stream.finalMessage();
      assert.deepEqual(timeless(final), timeless(whole), content);
      assert.equal(text, textOf(whole));
    }
  });

  test('the events of a stream come in their order', async () => {
    const types = [];
    const open = new Set();
    const more = { tools: TOOLS, thinking: THINKING, max_tokens: 2048 };
    for await (const event of client.messages.stream(body(TWO_CITIES, more))) {
      types.push(event.type);
      if (event.type === 'content_block_start') {
        assert.equal(open.size, 0);
        open.add(event.index);
      } else if (event.type === 'content_block_delta') {
        assert.ok(open.has(event.index));
      } else if (event.type === 'content_block_stop') {
        assert.ok(open.delete(event.index));
      }
    }
    assert.equal(types[0], 'message_start');
    assert.deepEqual(types.slice(-2), ['message_delta', 'message_stop']);
    assert.equal(types.filter((type) => type === 'content_block_start').length, 3);
  });

  test('tools are called, and their results lead to an answer', async () => {
    for (const thinking of [{ type: 'disabled' }, THINKING]) {
      const more = { tools: TOOLS, thinking, max_tokens: 2048 };
      const first = await ask(TWO_CITIES, more);
      assert.equal(first.stop_reason, 'tool_use');
      const uses = usesOf(first);
      assert.deepEqual(uses.map(({ name, input }) => [name, input]),
        [['get_weather', { city: 'Berlin' }], ['get_weather', { city: 'Madrid' }]]);
      assert.ok(uses.every(({ id }) => /^toolu_[0-9A-Za-z_]+$/.test(id)));
      assert.equal(first.content.some(({ type }) => type === 'thinking'), thinking === THINKING);
      const results = uses.map(({ id, name }) => (
        { type: 'tool_result', tool_use_id: id, content: JSON.stringify(RESULTS[name]) }));
      const messages = [...user(TWO_CITIES), { role: 'assistant', content: first.content },
        { role: 'user', content: results }];
      const second = await ask('', { ...more, messages });
      assert.equal(second.stop_reason, 'end_turn');
      if (thinking !== THINKING) continue;  // without its thinking the model is lost
      assert.match(textOf(second), /Berlin.*Madrid/s);
      assert.match(textOf(second), /21 degrees/);
    }
  });

  test('tool_choice any, tool and none', async () => {
    const any = await ask('Hello!', { tools: TOOLS, tool_choice: { type: 'any' } });
    assert.equal(any.stop_reason, 'tool_use');
    assert.ok(usesOf(any).length > 0);
    const named = await ask(PARIS, { tools: TOOLS, tool_choice: { type: 'tool', name: 'set_timer' } });
    assert.deepEqual([...new Set(usesOf(named).map(({ name }) => name))], ['set_timer']);
    const none = await ask(PARIS, { tools: TOOLS, tool_choice: { type: 'none' } });
    assert.equal(usesOf(none).length, 0);
    const one = await ask(TWO_CITIES, { tools: TOOLS,
      tool_choice: { type: 'auto', disable_parallel_tool_use: true } });
    assert.deepEqual(usesOf(one).map(({ input }) => input), [{ city: 'Berlin' }]);
    await refused({ tools: TOOLS, tool_choice: { type: 'tool', name: 'get_wether' } }, /tool_choice.*get_wether/);
    await refused({ tool_choice: { type: 'any' } }, /tool_choice/);
  });

  test('a strict tool gets input that its schema accepts', async () => {
    const input_schema = { type: 'object', additionalProperties: false, required: ['to', 'when'], properties: {
      to: { type: 'string', maxLength: 20 }, when: { enum: ['now', 'later'] } } };
    const errorOf = validator(input_schema);
    for (const seed of [1, 2, 3]) {
      const message = await ask('Call somebody.', { temperature: 1, seed, tool_choice: { type: 'any' },
        tools: [{ name: 'call', description: 'Call somebody', input_schema, strict: true }] });
      for (const { input } of usesOf(message)) assert.equal(errorOf(input), null, JSON.stringify(input));
    }
  });

  test('output_config.format holds the answer to a schema', async () => {
    const schema = { type: 'object', additionalProperties: false, required: ['color', 'price'], properties: {
      color: { enum: ['red', 'green'] }, price: { type: 'number', minimum: 1, maximum: 9.5 } } };
    const errorOf = validator(schema);
    for (const seed of [1, 2, 3]) {
      const message = await ask('JSON only, please: color red, price 3', {
        temperature: 1, seed, output_config: { format: { type: 'json_schema', schema } } });
      assert.equal(errorOf(JSON.parse(textOf(message))), null);
    }
    await refused({ output_config: { format: { type: 'json_schema', schema: { type: 'strin' } } } },
      /output_config\.format\.schema\.type/);
  });

  test('stop_sequences and max_tokens end an answer and say so', async () => {
    const whole = textOf(await ask(SUM));
    const stopped = await ask(SUM, { stop_sequences: ['never so', '432'] });
    assert.equal(stopped.stop_reason, 'stop_sequence');
    assert.equal(stopped.stop_sequence, '432');
    assert.equal(textOf(stopped), whole.slice(0, whole.indexOf('432')));
    const cut = await ask(SUM, { max_tokens: 5 });
    assert.equal(cut.stop_reason, 'max_tokens');
    assert.equal(cut.usage.output_tokens, 5);
  });

  test('countTokens counts what a message is charged for', async () => {
    for (const more of [{}, { tools: TOOLS }, { system: undefined },
      { messages: [...user('Hi.'), { role: 'assistant', content: 'Hello!' }, ...user(SUM)] }]) {
      const { max_tokens: _, temperature: _t, ...counted } = body(SUM, more);
      const { input_tokens } = await client.messages.countTokens(counted);
      assert.equal(input_tokens, inputTokens(await ask(SUM, more)));
    }
    await assert.rejects(client.messages.countTokens({ model: 'gpt-5', messages: user('x') }), Anthropic.NotFoundError);
  });

  test('what is in the cache is told apart in the usage', async () => {
    const system = 'The sun is a star. '.repeat(20);
    const cold = await ask('Hello!', { system });
    const warm = await ask('Hello!', { system });
    assert.equal(cold.usage.cache_read_input_tokens, 0);
    assert.ok(warm.usage.cache_read_input_tokens >= 16);
    assert.equal(inputTokens(warm), inputTokens(cold));
    assert.equal(textOf(warm), textOf(cold));
  });

  test('system text comes as blocks, too, and content as blocks', async () => {
    const plain = await ask(SUM);
    const blocks = await ask('', { system: [{ type: 'text', text: SYSTEM, cache_control: { type: 'ephemeral' } }],
      messages: [{ role: 'user', content: [{ type: 'text', text: SUM }] }] });
    assert.equal(textOf(blocks), textOf(plain));
    assert.equal(inputTokens(blocks), inputTokens(plain));
  });

  test('a last message of the assistant is the beginning of the answer', async () => {
    const message = await ask('', { messages: [...user('What is the capital of France?'),
      { role: 'assistant', content: 'The capital of France is' }] });
    assert.match(textOf(message), /^ ?Paris/);
  });

  test('a bad field is a BadRequestError that names it', async () => {
    for (const [more, message] of [
      [{ max_tokens: undefined }, /"max_tokens" is missing/],
      [{ max_tokens: 0 }, /max_tokens/],
      [{ temperature: 1.5 }, /temperature/],
      [{ messages: [] }, /messages/],
      [{ messages: [{ role: 'robot', content: 'x' }] }, /messages\[0\]\.role/],
      [{ messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] }, /messages\[0\]\.content\[0\]\.type/],
      [{ messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'x', content: '1' }] }] },
        /messages\[0\]\.content\[0\]\.tool_use_id/],
      [{ stop_sequences: [''] }, /stop_sequences/],
      [{ thinking: { type: 'enabled' } }, /thinking\.budget_tokens/],
      [{ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, /tools\[0\]\.type/],
      [{ tools: [{ name: 'f' }] }, /tools\[0\]\.input_schema/],
    ]) {
      const error = await refused(more, message);
      assert.equal(error.error.error.type, 'invalid_request_error');
      assert.equal(error.status, 400);
    }
    await refused({ messages: user('word '.repeat(40000)) }, /prompt is too long/);
    const unknown = await refused({ model: 'claude' }, /claude/, Anthropic.NotFoundError);
    assert.equal(unknown.error.error.type, 'not_found_error');
    await assert.rejects(client.post('/v1/messages', { body: {}, headers: { 'Content-Type': 'text/plain' } }),
      (error) => error.status === 415 && error.error.type === 'error');
  });
});

test('a key comes as x-api-key or as a bearer token', async (t) => {
  const server = await startServerFor(t, { args: ['--api-key', 'secret'] });
  const hello = (options) => clientOf(server, options).messages.create(
    { model: 'demo', max_tokens: 3, messages: user('Hello!') });
  assert.equal((await hello({ apiKey: 'secret' })).type, 'message');
  assert.equal((await hello({ apiKey: null, authToken: 'secret' })).type, 'message');
  for (const options of [{ apiKey: 'wrong' }, { apiKey: null, authToken: 'wrong' }]) {
    const error = await hello(options).then(() => assert.fail('accepted'), (e) => e);
    assert.ok(error instanceof Anthropic.AuthenticationError, String(error));
    assert.equal(error.error.error.type, 'authentication_error');
  }
});
