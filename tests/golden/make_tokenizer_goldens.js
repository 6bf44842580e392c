// Writes tokenizer_variants.json and tokenizer_decode.json: what Hugging Face's tokenizers does with
// small tokenizer files that use features the demo model's file does not, and with ids whose bytes
// are not UTF-8. Run once, the results are committed:
//   npm install --prefix /tmp/oracle tokenizers@0.23.2
//   NODE_PATH=/tmp/oracle/node_modules node tests/golden/make_tokenizer_goldens.js
const fs = require('fs');
const path = require('path');
const { Tokenizer } = require('tokenizers');

const DEMO = path.join(__dirname, '../../models/tetrad-demo-mxfp4_16/tokenizer.json');
const demo = JSON.parse(fs.readFileSync(DEMO));
const O200K = demo.pre_tokenizer.pretokenizers[0].pattern.Regex;
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = '|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const CL100K = CONTRACTIONS + '|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*' + SPACES;
const QWEN2 = CL100K.replace('{1,3}', '');

// A repeatable random number below n.
let state = 1;
function below(n) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 4294967296) * n);
}
const pick = (list) => list[below(list.length)];

// The demo's 256 bytes and its first merges, which make pieces of several tokens.
function variant(name, { expression, addedTokens = [], moreVocab = [], model = {}, legacyMerges = false }) {
  const vocab = {};
  for (const [token, id] of Object.entries(demo.model.vocab)) if (id < 256) vocab[token] = id;
  const merges = demo.model.merges.slice(0, 60);
  for (const [a, b] of merges) vocab[a + b] = Object.keys(vocab).length;
  for (const token of moreVocab) vocab[token] ??= Object.keys(vocab).length;
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: !expression };
  const split = { type: 'Split', pattern: { Regex: expression }, behavior: 'Isolated', invert: false };
  let next = Object.keys(vocab).length;
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return {
    name,
    tokenizer: {
      version: '1.0', truncation: null, padding: null,
      added_tokens: addedTokens.map((t) => ({ id: vocab[t.content] ?? next++, ...flags, ...t })),
      normalizer: null,
      pre_tokenizer: expression ? { type: 'Sequence', pretokenizers: [split, byteLevel] } : byteLevel,
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '',
        fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab,
        merges: legacyMerges ? merges.map((m) => m.join(' ')) : merges, ...model,
      },
    },
  };
}

const variants = [
  variant('gpt2, merges as strings, added tokens of every kind', {
    legacyMerges: true,
    moreVocab: ['<in-vocab>', 'not bytes: 日'],
    addedTokens: [
      { content: '<in-vocab>', special: false },
      { content: '<a>' }, { content: '<a>b' }, { content: '<a>bcd' },
      { content: '<left>', lstrip: true }, { content: '<right>', rstrip: true },
      { content: '<both>', lstrip: true, rstrip: true, special: false },
      { content: 'normal', normalized: true, special: false }, { content: 'al<a', normalized: true },
      { content: 'é', special: false }, { content: '日本 x', special: false },
    ],
  }),
  variant('cl100k, ignore_merges', {
    expression: CL100K, model: { ignore_merges: true },
    moreVocab: ['Ġwhole', 'whole', '123', 'é', 'Ã©', "'LL", 'the', 'ing'],
  }),
  variant('qwen2', { expression: QWEN2, addedTokens: [{ content: '<|im_end|>' }] }),
  variant('o200k without the slash', { expression: O200K.replace('[\\r\\n/]*', '[\\r\\n]*') }),
];

const FRAGMENTS = ['the', ' the', 'in', 'ing', ' a', 'whole', ' whole', 'é', 'ñ', 'e\u0301', '日本', ' x', '한', '😀',
  '\u0130', '\u01c5', '\u017f', "'s", "'S", "'LL", "'\u017f", "'ve", '1', '123', '½', '\u0e01\u0e34', '\u0915\u094d\u0937',
  ' ', '  ', '\t', '\n', '\r\n', '\u00a0', '\u0085', '\u180e', '\u2028', '\u3000', '/', '//', '.', '...', ' !', '_', '-', '\u0000',
  '\u200b', '\ufffd', '\ue000', '\u{10ffff}'];

function randomText(added) {
  let text = '';
  for (let n = 1 + below(14); n > 0; --n) {
    if (added.length > 0 && below(4) === 0) {
      const token = pick(added).content;
      text += below(4) === 0 ? token.slice(0, below(token.length)) : token;
    } else {
      text += pick(FRAGMENTS);
    }
  }
  return text;
}

async function casesOf(tokenizerJson) {
  const tokenizer = Tokenizer.fromString(JSON.stringify(tokenizerJson));
  const cases = [];
  for (let i = 0; i < 120; ++i) {
    const text = randomText(tokenizerJson.added_tokens);
    const ids = (await tokenizer.encode(text, null, { addSpecialTokens: false })).getIds();
    cases.push({
      text, ids,
      decoded: await tokenizer.decode(ids, false),
      decoded_skip_special: await tokenizer.decode(ids, true),
    });
  }
  return cases;
}

async function decodings() {
  const tokenizer = Tokenizer.fromFile(DEMO);
  const highBytes = Object.entries(demo.model.vocab)
    .filter(([token]) => [...token].some((c) => c > '~')).map(([, id]) => id);
  const cases = [];
  for (let i = 0; i < 300; ++i) {
    const ids = [];
    // Up to 6140: the last ids have no token.
    for (let n = below(16); n > 0; --n) ids.push(below(4) ? pick(highBytes) : below(6140));
    cases.push({
      ids,
      decoded: await tokenizer.decode(ids, false),
      decoded_skip_special: await tokenizer.decode(ids, true),
    });
  }
  return cases;
}

// One case a line, so that a difference between two versions can be read.
const lines = (list) => '[\n' + list.map((item) => JSON.stringify(item)).join(',\n') + '\n]';

(async () => {
  const parts = [];
  for (const { name, tokenizer } of variants) {
    parts.push(`{"name": ${JSON.stringify(name)},\n"tokenizer": ${JSON.stringify(tokenizer)},\n"cases": ` +
      `${lines(await casesOf(tokenizer))}}`);
  }
  fs.writeFileSync(path.join(__dirname, 'tokenizer_variants.json'), '[' + parts.join(',\n') + ']\n');
  fs.writeFileSync(path.join(__dirname, 'tokenizer_decode.json'), lines(await decodings()) + '\n');
})();
