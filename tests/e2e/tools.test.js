// Tool calls in chats, with the official client.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { startServer, startServerFor, user } from './server.js';
import { callsOf, chatTools, descriptionOf, foldMessage, parametersOf, RESULTS, validator } from './tools.js';

const SYSTEM = { role: 'system', content: 'You are a helpful assistant.' };
const ALL = chatTools('get_weather', 'set_timer', 'turn_on_light', 'move_robot');
const PARIS = "What's the weather in Paris?";
const TWO_CITIES = "What's the weather in Berlin? Also: What's the weather in Madrid?";

// What is asked, and the calls that it takes.
const REQUESTS = [
  [PARIS, [['get_weather', { city: 'Paris' }]]],
  ['Set a timer for 12 minutes.', [['set_timer', { minutes: 12 }]]],
  ['Turn off the light in the kitchen.', [['turn_on_light', { room: 'kitchen', on: false }]]],
  ['Move the robot to x 12 and y 7.', [['move_robot', { target: { x: 12, y: 7 } }]]],
  [TWO_CITIES, [['get_weather', { city: 'Berlin' }], ['get_weather', { city: 'Madrid' }]]],
  ['What is the weather like in Oslo today? And then Set a timer for 5 minutes.',
    [['get_weather', { city: 'Oslo' }], ['set_timer', { minutes: 5 }]]],
];

// Their ids are random.
const withoutIds = (message) => ({
  ...message, tool_calls: message.tool_calls?.map(({ id: _, ...call }) => call) });

