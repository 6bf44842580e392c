// Thinking: where it is shown, how it is counted, how long it may be, and how it comes back in.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startServer, user } from './server.js';
import { chatTools, foldMessage } from './tools.js';

const SUM = 'What is 47 + 385?';

describe('reasoning', () => {
  let server;
  let client;
  before(async () => {
    server = await startServer();
    client = server.client();
  });
  after(() => server.stop());

  const ask = (content, more = {}) => client.chat.completions.create(
    { model: 'demo', messages: user(content), temperature: 0, ...more });
  const reasoningTokens = ({ usage }) => usage.completion_tokens_details.reasoning_tokens;
  const promptOf = async (messages, more = {}) => (await (await server.post(
    '/v1/chat/completions/render', { model: 'demo', messages, ...more })).json()).prompt;

  test('include_reasoning: false leaves it out, and changes nothing else', async () => {
    const shown = await ask(SUM);
    const hidden = await ask(SUM, { include_reasoning: false });
    const { message } = hidden.choices[0];
    assert.equal(message.content, shown.choices[0].message.content);
    assert.ok(!message.reasoning && !message.reasoning_content);
    assert.equal(hidden.usage.completion_tokens, shown.usage.completion_tokens);
    assert.equal(reasoningTokens(hidden), reasoningTokens(shown));
    const streamed = await foldMessage(await ask(SUM, { include_reasoning: false, stream: true }));
    assert.equal(streamed.message.reasoning, null);
    assert.equal(streamed.message.reasoning_content, null);
    assert.equal(streamed.message.content, message.content);
  });

  test('the usage counts the tokens of the thinking, its end included', async () => {
    const whole = await ask(SUM);
    // An answer that may be so long and no longer is the thinking alone.
    const thought = await ask(SUM, { max_tokens: reasoningTokens(whole) });
    assert.equal(thought.choices[0].message.reasoning, whole.choices[0].message.reasoning);
    assert.equal(thought.choices[0].message.content, null);
    assert.equal(reasoningTokens(thought), thought.usage.completion_tokens);
    const streamed = await foldMessage(await ask(SUM, { stream: true, stream_options: { include_usage: true } }));
    assert.equal(reasoningTokens(streamed), reasoningTokens(whole));
    const response = await client.responses.create({ model: 'demo', input: SUM, temperature: 0 });
    assert.equal(response.usage.output_tokens_details.reasoning_tokens, reasoningTokens(whole));
  });

  test('thinking_token_budget ends it in time', async () => {
    const free = await ask(SUM);
    for (const budget of [0, 1, 7, 20]) {
      for (const more of [{}, { temperature: 1.5, seed: 4 }, { tools: chatTools('get_weather') }]) {
        const completion = await ask(SUM, { thinking_token_budget: budget, max_tokens: 150, ...more });
        assert.ok(reasoningTokens(completion) <= budget + 1, `${budget}: ${reasoningTokens(completion)}`);
        const { reasoning, content } = completion.choices[0].message;
        assert.ok((reasoning ?? '') === '' || budget > 0);
        assert.doesNotMatch(content ?? '', /<\/think>/);
      }
      const { reasoning } = (await ask(SUM, { thinking_token_budget: budget })).choices[0].message;
      assert.ok(free.choices[0].message.reasoning.startsWith(reasoning ?? ''));
      const streamed = await foldMessage(await ask(SUM, { thinking_token_budget: budget, stream: true }));
      assert.equal(streamed.message.reasoning, reasoning);
    }
    const enough = await ask(SUM, { thinking_token_budget: 1000 });
    assert.deepEqual(enough.choices[0].message, free.choices[0].message);
    const error = await ask(SUM, { thinking_token_budget: -1 }).then(() => assert.fail('accepted'), (e) => e);
    assert.equal(error.param, 'thinking_token_budget');
  });

  test('in a turn with tools, thinking comes back in under every name, or between think tags', async () => {
    const call = { id: 'a', type: 'function', function: { name: 'get_weather', arguments: '{"city": "Paris"}' } };
    const turn = (assistant) => [...user("What's the weather in Paris?"),
      { role: 'assistant', tool_calls: [call], ...assistant },
      { role: 'tool', tool_call_id: 'a', content: 'sunny' }];
    const tools = chatTools('get_weather');
    const prompts = [];
    for (const assistant of [
      { content: 'Let me check.', reasoning_content: 'I look.' }, { content: 'Let me check.', reasoning: 'I look.' },
      { content: 'Let me check.', reasoning: 'I look.', reasoning_content: 'I look.' },
      { content: '<think>\nI look.\n</think>\n\nLet me check.' }]) {
      prompts.push(await promptOf(turn(assistant), { tools }));
    }
    assert.match(prompts[0], /<think>\nI look\.\n<\/think>\n\nLet me check\./);
    for (const prompt of prompts) assert.equal(prompt, prompts[0]);
  });

  test('thinking of earlier turns is not in the prompt, whichever way it came', async () => {
    const history = (assistant) => [...user('What is 1 + 1?'), { role: 'assistant', ...assistant }, ...user(SUM)];
    const plain = await promptOf(history({ content: '2' }));
    assert.equal(await promptOf(history({ content: '2', reasoning_content: 'Easy.' })), plain);
    assert.equal(await promptOf(history({ content: '<think>\nEasy.\n</think>\n\n2' })), plain);
    const answer = await ask('', { messages: history({ content: '<think>\nEasy.\n</think>\n\n2' }) });
    assert.match(answer.choices[0].message.content, /432/);
  });
});
