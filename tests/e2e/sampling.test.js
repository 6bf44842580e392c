// Requests that shape the choice of tokens, or ask about it, with the official client.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { eventually, MODEL, startServer, startServerFor, user } from './server.js';

const VOCABULARY = JSON.parse(readFileSync(`${MODEL}/tokenizer.json`)).model.vocab;
const SUN = VOCABULARY['\u0120sun'];  // with the space before it, as byte-level BPE writes it
const MOON = VOCABULARY['\u0120moon'];
const LONG_PROMPT = 'The sun is a star. '.repeat(10);

/** The choices of a stream, put together, by index. */
async function foldChoices(stream) {
  const choices = [];
  let usage = null;
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    for (const { index, text, delta, logprobs, finish_reason } of chunk.choices) {
      choices[index] ??= { text: '', content: [], finish_reason: null };
      const choice = choices[index];
      choice.text += text ?? delta?.content ?? '';
      choice.content.push(...(logprobs?.content ?? []));
      if (logprobs?.tokens) {
        choice.logprobs ??= { text_offset: [], token_logprobs: [], tokens: [], top_logprobs: [] };
        for (const [name, list] of Object.entries(choice.logprobs)) list.push(...logprobs[name]);
      }
      choice.finish_reason = finish_reason ?? choice.finish_reason;
    }
  }
  return { choices, usage };
}