describe('tools', () => {
  let server;
  let client;
  before(async () => {
    server = await startServer();
    client = server.client();
  });
  after(() => server.stop());

  const body = (content, more) => ({
    model: 'demo', messages: [SYSTEM, ...user(content)], tools: ALL, temperature: 0, max_tokens: 200, ...more });
  const ask = (content, more = {}) => client.chat.completions.create(body(content, more));
  const refused = async (more) => {
    const error = await ask(PARIS, more).then(() => assert.fail(`accepted ${JSON.stringify(more)}`), (e) => e);
    assert.ok(error instanceof OpenAI.BadRequestError, String(error));
    return error;
  };

  test('calls have typed arguments, and nothing else is content', async () => {
    for (const [question, expected] of REQUESTS) {
      const [{ message, finish_reason }] = (await ask(question)).choices;
      assert.deepEqual(callsOf(message), expected, question);
      assert.equal(finish_reason, 'tool_calls');
      assert.equal(message.content, null);
      assert.equal(message.role, 'assistant');
      assert.match(message.reasoning, /I will call/);
      assert.equal(message.reasoning_content, message.reasoning);
      for (const call of message.tool_calls) {
        assert.equal(call.type, 'function');
        assert.match(call.id, /^call_[0-9A-Za-z]+$/);
      }
      assert.equal(new Set(message.tool_calls.map(({ id }) => id)).size, expected.length);
    }
  });

  test('a stream of calls adds up to the whole answer; id and name come once', async () => {
    for (const [question, expected] of REQUESTS) {
      const whole = (await ask(question)).choices[0];
      const streamed = await foldMessage(
        await ask(question, { stream: true, stream_options: { include_usage: true } }));
      assert.equal(streamed.finish_reason, 'tool_calls');
      const { role, reasoning, tool_calls } = whole.message;
      // The first chunk says who speaks, with a content of "", before it is known that there is none.
      assert.deepEqual(withoutIds(streamed.message), withoutIds({
        role, content: '', reasoning, reasoning_content: reasoning, tool_calls }), question);
      for (let index = 0; index < expected.length; ++index) {
        const pieces = streamed.pieces.filter((piece) => piece.index === index);
        assert.equal(pieces.filter(({ id }) => id).length, 1);
        assert.equal(pieces.filter(({ function: f }) => f?.name).length, 1);
        assert.ok(pieces[0].id && pieces[0].function.name && pieces[0].type === 'function');
      }
      assert.ok(streamed.usage.completion_tokens > 20);
    }
  });

  test('the client library makes the same calls of a stream', async () => {
    for (const [question, expected] of REQUESTS.slice(3)) {
      const completion = await client.chat.completions.stream(body(question)).finalChatCompletion();
      assert.deepEqual(callsOf(completion.choices[0].message), expected);
      assert.equal(completion.choices[0].finish_reason, 'tool_calls');
    }
  });

  test('results of calls lead to an answer, with thinking carried under either name', async () => {
    for (const field of ['reasoning_content', 'reasoning']) {
      const [{ message }] = (await ask(TWO_CITIES)).choices;
      const carried = { role: 'assistant', content: message.content, tool_calls: message.tool_calls,
        [field]: message.reasoning };
      const results = message.tool_calls.map(({ id, function: { name } }) => (
        { role: 'tool', tool_call_id: id, content: JSON.stringify(RESULTS[name]) }));
      const messages = [SYSTEM, ...user(TWO_CITIES), carried, ...results];
      const completion = await ask('', { messages });
      const [{ message: answer, finish_reason }] = completion.choices;
      assert.equal(finish_reason, 'stop');
      assert.equal(answer.tool_calls, undefined);
      assert.match(answer.content, /Berlin.*Madrid/s);
      assert.match(answer.content, /21 degrees/);
      assert.match(answer.reasoning, /The tool returned/);
      // The thinking is in the prompt: without it there are fewer tokens.
      const { [field]: _, ...forgotten } = carried;
      const without = await ask('', { messages: [SYSTEM, ...user(TWO_CITIES), forgotten, ...results] });
      assert.ok(without.usage.prompt_tokens + 20 < completion.usage.prompt_tokens, field);
    }
  });

  test('results come in any order, and know their calls by id', async () => {
    const call = (id, city) => ({ id, type: 'function',
      function: { name: 'get_weather', arguments: JSON.stringify({ city }) } });
    const results = [['b', 'rainy'], ['a', 'sunny']].map(
      ([tool_call_id, content]) => ({ role: 'tool', tool_call_id, content }));
    const promptOf = async (order) => (await (await server.post('/v1/chat/completions/render', body('', { messages: [
      ...user(TWO_CITIES), { role: 'assistant', content: null, tool_calls: [call('a', 'Berlin'), call('b', 'Madrid')] },
      ...order] }))).json()).prompt;
    const prompt = await promptOf(results);
    assert.match(prompt, /Berlin.*Madrid.*sunny.*rainy/s);
    assert.equal(await promptOf(results.toReversed()), prompt);
    assert.doesNotMatch(prompt, /None|null|undefined/);
  });

  // The library writes a tool's description behind its parameters, as the demo model never saw it.
  const inOrder = (url, options) => {
    const sent = JSON.parse(options.body);
    for (const tool of sent.tools) {
      const { name, description, parameters } = tool.function;
      tool.function = { name, description, parameters };
    }
    return fetch(url, { ...options, body: JSON.stringify(sent) });
  };

  test('runTools calls the functions and comes back with the answer', async () => {
    for (const stream of [false, true]) {
      const called = [];
      const tool = (name) => ({ type: 'function', function: {
        name, description: descriptionOf(name), parameters: parametersOf(name), parse: JSON.parse,
        function: (args) => { called.push([name, args]); return RESULTS[name]; } } });
      const runner = server.client({ fetch: inOrder }).chat.completions.runTools({
        ...body(PARIS), tools: Object.keys(RESULTS).map(tool), stream });
      assert.match(await runner.finalContent(), /sunny/);
      assert.deepEqual(called, [['get_weather', { city: 'Paris' }]]);
    }
  });

  test('tool_choice none is a request without tools', async () => {
    const without = await ask(PARIS, { tools: undefined });
    const none = await ask(PARIS, { tool_choice: 'none' });
    assert.deepEqual(none.choices[0].message, without.choices[0].message);
    assert.equal(none.usage.prompt_tokens, without.usage.prompt_tokens);
    assert.equal(none.choices[0].message.tool_calls, undefined);
  });

  test('tool_choice auto leaves an answer without calls possible', async () => {
    const [{ message, finish_reason }] = (await ask('Hello!', { tool_choice: 'auto' })).choices;
    assert.equal(finish_reason, 'stop');
    assert.equal(message.tool_calls, undefined);
    assert.match(message.content, /Hello!/);
  });

  test('tool_choice required brings a call where none is needed, streamed or not', async () => {
    for (const question of ['Hello!', 'What is 47 + 385?']) {
      const [{ message, finish_reason }] = (await ask(question, { tool_choice: 'required' })).choices;
      assert.equal(finish_reason, 'tool_calls');
      assert.equal(message.content, null);
      assert.ok(callsOf(message).length > 0);
      const streamed = await foldMessage(await ask(question, { tool_choice: 'required', stream: true }));
      assert.equal(streamed.finish_reason, 'tool_calls');
      assert.deepEqual(callsOf(streamed.message), callsOf(message));
    }
  });

  test('a named tool is the one that is called, at any temperature', async () => {
    for (const name of ['get_weather', 'set_timer', 'turn_on_light', 'move_robot']) {
      const tool_choice = { type: 'function', function: { name } };
      for (const more of [{}, { temperature: 1.5, seed: 3 }]) {
        const [{ message, finish_reason }] = (await ask(PARIS, { tool_choice, ...more })).choices;
        assert.ok(callsOf(message).length > 0);
        assert.deepEqual([...new Set(callsOf(message).map(([called]) => called))], [name]);
        assert.equal(finish_reason, 'tool_calls');
      }
    }
  });

  test('parallel_tool_calls: false leaves one call', async () => {
    for (const tool_choice of ['auto', 'required']) {
      const more = { parallel_tool_calls: false, tool_choice };
      const [{ message, finish_reason }] = (await ask(TWO_CITIES, more)).choices;
      assert.deepEqual(callsOf(message), [['get_weather', { city: 'Berlin' }]], tool_choice);
      assert.equal(finish_reason, 'tool_calls');
      const streamed = await foldMessage(await ask(TWO_CITIES, { ...more, stream: true }));
      assert.deepEqual(callsOf(streamed.message), callsOf(message));
    }
  });

  test('a call that max_tokens cuts off is valid JSON, the same streamed and not', async () => {
    for (const max_tokens of [28, 37, 40, 46, 52, 58]) {
      const [{ message, finish_reason }] = (await ask('Move the robot to x 12 and y 7.', { max_tokens })).choices;
      const streamed = await foldMessage(await ask('Move the robot to x 12 and y 7.', { max_tokens, stream: true }));
      assert.equal(streamed.finish_reason, finish_reason);
      assert.ok(['length', 'tool_calls'].includes(finish_reason));
      assert.deepEqual(callsOf(streamed.message), callsOf(message));
      assert.equal(streamed.message.content ?? '', message.content ?? '');
      assert.equal(streamed.message.reasoning, message.reasoning);
    }
  });

  test('a strict tool gets arguments that its schema accepts, at a high temperature', async () => {
    const parameters = {
      type: 'object',
      properties: {
        ticket: { type: 'string', pattern: '^[A-Z]{2,4}-[0-9]{1,5}$' },
        severity: { enum: ['low', 'high', 'on fire'] },
        hours: { type: 'integer', minimum: 1, maximum: 40 },
        labels: { type: 'array', items: { type: 'string', maxLength: 12 }, minItems: 1, maxItems: 3 },
        assignee: { type: 'object', properties: { name: { type: 'string', minLength: 1, maxLength: 20 } },
          required: ['name'], additionalProperties: false },
      },
      required: ['ticket', 'severity', 'hours', 'labels', 'assignee'],
      additionalProperties: false,
    };
    const tools = [{ type: 'function', function: {
      name: 'file_ticket', description: 'File a ticket', parameters, strict: true } }];
    const errorOf = validator(parameters);
    await Promise.all([1, 2, 3, 4, 5, 6].map(async (seed) => {
      const [{ message, finish_reason }] = (await ask('File a ticket.', {
        tools, tool_choice: 'required', temperature: 1.5, seed, top_k: -1, max_tokens: 400,
        parallel_tool_calls: seed % 2 === 0 })).choices;
      assert.equal(finish_reason, 'tool_calls');
      for (const [name, args] of callsOf(message)) {
        assert.equal(name, 'file_ticket');
        assert.equal(errorOf(args), null, JSON.stringify(args));
      }
    }));
  });

  test('a strict tool is obeyed where the model calls it by itself', async () => {
    const strict = (name) => {
      const [tool] = chatTools(name);
      return { ...tool, function: { ...tool.function, strict: true } };
    };
    const tools = ['get_weather', 'turn_on_light'].map(strict);
    await Promise.all([1, 2, 3, 4].map(async (seed) => {
      const [{ message }] = (
        await ask('Turn on the light in the bathroom.', { tools, temperature: 1.2, seed })).choices;
      for (const [name, args] of callsOf(message)) {
        assert.ok(['get_weather', 'turn_on_light'].includes(name), name);
        assert.equal(validator(parametersOf(name))(args), null, JSON.stringify(args));
      }
    }));
    const [{ message }] = (await ask('Turn on the light in the bathroom.', { tools })).choices;
    assert.deepEqual(callsOf(message), [['turn_on_light', { room: 'bathroom', on: true }]]);
  });

  test('a tool_choice or a tool that cannot be is refused by name', async () => {
    for (const [more, param] of [
      [{ tool_choice: { type: 'function', function: { name: 'get_wether' } } }, /^tool_choice/],
      [{ tool_choice: 'always' }, /^tool_choice$/],
      [{ tool_choice: 'required', tools: undefined }, /^tool_choice$/],
      [{ tools: [{ type: 'function', function: {} }] }, /^tools\[0\]\.function\.name$/],
      [{ tools: [...ALL, ALL[0]] }, /^tools\[4\]\.function\.name$/],
      [{ tools: [{ type: 'retrieval' }] }, /^tools\[0\]\.type$/],
      [{ tools: [{ type: 'function', function: { name: 'f', strict: true,
        parameters: { type: 'object', properties: { a: { type: 'strin' } } } } }] }, /^tools/],
    ]) {
      assert.match((await refused(more)).param, param);
    }
    const { message } = await refused({ tool_choice: { type: 'function', function: { name: 'get_wether' } } });
    assert.match(message, /get_wether/);
  });
});

