// The Responses API, with the official client.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { startServer } from './server.js';
import { descriptionOf, parametersOf, RESULTS } from './tools.js';

const SYSTEM = 'You are a helpful assistant.';
const TOOLS = ['get_weather', 'set_timer', 'turn_on_light', 'move_robot'].map((name) => ({
  type: 'function', name, description: descriptionOf(name), parameters: parametersOf(name) }));
const SUM = 'What is 47 + 385?';
const TWO_CITIES = "What's the weather in Berlin? Also: What's the weather in Madrid?";

/** A response without what is new in each: ids and times, and whether the prompt was in the cache. */
function timeless(response) {
  const { id: _, created_at: _c, completed_at: _d, output, output_text: _o, usage, ...rest } = response;
  const items = output.map(({ id: _i, call_id: _j, ...item }) => item);
  const { input_tokens_details: _u, ...counts } = usage;
  return JSON.parse(JSON.stringify({ ...rest, output: items, usage: counts }));
}

const itemsOf = (response, type) => response.output.filter((item) => item.type === type);

describe('responses', () => {
  let server;
  let client;
  before(async () => {
    server = await startServer();
    client = server.client();
  });
  after(() => server.stop());

  const ask = (input, more = {}, options = {}) => client.responses.create(
    { model: 'demo', input, temperature: 0, ...more }, options);
  const refused = async (more, param) => {
    const error = await ask('Hello!', more).then(
      () => assert.fail(`accepted ${JSON.stringify(more)}`), (e) => e);
    assert.ok(error instanceof OpenAI.BadRequestError, String(error));
    assert.equal(error.param, param);
    return error;
  };

  test('an answer has its thinking, its text and usage', async () => {
    const response = await ask(SUM);
    assert.match(response.id, /^resp_/);
    assert.equal(response.object, 'response');
    assert.equal(response.status, 'completed');
    assert.equal(response.model, 'demo');
    assert.equal(response.error, null);
    assert.equal(response.incomplete_details, null);
    assert.match(response.output_text, /432/);
    assert.deepEqual(response.output.map(({ type }) => type), ['reasoning', 'message']);
    const [reasoning, message] = response.output;
    assert.match(reasoning.id, /^rs_/);
    assert.deepEqual(reasoning.summary, []);
    assert.equal(reasoning.content[0].type, 'reasoning_text');
    assert.match(reasoning.content[0].text, /carry/);
    assert.match(message.id, /^msg_/);
    assert.equal(message.role, 'assistant');
    assert.equal(message.status, 'completed');
    assert.deepEqual(message.content[0].annotations, []);
    const { usage } = response;
    assert.equal(usage.total_tokens, usage.input_tokens + usage.output_tokens);
    const { reasoning_tokens } = usage.output_tokens_details;
    assert.ok(reasoning_tokens > 10 && reasoning_tokens < usage.output_tokens);
    assert.ok(usage.input_tokens_details.cached_tokens < usage.input_tokens);
  });

  test('it is the answer that a chat gives', async () => {
    const response = await ask(SUM, { instructions: SYSTEM });
    const chat = await client.chat.completions.create({ model: 'demo', temperature: 0, messages: [
      { role: 'system', content: SYSTEM }, { role: 'user', content: SUM }] });
    const { message } = chat.choices[0];
    assert.equal(response.output_text, message.content);
    assert.equal(response.output[0].content[0].text, message.reasoning);
    assert.equal(response.usage.input_tokens, chat.usage.prompt_tokens);
    assert.equal(response.usage.output_tokens, chat.usage.completion_tokens);
    assert.equal(response.instructions, SYSTEM);
  });

  test('input comes as text, as messages and in parts', async () => {
    const { output_text } = await ask(SUM);
    for (const input of [
      [{ role: 'user', content: SUM }],
      [{ type: 'message', role: 'user', content: [{ type: 'input_text', text: SUM }] }],
      [{ role: 'user', content: [
        { type: 'input_text', text: 'What is ' }, { type: 'input_text', text: '47 + 385?' }] }],
    ]) {
      assert.equal((await ask(input)).output_text, output_text);
    }
  });

  test('a stream counts its events, closes what it opens, and ends in the whole response', async () => {
    for (const [input, more] of [
      [SUM, {}], [TWO_CITIES, { tools: TOOLS, instructions: SYSTEM }],
      ['Tell me a story about a fox.', { temperature: 1, seed: 5, max_output_tokens: 60 }]]) {
      const whole = await ask(input, more);
      const events = [];
      for await (const event of await ask(input, { ...more, stream: true })) events.push(event);
      assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, i) => i));
      assert.deepEqual(events.slice(0, 2).map(({ type }) => type), ['response.created', 'response.in_progress']);
      const last = events.at(-1);
      assert.equal(last.type, `response.${whole.status}`);
      assert.deepEqual(timeless(last.response), timeless(whole));
      assert.ok(events.slice(0, 2).every(({ response }) => response.id === last.response.id
        && response.status === 'in_progress' && response.output.length === 0));
      last.response.output.forEach((item, index) => checkItemEvents(
        item, events.filter((event) => event.output_index === index)));
    }
  });

  function checkItemEvents(item, events) {
    const types = events.map(({ type }) => type.replace('response.', ''));
    assert.equal(types[0], 'output_item.added');
    assert.equal(types.at(-1), 'output_item.done');
    assert.deepEqual(events.at(-1).item, item);
    assert.equal(events[0].item.id, item.id);
    assert.ok(events.slice(1, -1).every(({ item_id }) => item_id === item.id));
    const [kind, text, ends] = {
      reasoning: ['reasoning_text', item.content?.[0].text, ['content_part.done']],
      message: ['output_text', item.content?.[0].text, ['content_part.done']],
      function_call: ['function_call_arguments', item.arguments, []],
    }[item.type];
    const deltas = events.filter(({ type }) => type === `response.${kind}.delta`);
    assert.equal(deltas.map(({ delta }) => delta).join(''), text);
    const begins = item.type === 'function_call' ? [] : ['content_part.added'];
    assert.deepEqual(types.filter((type) => !type.endsWith('.delta')),
      ['output_item.added', ...begins, `${kind}.done`, ...ends, 'output_item.done']);
    const done = events.find(({ type }) => type === `response.${kind}.done`);
    assert.equal(done.text ?? done.arguments, text);
  }

  test('the client library makes the same response of a stream', async () => {
    for (const [input, more] of [[SUM, {}], [TWO_CITIES, { tools: TOOLS, instructions: SYSTEM }]]) {
      const whole = await ask(input, more);
      const stream = client.responses.stream({ model: 'demo', input, temperature: 0, ...more });
      let text = '';
      stream.on('response.output_text.delta', ({ delta }) => { text += delta; });
      const final = await stream.finalResponse();
      assert.equal(text, whole.output_text);
      assert.equal(final.output_text, whole.output_text);
      assert.deepEqual(itemsOf(final, 'function_call').map(({ name, arguments: a }) => [name, a]),
        itemsOf(whole, 'function_call').map(({ name, arguments: a }) => [name, a]));
    }
  });

  test('function calls and their outputs go round, with the thinking', async () => {
    const input = [{ role: 'user', content: TWO_CITIES }];
    const first = await ask(input, { tools: TOOLS, instructions: SYSTEM });
    const calls = itemsOf(first, 'function_call');
    assert.deepEqual(calls.map(({ name, arguments: text }) => [name, JSON.parse(text)]),
      [['get_weather', { city: 'Berlin' }], ['get_weather', { city: 'Madrid' }]]);
    assert.equal(itemsOf(first, 'message').length, 0);
    assert.equal(first.output_text, '');
    for (const call of calls) {
      assert.match(call.call_id, /^call_/);
      assert.match(call.id, /^fc_/);
      assert.equal(call.status, 'completed');
    }
    const outputs = calls.map(({ call_id, name }) => (
      { type: 'function_call_output', call_id, output: JSON.stringify(RESULTS[name]) }));
    const conversation = [...input, ...first.output, ...outputs];
    const second = await ask(conversation, { tools: TOOLS, instructions: SYSTEM });
    assert.match(second.output_text, /Berlin.*Madrid/s);
    assert.match(second.output_text, /21 degrees/);
    // The thinking was in the prompt.
    const forgetful = conversation.filter(({ type }) => type !== 'reasoning');
    const without = await ask(forgetful, { tools: TOOLS, instructions: SYSTEM });
    assert.ok(without.usage.input_tokens + 20 < second.usage.input_tokens);
  });

  test('tool_choice forces, names and forbids calls', async () => {
    const called = async (more) => itemsOf(await ask('Hello!', { tools: TOOLS, ...more }), 'function_call')
      .map(({ name, arguments: text }) => { JSON.parse(text); return name; });
    assert.ok((await called({ tool_choice: 'required' })).length > 0);
    assert.deepEqual(await called({ tool_choice: 'none' }), []);
    const named = await called({ tool_choice: { type: 'function', name: 'set_timer' } });
    assert.deepEqual([...new Set(named)], ['set_timer']);
    await refused({ tools: TOOLS, tool_choice: { type: 'function', name: 'get_wether' } }, 'tool_choice');
  });

  test('text.format holds the answer to a schema', async () => {
    const City = z.object({ name: z.string().max(20), capital: z.boolean(), size: z.enum(['small', 'large']) });
    for (const seed of [1, 2, 3]) {
      const response = await client.responses.parse({
        model: 'demo', input: 'Reply as JSON with the keys name, capital and size: Paris.',
        temperature: 1.5, seed, text: { format: zodTextFormat(City, 'city') }, max_output_tokens: 300 });
      assert.equal(response.status, 'completed');
      assert.deepEqual(response.output_parsed, City.parse(JSON.parse(response.output_text)));
      assert.equal(response.text.format.type, 'json_schema');
    }
    const { output_text } = await ask('JSON only, please: color red', { text: { format: { type: 'json_object' } } });
    assert.equal(typeof JSON.parse(output_text), 'object');
    await refused({ text: { format: { type: 'json_schema', name: 'x', schema: { type: 'strin' } } } },
      'text.format.schema.type');
  });

  test('max_output_tokens makes the response incomplete', async () => {
    const response = await ask(SUM, { max_output_tokens: 5 });
    assert.equal(response.status, 'incomplete');
    assert.deepEqual(response.incomplete_details, { reason: 'max_output_tokens' });
    assert.equal(response.usage.output_tokens, 5);
    assert.equal(response.output.at(-1).status, 'incomplete');
  });

  test('instructions and system messages are followed by the conversation', async () => {
    const one = await ask([{ role: 'user', content: 'Hello!' }], { instructions: SYSTEM });
    const other = await ask([{ role: 'system', content: SYSTEM }, { role: 'user', content: 'Hello!' }]);
    const developer = await ask([{ role: 'developer', content: SYSTEM }, { role: 'user', content: 'Hello!' }]);
    assert.equal(other.output_text, one.output_text);
    assert.equal(other.usage.input_tokens, one.usage.input_tokens);
    assert.equal(developer.usage.input_tokens, one.usage.input_tokens);
    const none = await ask('Hello!', { instructions: 'You are the tetrad demo model.' });
    assert.notEqual(none.usage.input_tokens, one.usage.input_tokens);
  });

  test('what needs a memory, or is not text, is refused by name', async () => {
    const error = await refused({ previous_response_id: 'resp_123' }, 'previous_response_id');
    assert.match(error.message, /input/);
    await refused({ conversation: 'conv_1' }, 'conversation');
    await refused({ background: true }, 'background');
    await refused({ truncation: 'auto' }, 'truncation');
    await refused({ tools: [{ type: 'web_search' }] }, 'tools[0].type');
    await refused({ input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'x' }] }] },
      'input[0].content[0].type');
    await refused({ input: [{ type: 'function_call_output', call_id: 'call_1', output: '1' }] }, 'input[0].call_id');
    await refused({ input: [] }, 'input');
    const unknown = await ask('Hello!', { model: 'gpt-5' }).then(() => assert.fail('accepted'), (e) => e);
    assert.ok(unknown instanceof OpenAI.NotFoundError);
  });

  test('what asks for no memory is accepted', async () => {
    const response = await ask('Hello!', { store: false, previous_response_id: null, truncation: 'disabled',
      include: ['reasoning.encrypted_content'], reasoning: { effort: 'low', summary: 'auto' },
      metadata: { a: 'b' }, parallel_tool_calls: true, text: { format: { type: 'text' } } });
    assert.match(response.output_text, /Hello/);
    assert.deepEqual(response.metadata, { a: 'b' });
    assert.equal(response.store, false);
  });
});
