// Checks regex_cases.json, which Python has written, against a second implementation: that of
// ECMA-262 with the flag u, to which JSON Schema's "pattern" refers.
//
//     node tests/grammar/check_regex_cases.js
//
// Exit status 1 if the two differ. Syntax that only Python has is counted, and may not be much.

const fs = require("fs");
const path = require("path");

const cases = JSON.parse(fs.readFileSync(path.join(__dirname, "regex_cases.json")));
let checked = 0;
let foreign = 0;
let wrong = 0;
for (const { pattern, texts, whole, search } of cases) {
  let expressions;
  try {
    expressions = [new RegExp(`^(?:${pattern})$`, "u"), new RegExp(pattern, "u")];
  } catch {
    ++foreign;
    continue;
  }
  texts.forEach((text, i) => {
    [whole, search].forEach((truth, kind) => {
      ++checked;
      if (expressions[kind].test(text) === (truth[i] === "1")) return;
      ++wrong;
      console.log(`${pattern} on ${JSON.stringify(text)}: Python says ${truth[i]}`);
    });
  });
}
console.log(`${checked} checked, ${wrong} wrong, ${foreign} patterns left out`);
process.exit(wrong > 0 || foreign > 10 || checked < 10000 ? 1 : 0);