test('append_think keeps the thinking in the content, and calls are calls', async (t) => {
  const server = await startServerFor(t, { args: ['--reasoning-parser', 'minimax_m2_append_think'] });
  const body = { model: 'demo', messages: [SYSTEM, ...user(PARIS)], tools: ALL, temperature: 0 };
  const [{ message, finish_reason }] = (await server.client().chat.completions.create(body)).choices;
  assert.equal(finish_reason, 'tool_calls');
  assert.deepEqual(callsOf(message), [['get_weather', { city: 'Paris' }]]);
  assert.match(message.content, /^<think>.*I will call get_weather.*<\/think>$/s);
  assert.equal(message.reasoning, null);
  const streamed = await foldMessage(await server.client().chat.completions.create({ ...body, stream: true }));
  assert.equal(streamed.message.content, message.content);
  assert.deepEqual(callsOf(streamed.message), callsOf(message));
  // The content of the last turn, sent back as it came, is the thinking of that turn.
  const { tool_calls } = message;
  const answer = await server.client().chat.completions.create({ ...body, messages: [...body.messages,
    { role: 'assistant', content: message.content, tool_calls },
    { role: 'tool', tool_call_id: tool_calls[0].id, content: JSON.stringify(RESULTS.get_weather) }] });
  assert.match(answer.choices[0].message.content, /<\/think>\s*.*sunny/s);
});
