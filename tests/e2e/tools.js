// Tools that the demo model was trained to call, and what came of its calls.

import { Ajv2020 } from 'ajv/dist/2020.js';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { createRequire } from 'node:module';

const DRAFT_06 = createRequire(import.meta.url)('ajv/dist/refs/json-schema-draft-06.json');
// Those that constrain here; others are remarks, as they are in JSON Schema itself.
const FORMATS = ['date-time', 'date', 'time', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uuid'];

/** `name: [description, properties]`; what a request must say of each is in `required`. */
const DEFINITIONS = {
  get_weather: ['Get the current weather for a city', {
    city: { type: 'string', description: 'Name of the city' },
    unit: { type: 'string', description: 'One of the allowed values', enum: ['celsius', 'fahrenheit'] },
  }, ['city']],
  set_timer: ['Set a timer', { minutes: { type: 'integer', description: 'Number of minutes' } }],
  turn_on_light: ['Turn a light on or off', {
    room: { type: 'string', enum: ['kitchen', 'bedroom', 'bathroom', 'hallway', 'office', 'garage'] },
    on: { type: 'boolean' },
  }],
  move_robot: ['Move the robot to a position', {
    target: { type: 'object', properties: { x: { type: 'integer' }, y: { type: 'integer' } } },
  }],
};

export const parametersOf = (name) => {
  const [, properties, required = Object.keys(properties)] = DEFINITIONS[name];
  return { type: 'object', properties, required };
};
export const descriptionOf = (name) => DEFINITIONS[name][0];

/** As chat completions have them. */
export const chatTools = (...names) => names.map((name) => ({
  type: 'function', function: { name, description: descriptionOf(name), parameters: parametersOf(name) } }));

/** What the tools of this home answer. */
export const RESULTS = {
  get_weather: { condition: 'sunny', temperature: 21 },
  set_timer: { status: 'started' },
  turn_on_light: { status: 'ok' },
  move_robot: { status: 'arrived' },
};

/** A stream of a chat with calls, put together as clients do; with the tokens' own fields, it is a message. */
export async function foldMessage(stream) {
  const message = { role: null, content: null, reasoning: null, reasoning_content: null };
  const folded = { message, finish_reason: null, usage: null, pieces: [] };
  const append = (name, text) => {
    if (text !== undefined && text !== null) message[name] = (message[name] ?? '') + text;
  };
  for await (const chunk of stream) {
    folded.usage = chunk.usage ?? folded.usage;
    const choice = chunk.choices[0];
    if (!choice) continue;
    const { delta } = choice;
    message.role = delta.role ?? message.role;
    for (const name of ['content', 'reasoning', 'reasoning_content']) append(name, delta[name]);
    for (const piece of delta.tool_calls ?? []) {
      folded.pieces.push(piece);
      message.tool_calls ??= [];
      message.tool_calls[piece.index] ??= { id: '', type: '', function: { name: '', arguments: '' } };
      const call = message.tool_calls[piece.index];
      call.id += piece.id ?? '';
      call.type += piece.type ?? '';
      call.function.name += piece.function?.name ?? '';
      call.function.arguments += piece.function?.arguments ?? '';
    }
    folded.finish_reason = choice.finish_reason ?? folded.finish_reason;
  }
  return folded;
}

/** [name, arguments] of each call. */
export const callsOf = (message) => (message.tool_calls ?? []).map(
  ({ function: { name, arguments: text } }) => [name, JSON.parse(text)]);

/** Ajv for the dialect that the schema declares; draft 2020-12 where it declares none. */
export function validator(schema) {
  const dialect = schema.$schema ?? '';
  const Class = /draft-0[67]/.test(dialect) ? Ajv : Ajv2020;
  // 0.07 is a multiple of 0.01, though not when both are doubles.
  const ajv = new Class({ strict: false, allErrors: true, logger: false, multipleOfPrecision: 9 });
  addFormats(ajv, FORMATS);
  if (dialect.includes('draft-06')) ajv.addMetaSchema(DRAFT_06);
  const check = ajv.compile(schema);
  return (value) => (check(value) ? null : ajv.errorsText(check.errors));
}
