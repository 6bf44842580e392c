// The AI SDK's provider for OpenAI-compatible servers, which many agents are built on.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  APICallError, generateText, isStepCount, jsonSchema, NoObjectGeneratedError, Output, streamText, tool,
} from 'ai';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { startServer } from './server.js';
import { descriptionOf, parametersOf, RESULTS, validator } from './tools.js';

const SYSTEM = 'You are a helpful assistant.';
const SUM = 'What is 47 + 385?';
const TWO_CITIES = "What's the weather in Berlin? Also: What's the weather in Madrid?";

/** Tools that note how they were called. */
function recordingTools(called) {
  return Object.fromEntries(Object.entries(RESULTS).map(([name, result]) => [name, tool({
    description: descriptionOf(name),
    inputSchema: jsonSchema(parametersOf(name)),
    execute: async (input) => { called.push([name, input]); return result; },
  })]));
}

describe('ai sdk', () => {
  let server;
  let model;
  let sent;  // the last request's body
  before(async () => {
    server = await startServer();
    model = createOpenAICompatible({
      name: 'tetrad', baseURL: `${server.url}/v1`, apiKey: 'none', includeUsage: true, supportsStructuredOutputs: true,
      fetch: (url, options) => { sent = JSON.parse(options.body); return fetch(url, options); } })('demo');
  });
  after(() => server.stop());

  const settings = (more) => ({ model, temperature: 0, maxRetries: 0, instructions: SYSTEM, ...more });

  test('generateText has text, reasoning and usage', async () => {
    const result = await generateText(settings({ prompt: SUM }));
    assert.match(result.text, /432/);
    assert.match(result.reasoningText, /carry/);
    assert.equal(result.finishReason, 'stop');
    assert.ok(result.usage.inputTokens > 10);
    assert.ok(result.usage.outputTokens > result.usage.outputTokenDetails.reasoningTokens);
    assert.ok(result.usage.outputTokenDetails.reasoningTokens > 10);
    const cut = await generateText(settings({ prompt: SUM, maxOutputTokens: 5 }));
    assert.equal(cut.finishReason, 'length');
  });

  test('streamText has reasoning first, then text, and adds up to the whole', async () => {
    const whole = await generateText(settings({ prompt: SUM }));
    const result = streamText(settings({ prompt: SUM }));
    const seen = { 'reasoning-delta': '', 'text-delta': '' };
    const order = [];
    for await (const part of result.fullStream) {
      assert.notEqual(part.type, 'error', String(part.error));
      if (!(part.type in seen)) continue;
      seen[part.type] += part.text;
      if (order.at(-1) !== part.type) order.push(part.type);
    }
    assert.deepEqual(order, ['reasoning-delta', 'text-delta']);
    assert.equal(seen['text-delta'], whole.text);
    assert.equal(seen['reasoning-delta'], whole.reasoningText);
    assert.equal((await result.usage).outputTokens, whole.usage.outputTokens);
  });

  test('tools are executed and their results lead to an answer, streamed or not', async () => {
    for (const run of [generateText, streamText]) {
      const called = [];
      const result = run(settings({ prompt: TWO_CITIES, tools: recordingTools(called), stopWhen: isStepCount(4) }));
      const { text, steps } = run === generateText
        ? await result : { text: await result.text, steps: await result.steps };
      assert.deepEqual(called, [['get_weather', { city: 'Berlin' }], ['get_weather', { city: 'Madrid' }]]);
      assert.equal(steps.length, 2);
      assert.equal(steps[0].finishReason, 'tool-calls');
      assert.match(text, /Berlin.*Madrid/s);
      assert.match(text, /21 degrees/);
      // The library sends the thinking of the first step back, and here it is read.
      const [assistant] = sent.messages.filter(({ role }) => role === 'assistant');
      assert.equal(assistant.reasoning_content, steps[0].reasoningText);
      assert.ok(assistant.reasoning_content.length > 20);
      assert.ok(steps[1].usage.inputTokens > steps[0].usage.inputTokens + 40);
    }
  });

  test('toolChoice required and a named tool', async () => {
    const ask = (toolChoice) => generateText(settings({ prompt: 'Hello!', tools: recordingTools([]), toolChoice }));
    const required = await ask('required');
    assert.ok(required.toolCalls.length > 0);
    const named = await ask({ type: 'tool', toolName: 'set_timer' });
    assert.deepEqual([...new Set(named.toolCalls.map(({ toolName }) => toolName))], ['set_timer']);
  });

  test('objects satisfy their schema at a high temperature, streamed or not', async () => {
    const schema = z.object({
      name: z.string().max(20), age: z.number().int().min(0).max(120), email: z.email(),
      tags: z.array(z.enum(['new', 'old', 'blue'])).max(3) });
    const more = { prompt: 'Write a JSON object with name Ada, age 36.', output: Output.object({ schema }),
      temperature: 1.5, maxOutputTokens: 300 };
    for (const seed of [1, 2, 3, 4]) {
      const { output } = await generateText(settings({ ...more, seed }));
      schema.parse(output);
      const streamed = streamText(settings({ ...more, seed }));
      assert.deepEqual(await streamed.output, output);
    }
    const choice = await generateText(settings({ ...more, output: Output.choice({ options: ['red', 'green'] }) }));
    assert.ok(['red', 'green'].includes(choice.output));
    const list = await generateText(settings({ ...more, output: Output.array({ element: z.boolean() }) }));
    assert.equal(validator({ type: 'array', items: { type: 'boolean' } })(list.output), null);
  });

  test('an object that does not fit is an error of the library, a bad schema one of the server', async () => {
    const output = (schema) => Output.object({ schema: jsonSchema(schema) });
    await assert.rejects(generateText(settings({ prompt: SUM, maxOutputTokens: 8,
      output: output({ type: 'string', minLength: 500 }) })), (error) => NoObjectGeneratedError.isInstance(error));
    await assert.rejects(generateText(settings({ prompt: SUM, output: output({ type: 'strin' }) })),
      (error) => APICallError.isInstance(error) && error.statusCode === 400
        && /json_schema\.schema\.type/.test(error.message));
  });

  test('an unknown model is an error that says so', async () => {
    const other = createOpenAICompatible({ name: 'tetrad', baseURL: `${server.url}/v1` })('gpt-5');
    await assert.rejects(generateText(settings({ model: other, prompt: 'x' })),
      (error) => APICallError.isInstance(error) && error.statusCode === 404 && /gpt-5/.test(error.message));
  });
});