describe('sampling', () => {
  let server;
  let client;
  before(async () => {
    server = await startServer();
    client = server.client();
  });
  after(() => server.stop());

  const chat = (more) => client.chat.completions.create(
    { model: 'demo', messages: user('What is 47 + 385?'), temperature: 0, ...more });
  const complete = (more) => client.completions.create(
    { model: 'demo', prompt: 'The sun', temperature: 0, max_tokens: 8, ...more });
  const refused = async (request, param) => {
    const error = await request.then(() => assert.fail('accepted'), (e) => e);
    assert.ok(error instanceof OpenAI.BadRequestError, String(error));
    assert.equal(error.param, param);
  };

  test('log probabilities of a chat fit its tokens', async () => {
    const completion = await chat({ logprobs: true, top_logprobs: 3 });
    const [{ message, logprobs }] = completion.choices;
    assert.equal(logprobs.content.length, completion.usage.completion_tokens);
    for (const token of logprobs.content) {
      assert.equal(token.top_logprobs.length, 3);
      // Greedy: the likeliest is the one that was taken.
      assert.deepEqual(token.top_logprobs[0], { token: token.token, logprob: token.logprob, bytes: token.bytes });
      const [first, second, third] = token.top_logprobs.map((top) => Math.exp(top.logprob));
      assert.ok(first >= second && second >= third && first + second + third <= 1 + 1e-5);
    }
    const bytes = Buffer.from(logprobs.content.flatMap((token) => token.bytes));
    assert.ok(bytes.toString().includes(message.content));
    const streamed = await foldChoices(await chat({ logprobs: true, top_logprobs: 3, stream: true }));
    assert.deepEqual(streamed.choices[0].content, logprobs.content);
    const alone = (await chat({ logprobs: true })).choices[0].logprobs.content;
    assert.deepEqual(alone.map((token) => token.logprob), logprobs.content.map((token) => token.logprob));
    assert.deepEqual(alone[0].top_logprobs, []);
    assert.equal((await chat({})).choices[0].logprobs, null);
  });

  test('log probabilities are of the model, not of the sampling', async () => {
    const plain = (await complete({ logprobs: 2 })).choices[0];
    const shaped = (await complete({ logprobs: 2, temperature: 0.01, seed: 1, logit_bias: { 5: -3 } })).choices[0];
    assert.equal(shaped.text, plain.text);
    assert.deepEqual(shaped.logprobs, plain.logprobs);
  });

  test('log probabilities of a completion, whole and streamed', async () => {
    const [{ text, logprobs }] = (await complete({ logprobs: 2 })).choices;
    assert.equal(logprobs.tokens.length, 8);
    assert.equal(logprobs.tokens.join(''), text);
    logprobs.tokens.forEach((token, i) => {
      assert.ok(text.startsWith(token, logprobs.text_offset[i]));
      assert.equal(logprobs.top_logprobs[i][token], logprobs.token_logprobs[i]);
      assert.equal(Object.keys(logprobs.top_logprobs[i]).length, 2);
    });
    const streamed = await foldChoices(await complete({ logprobs: 2, stream: true }));
    assert.deepEqual(streamed.choices[0].logprobs, logprobs);
    assert.equal(streamed.choices[0].text, text);
  });

  test('echo puts the prompt in front, with its log probabilities', async () => {
    const plain = (await complete({ logprobs: 1 })).choices[0];
    const echoed = (await complete({ logprobs: 1, echo: true })).choices[0];
    assert.equal(echoed.text, `The sun${plain.text}`);
    assert.equal(echoed.logprobs.tokens.join(''), echoed.text);
    assert.equal(echoed.logprobs.token_logprobs[0], null);
    assert.equal(echoed.logprobs.top_logprobs[0], null);
    const numPromptTokens = echoed.logprobs.tokens.length - 8;
    assert.deepEqual(echoed.logprobs.token_logprobs.slice(numPromptTokens), plain.logprobs.token_logprobs);
    assert.ok(echoed.logprobs.token_logprobs.slice(1).every((logprob) => logprob <= 0));
    const streamed = await foldChoices(await complete({ logprobs: 1, echo: true, stream: true }));
    assert.deepEqual(streamed.choices[0].logprobs, echoed.logprobs);
    assert.equal(streamed.choices[0].text, echoed.text);
    assert.equal((await complete({ echo: true })).choices[0].text, echoed.text);
  });

  test('a text is scored by echo without new tokens', async () => {
    const { choices: [generated] } = await complete({ logprobs: 0 });
    const { choices: [scored], usage } = await complete(
      { prompt: `The sun${generated.text}`, logprobs: 0, echo: true, max_tokens: 0 });
    assert.equal(scored.text, `The sun${generated.text}`);
    assert.equal(scored.finish_reason, 'length');
    assert.equal(usage.completion_tokens, 0);
    // The same tokens, read instead of written, are as likely.
    const last = scored.logprobs.token_logprobs.slice(-8);
    assert.deepEqual(scored.logprobs.tokens.slice(-8), generated.logprobs.tokens);
    last.forEach((logprob, i) => assert.ok(Math.abs(logprob - generated.logprobs.token_logprobs[i]) < 1e-4));
    await refused(complete({ max_tokens: 0 }), 'max_tokens');
  });

  test('prompt_logprobs stand where vLLM has them', async () => {
    const { prompt_logprobs: ofChat, usage } = await chat({ prompt_logprobs: 2, max_tokens: 1 });
    assert.equal(ofChat.length, usage.prompt_tokens);
    const { choices: [{ prompt_logprobs: positions }] } = await complete({ prompt_logprobs: 2 });
    assert.equal(positions[0], null);
    for (const position of [...ofChat, ...positions]) {
      if (position === null) continue;
      const entries = Object.values(position);
      assert.ok(entries.length === 2 || entries.length === 3);
      for (const { logprob, rank, decoded_token } of entries) {
        assert.ok(logprob <= 0 && rank >= 1 && typeof decoded_token === 'string');
      }
    }
    await refused(complete({ prompt_logprobs: 1, stream: true }), 'prompt_logprobs');
  });

  test('n answers, whole and streamed, each with its own seed', async () => {
    const more = { temperature: 1.5, top_k: -1, top_p: 1, seed: 7, n: 3 };
    const whole = await complete(more);
    assert.deepEqual(whole.choices.map(({ index }) => index), [0, 1, 2]);
    const texts = whole.choices.map(({ text }) => text);
    assert.equal(new Set(texts).size, 3);
    assert.equal(whole.usage.completion_tokens, 24);
    for (const seed of [7, 8, 9]) {
      assert.equal((await complete({ ...more, seed, n: 1 })).choices[0].text, texts[seed - 7]);
    }
    const streamed = await foldChoices(
      await complete({ ...more, stream: true, stream_options: { include_usage: true } }));
    assert.deepEqual(streamed.choices.map(({ text }) => text), texts);
    assert.deepEqual(streamed.choices.map(({ finish_reason }) => finish_reason), ['length', 'length', 'length']);
    assert.equal(streamed.usage.completion_tokens, 24);
    assert.equal(streamed.usage.prompt_tokens, whole.usage.prompt_tokens);
    const chats = await chat({ n: 2, max_tokens: 4 });
    assert.equal(chats.choices.length, 2);
    assert.deepEqual(chats.choices[0].message, chats.choices[1].message);  // greedy
    await refused(complete({ n: 17 }), 'n');
  });

  test('who goes away takes all answers along', async () => {
    const stream = await client.chat.completions.create({
      model: 'demo', messages: user('Hello!'), n: 5, stream: true, ignore_eos: true, max_tokens: 3000 });
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.reasoning) break;  // closes the connection
    }
    await eventually(async () => (await server.load()).running === 0, 'five requests cancelled');
  });

  test('logit_bias and allowed_token_ids force a token, bad_words forbid one', async () => {
    const forced = await complete({ logit_bias: { [SUN]: 100 }, max_tokens: 4 });
    assert.equal(forced.choices[0].text, ' sun sun sun sun');
    const allowed = await complete({ allowed_token_ids: [SUN], temperature: 1, max_tokens: 4 });
    assert.equal(allowed.choices[0].text, ' sun sun sun sun');
    const text = (await complete({})).choices[0].text;
    const word = /[a-z]{2,}/.exec(text)[0];
    const without = (await complete({ bad_words: [word] })).choices[0].text;
    assert.ok(!without.split(/\W+/).includes(word), `${word} in ${without}`);
    await refused(complete({ logit_bias: { 99999999: 1 } }), 'logit_bias');
    await refused(complete({ logit_bias: { x: 1 } }), 'logit_bias');
    await refused(complete({ allowed_token_ids: [] }), 'allowed_token_ids');
    const nothing = { allowed_token_ids: [SUN], stop_token_ids: [SUN], min_tokens: 2 };
    await refused(complete(nothing), null);
  });

  test('penalties keep tokens from coming again', async () => {
    const between = { allowed_token_ids: [SUN, MOON], max_tokens: 12 };
    const texts = [];
    for (const more of [{}, { frequency_penalty: 2 },
      { repetition_penalty: 100, logit_bias: { [SUN]: 50, [MOON]: 50 } }]) {
      texts.push((await complete({ ...between, ...more })).choices[0].text);
    }
    assert.ok(!texts[0].includes(' sun') || !texts[0].includes(' moon'), texts[0]);
    for (const text of texts.slice(1)) assert.ok(text.includes(' sun') && text.includes(' moon'), text);
    const many = (await complete({ max_tokens: 100, ignore_eos: true, logprobs: 0 })).choices[0].logprobs.tokens;
    const penalised = (await complete({ max_tokens: 100, ignore_eos: true, logprobs: 0, presence_penalty: 2,
      frequency_penalty: 2 })).choices[0].logprobs.tokens;
    assert.ok(new Set(penalised).size > new Set(many).size);
    await refused(complete({ frequency_penalty: 3 }), 'frequency_penalty');
    await refused(complete({ repetition_penalty: 0 }), 'repetition_penalty');
  });

  test('min_tokens keeps the end away, include_stop_str_in_output shows the stop', async () => {
    const whole = await chat({});
    const longer = await chat({ min_tokens: whole.usage.completion_tokens + 5 });
    assert.ok(longer.usage.completion_tokens > whole.usage.completion_tokens + 4);
    const text = (await complete({})).choices[0].text;
    const stop = text.slice(5, 8);
    const [shown] = (await complete({ stop, include_stop_str_in_output: true })).choices;
    assert.equal(shown.text, text.slice(0, text.indexOf(stop) + 3));
    assert.equal(shown.stop_reason, stop);
    const [late] = (await complete({ stop, min_tokens: 8 })).choices;
    assert.equal(late.text, text);
    await refused(complete({ min_tokens: 9 }), 'min_tokens');
  });

  test('prefixes are shared within a cache_salt, and change no answer', async () => {
    const ask = async (more) => {
      const { choices, usage } = await complete({ prompt: LONG_PROMPT, ...more });
      return [usage.prompt_tokens_details.cached_tokens, choices[0].text];
    };
    const [cold, text] = await ask({ cache_salt: 'a', priority: -1 });
    assert.equal(cold, 0);
    const [warm, sameText] = await ask({ cache_salt: 'a' });
    assert.ok(warm >= 16);
    assert.equal(sameText, text);
    assert.deepEqual(await ask({ cache_salt: 'b' }), [0, text]);
    assert.deepEqual(await ask({}), [0, text]);
    await refused(complete({ cache_salt: '' }), 'cache_salt');
    await refused(complete({ priority: 'high' }), 'priority');
  });
});

test('clients with different API keys share no prefixes', async (t) => {
  const server = await startServerFor(t, { args: ['--api-key', 'first', '--api-key', 'second'] });
  const cached = async (apiKey) => {
    const { usage } = await server.client({ apiKey }).completions.create(
      { model: 'demo', prompt: LONG_PROMPT, max_tokens: 1 });
    return usage.prompt_tokens_details.cached_tokens;
  };
  assert.equal(await cached('first'), 0);
  assert.equal(await cached('second'), 0);
  assert.ok(await cached('first') >= 16);
  assert.ok(await cached('second') >= 16);
});

test('more answers than sequences that run at once wait for their turn', async (t) => {
  const server = await startServerFor(t, { args: ['--max-num-seqs', '2'] });
  const completion = await server.client().completions.create(
    { model: 'demo', prompt: 'The', n: 6, temperature: 0, max_tokens: 3 });
  assert.equal(completion.choices.length, 6);
  assert.equal((await server.load()).waiting, 0);
});
