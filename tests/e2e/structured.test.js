// Answers that keep to a form, with the official client.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { foldStream, startServer, user } from './server.js';
import { callsOf, chatTools, validator } from './tools.js';

const QUESTION = 'Reply as JSON with the keys name and age: name Ada, age 36.';
const SCHEMA = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 30 },
    age: { type: 'integer', minimum: 0, maximum: 150 },
    tags: { type: 'array', items: { enum: ['new', 'old', 'na\u00efve'] }, maxItems: 4 },
    home: { anyOf: [{ type: 'null' }, { type: 'object', properties: { city: { type: 'string', maxLength: 20 } },
      required: ['city'], additionalProperties: false }] },
  },
  required: ['name', 'age', 'tags', 'home'],
  additionalProperties: false,
};
const errorOf = validator(SCHEMA);
const jsonSchema = (schema) => ({ response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } } });

/** Tokens that are as good as any: what comes out is the form's doing. */
const WILD = { temperature: 1.5, top_k: -1, top_p: 1 };
const SEEDS = [1, 2, 3, 4, 5, 6];

describe('structured output', () => {
  let server;
  let client;
  let patience;  // milliseconds: a second of work, where others work, too, and sanitizers look on
  before(async () => {
    server = await startServer();
    client = server.client();
    const { build_type } = await (await server.get('/version')).json();
    patience = build_type === 'Release' ? 3000 : 30_000;
  });
  after(() => server.stop());

  const ask = (more, content = QUESTION) => client.chat.completions.create(
    { model: 'demo', messages: user(content), temperature: 0, max_tokens: 400, ...more });
  const complete = (more) => client.completions.create(
    { model: 'demo', prompt: 'The answer: ', max_tokens: 100, ...WILD, ...more });
  const refused = async (request, param) => {
    const error = await request.then(() => assert.fail('accepted'), (e) => e);
    assert.ok(error instanceof OpenAI.BadRequestError, String(error));
    assert.equal(error.param, param);
  };
  /** Text answers to one form, of chats and of completions, to many seeds. */
  async function texts(form, seeds = SEEDS) {
    const answers = await Promise.all(seeds.flatMap((seed) => [
      complete({ seed, ...form }), ask({ seed, ...WILD, max_tokens: 200, ...form }, 'Hello!')]));
    return answers.map(({ choices: [{ text, message, finish_reason }] }) => {
      assert.equal(finish_reason, 'stop');
      return text ?? message.content;
    });
  }

  test('response_format json_schema: the answer validates, streamed, n times and at any temperature', async () => {
    for (const more of [{}, WILD]) {
      const whole = await ask({ ...jsonSchema(SCHEMA), ...more, n: 2, seed: 5 });
      for (const { message, finish_reason } of whole.choices) {
        assert.equal(finish_reason, 'stop');
        assert.equal(errorOf(JSON.parse(message.content)), null, message.content);
        assert.ok(message.reasoning.length > 0);
      }
      const streamed = await foldStream(await ask({ ...jsonSchema(SCHEMA), ...more, seed: 5, stream: true }));
      assert.equal(streamed.content, whole.choices[0].message.content);
    }
  });

  test('the client library parses what its schema describes', async () => {
    const Person = z.object({
      name: z.string().max(30), age: z.number().int().min(0), friends: z.array(z.string().max(9)).max(2) });
    for (const seed of [1, 2]) {
      const body = { model: 'demo', messages: user(QUESTION), ...WILD, seed, max_tokens: 400,
        response_format: zodResponseFormat(Person, 'person') };
      const { parsed, content } = (await client.chat.completions.parse(body)).choices[0].message;
      assert.deepEqual(parsed, Person.parse(JSON.parse(content)));
      const streamed = await client.chat.completions.stream(body).finalChatCompletion();
      assert.deepEqual(streamed.choices[0].message.parsed, parsed);
    }
    const Ticket = z.object({ id: z.string().regex(/^[A-Z]{2}-\d{3}$/), open: z.boolean() });
    const completion = await client.chat.completions.parse({
      model: 'demo', messages: user(QUESTION), ...WILD, seed: 3, max_tokens: 400, tool_choice: 'required',
      tools: [zodFunction({ name: 'file_ticket', parameters: Ticket })] });
    for (const { function: { parsed_arguments } } of completion.choices[0].message.tool_calls) {
      Ticket.parse(parsed_arguments);
    }
  });

  test('json_object: an object, whatever was asked', async () => {
    for (const form of [{ response_format: { type: 'json_object' } }, { structured_outputs: { json_object: true } }]) {
      for (const text of await texts(form, [1, 2, 3])) {
        const value = JSON.parse(text);
        assert.ok(typeof value === 'object' && !Array.isArray(value) && value !== null, text);
      }
    }
  });

  test('a schema under each of its names, on chats and completions', async () => {
    for (const form of [jsonSchema(SCHEMA), { structured_outputs: { json: SCHEMA } },
      { structured_outputs: { json: JSON.stringify(SCHEMA) } }, { guided_json: SCHEMA }]) {
      for (const text of await texts(form, [1, 2])) assert.equal(errorOf(JSON.parse(text)), null, text);
    }
  });

  test('regex: the whole text matches', async () => {
    for (const regex of ['[A-Z]{3}-\\d{4}', '(yes|no|per(haps|chance))', '\\w+@\\w+\\.(com|org)',
      '(\\d{1,3}\\.){3}\\d{1,3}', '[^\\x00-\\x7f]{2,5}', '#[0-9a-f]{6}( #[0-9a-f]{6}){0,2}', '\u00fcber .{3,9}!']) {
      const whole = new RegExp(`^(?:${regex})$`, 'u');
      for (const text of await texts({ structured_outputs: { regex } }, [1, 2, 3])) assert.match(text, whole);
    }
    for (const text of await texts({ guided_regex: 'a{7}' }, [1])) assert.equal(text, 'aaaaaaa');
  });

  test('choice: one of the texts', async () => {
    const choice = ['positive', 'negative', 'pos', '\u{1f600} neutral', 'a "quoted" one\nwith a line break'];
    const seen = new Set();
    const all = [...await texts({ structured_outputs: { choice } }), ...await texts({ guided_choice: choice })];
    for (const text of all) {
      assert.ok(choice.includes(text), text);
      seen.add(text);
    }
    assert.ok(seen.size > 1);
  });

  test('grammar: what its root derives', async () => {
    const grammar = `
      root ::= sum (" = " number)?
      sum ::= term ((" + " | " - ") term){0,3}
      term ::= number | "(" sum ")"
      number ::= [1-9] [0-9]{0,2} | "0"`;
    const all = [...await texts({ structured_outputs: { grammar } }), ...await texts({ guided_grammar: grammar }, [7])];
    for (const text of all) {
      assert.match(text, /^[-+0-9()= ]+$/);
      const [sum, result] = text.split(' = ');
      assert.ok(Number.isInteger(Function(`return (${sum})`)()), text);
      if (result) assert.match(result, /^(0|[1-9]\d{0,2})$/);
    }
  });

  test('the same forms in the Responses API', async () => {
    for (const seed of [1, 2, 3]) {
      const response = await client.responses.create({ model: 'demo', input: QUESTION, temperature: 1.5, seed,
        max_output_tokens: 400, text: { format: { type: 'json_schema', name: 'answer', schema: SCHEMA } } });
      assert.equal(errorOf(JSON.parse(response.output_text)), null, response.output_text);
    }
  });

  test('a form and tools leave the choice between them', async () => {
    const more = { ...jsonSchema(SCHEMA), tools: chatTools('get_weather', 'set_timer') };
    const called = await ask(more, "What's the weather in Paris?");
    assert.deepEqual(callsOf(called.choices[0].message), [['get_weather', { city: 'Paris' }]]);
    for (const seed of SEEDS) {
      const { message } = (await ask({ ...more, ...WILD, seed })).choices[0];
      if (message.tool_calls) callsOf(message);
      else assert.equal(errorOf(JSON.parse(message.content)), null, message.content);
    }
  });

  test('an answer comes to its end in time, as long as max_tokens holds the shortest one', async () => {
    const shortest = '{"name":"","age":0,"tags":[],"home":null}'.length;
    // No token is shorter than a byte; one more ends the answer. A chat spends one on </think>, and thinks
    // only as long as there is room.
    await Promise.all([1, 2, 5, 10, 30, 60].flatMap((spare) => SEEDS.slice(0, 4).map(async (seed) => {
      const answers = [
        await complete({ ...jsonSchema(SCHEMA), seed, max_tokens: shortest + spare }),
        await ask({ ...jsonSchema(SCHEMA), ...WILD, seed, max_tokens: shortest + 1 + spare })];
      for (const { choices: [{ text, message, finish_reason }] } of answers) {
        const document = text ?? message.content;
        assert.equal(finish_reason, 'stop', `${spare} ${document}`);
        assert.equal(errorOf(JSON.parse(document)), null, document);
      }
    })));
    // So does a text that could end and goes on, and one that is deep inside.
    for (const form of [
      { regex: '[0-9]{1,3}( and [0-9]{3})*' }, { grammar: 'root ::= sum\nsum ::= "1" | "(" sum " + " sum ")"' }]) {
      await Promise.all([8, 9, 10, 11, 12, 20, 40].flatMap((max_tokens) => SEEDS.map(async (seed) => {
        const [{ text, finish_reason }] = (await complete({ structured_outputs: form, seed, max_tokens })).choices;
        assert.equal(finish_reason, 'stop', `${max_tokens} ${seed} ${text}`);
        if (form.regex) assert.match(text, new RegExp(`^(?:${form.regex})$`));
        else assert.equal(text.split('(').length, text.split(')').length, text);
      })));
    }
    // Calls, too.
    for (const max_tokens of [90, 110]) {
      const { choices: [{ message, finish_reason }] } = await ask(
        { ...WILD, seed: 2, max_tokens, tool_choice: 'required', tools: chatTools('turn_on_light').map(
          (tool) => ({ ...tool, function: { ...tool.function, strict: true } })) });
      assert.equal(finish_reason, 'tool_calls');
      assert.ok(callsOf(message).length > 0);
    }
  });

  test('equal requests have equal answers, alone or in company', async () => {
    const forms = [jsonSchema(SCHEMA), { structured_outputs: { regex: '[a-z]{5,40}' } }, {}];
    const draw = (form, seed) => complete({ ...form, seed, max_tokens: 60 }).then(({ choices }) => choices[0].text);
    const alone = [];
    for (const form of forms) for (const seed of [1, 2, 3]) alone.push(await draw(form, seed));
    const together = await Promise.all(forms.flatMap((form) => [1, 2, 3].map((seed) => draw(form, seed))));
    assert.deepEqual(together, alone);
  });

  test('forms that cannot be are refused by name', async () => {
    const inSchema = 'response_format.json_schema.schema';
    for (const [form, param] of [
      [jsonSchema({ type: 'strin' }), `${inSchema}.type`],
      [jsonSchema({ type: 'object', properties: { a: { minimum: 'x' } } }), `${inSchema}.properties.a.minimum`],
      [jsonSchema({ $ref: '#/$defs/nowhere' }), `${inSchema}.$ref`],
      [jsonSchema({ $ref: 'https://example.com/schema' }), `${inSchema}.$ref`],
      [jsonSchema({ type: 'string', pattern: '(' }), `${inSchema}.pattern`],
      [{ response_format: { type: 'json_schema' } }, 'response_format.json_schema'],
      [{ response_format: { type: 'xml' } }, 'response_format.type'],
      [{ structured_outputs: { regex: '[' } }, 'structured_outputs.regex'],
      [{ structured_outputs: { regex: '(a)\\1' } }, 'structured_outputs.regex'],
      [{ structured_outputs: { grammar: 'root ::= nowhere' } }, 'structured_outputs.grammar'],
      [{ structured_outputs: { choice: [] } }, 'structured_outputs.choice'],
      [{ structured_outputs: {} }, 'structured_outputs'],
      [{ ...jsonSchema(SCHEMA), structured_outputs: { regex: 'a' } }, 'structured_outputs.regex'],
      [{ ...jsonSchema(SCHEMA), ignore_eos: true }, 'ignore_eos'],
      [{ structured_outputs: { structural_tag: '{}' } }, 'structured_outputs.structural_tag'],
    ]) {
      await refused(ask(form), param);
      await refused(complete(form), param);
    }
  });

  const nested = (count, open, inner, close) => open.repeat(count) + inner + close.repeat(count);
  const many = (count, make) => Array.from({ length: count }, (_, i) => make(i));
  const schemaText = (schema) =>
    `"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": ${schema}}}`;
  const ofSchema = (schema) => schemaText(JSON.stringify(schema));
  const outputs = (form) => `"structured_outputs": ${JSON.stringify(form)}`;
  const BOMBS = {
    'a regex of 60,000 nested groups': outputs({ regex: nested(60_000, '(', 'a', ')') }),
    'a regex of 30,000 nested groups': outputs({ regex: nested(30_000, '(', 'a', ')') }),
    'a regex of nested counts': outputs({ regex: nested(5, '(', 'a', '){1,100}') }),
    'a regex whose automaton doubles with every letter': outputs({ regex: '(a|b)*a(a|b){30}' }),
    'nested stars': outputs({ regex: '(((a*)*)*)*b' }),
    'a schema that is itself': ofSchema({ $ref: '#' }),
    'a tree without leaves': ofSchema({ type: 'object', properties: { next: { $ref: '#' } }, required: ['next'] }),
    'a tree': ofSchema({ type: 'object', properties: { children: { type: 'array', items: { $ref: '#' } } } }),
    'an enum of 100,000': ofSchema({ enum: many(100_000, (i) => `value ${i}`) }),
    'an enum of 10,000': ofSchema({ enum: many(10_000, (i) => `value ${i}`) }),
    'an array in arrays, 50,000 deep': schemaText(nested(50_000, '{"type": "array", "items": ', 'true', '}')),
    'definitions that double 40 times': ofSchema({ $ref: '#/$defs/d0', $defs: { d40: { type: 'null' },
      ...Object.fromEntries(many(40, (i) => [
        `d${i}`, { type: 'array', minItems: 2, maxItems: 2, items: { $ref: `#/$defs/d${i + 1}` } }])) } }),
    'alternatives multiplied 20 times': ofSchema({ allOf: many(20, (i) => ({ anyOf: [
      { properties: { [`a${i}`]: { type: 'string' } } }, { properties: { [`b${i}`]: { type: 'string' } } }] })) }),
    'ten megabytes of properties': ofSchema({ type: 'object', properties: Object.fromEntries(
      many(100_000, (i) => [`property number ${i}`, { type: 'string', description: 'x'.repeat(50) }])) }),
    'ten megabytes of pattern': ofSchema({ type: 'string', pattern: 'a'.repeat(10_000_000) }),
    '5,000 required properties': ofSchema({ type: 'object', required: many(5000, (i) => `p${i}`),
      properties: Object.fromEntries(many(5000, (i) => [`p${i}`, { type: 'integer' }])) }),
    'two thousand million characters': ofSchema({ type: 'string', minLength: 2_000_000_000 }),
    'a grammar of 60,000 nested groups': outputs({ grammar: `root ::= ${nested(60_000, '(', '"a"', ')')}` }),
    'a grammar that begins with itself': outputs({ grammar: 'root ::= root root "a" | ""' }),
    'a grammar of 10,000 rules': outputs({ grammar: [
      'root ::= r0', ...many(10_000, (i) => `r${i} ::= r${i + 1} | "x"`), 'r10000 ::= "z"'].join('\n') }),
    '10,001 choices': outputs({ choice: many(10_001, (i) => `${i}`) }),
    '10,000 choices': outputs({ choice: many(10_000, (i) => `choice ${i}`) }),
  };

  test('no form keeps the server busy for long, or holds up other answers', async (t) => {
    await complete(jsonSchema(SCHEMA));  // the first form of all prepares the vocabulary
    const leave = new AbortController();
    const stream = await client.chat.completions.create({ model: 'demo', messages: user('Hello!'), stream: true,
      ignore_eos: true, max_tokens: 3900 }, { signal: leave.signal });
    let last = performance.now();
    let longestGap = 0;
    const reading = (async () => {
      for await (const _ of stream) {
        longestGap = Math.max(longestGap, performance.now() - last);
        last = performance.now();
      }
    })().catch((error) => assert.ok(leave.signal.aborted, String(error)));
    for (const [name, form] of Object.entries(BOMBS)) {
      const body = `{"model": "demo", "prompt": "x", "max_tokens": 4, ${form}}`;
      const begin = performance.now();
      const response = await server.post('/v1/completions', body);
      const { error, choices } = await response.json();
      const took = performance.now() - begin;
      assert.ok(response.status === 400 || response.status === 200, `${name}: ${response.status}`);
      assert.ok(response.status === 200 ? choices : error.message, name);
      t.diagnostic(`${name}: ${took.toFixed(0)} ms`);
      assert.ok(took < patience, `${name} took ${took} ms`);
    }
    leave.abort();
    await reading;
    assert.ok(longestGap < patience, `a stream stood still for ${longestGap} ms`);
  });
});
