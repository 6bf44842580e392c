#!/usr/bin/env python3
"""Random JSON Schemas against python-jsonschema: a grammar accepts exactly the documents that are valid, and
what random walks through it write is valid.

usage: json_schema_differential.py SCHEMA_CASES SCHEMA_SAMPLES [SCHEMAS] [SEED]
"""

import collections
import json
import random
import subprocess
import sys

import jsonschema

from json_schema_suite import text

KEYS = ["a", "b", "ab"]
SCALARS = [None, True, False, 0, 1, 2, 3, 5, -1, 1.5, "", "a", "b", "ab", "ba", "aab", "é"]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object", ["string", "null"],
         ["object", "integer"], ["array", "object"]]
PATTERNS = ["a", "^a", "b$", "^(a|b)*$", "^ab?$"]
FIXED_DOCUMENTS = [[], {}, [1], ["a", "b"], ["a", "a"], {"a": 1}, {"a": 1, "b": 2}, {"b": None}, {"ab": "a", "b": []}]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def value(self, depth, inner=False):
        kind = self.random.random()
        if depth == 0 or kind < 0.6:
            # In a list, python-jsonschema 4.10 takes false for 0.
            return self.random.choice([scalar for scalar in SCALARS if not inner or not isinstance(scalar, bool)])
        if kind < 0.8:
            return [self.value(depth - 1, True) for _ in range(self.random.randrange(4))]
        return {key: self.value(depth - 1, True) for key in self.random.sample(KEYS, self.random.randrange(4))}

    def schema(self, depth):
        kind = self.random.random()
        if kind < 0.06:
            return self.random.choice([True, False, {}])
        if kind < 0.12:
            return {"$ref": "#/$defs/" + self.random.choice("xy")}
        result = {}
        for _ in range(self.random.choice([1, 1, 2, 2, 3, 4])):
            result.update(self.flat_keyword() if depth == 0 or self.random.random() < 0.5 else self.keyword(depth - 1))
        return result

    def document_schema(self):
        schema = self.schema(2)
        if isinstance(schema, dict):
            schema["$defs"] = {"x": self.schema(1), "y": self.schema(1)}
        return schema

    def flat_keyword(self):
        pick = self.random.choice
        return pick([
            lambda: {"type": pick(TYPES)},
            lambda: {"type": pick(TYPES)},
            lambda: {"enum": [self.value(1) for _ in range(pick([1, 2, 4]))]},
            lambda: {"const": self.value(1)},
            lambda: {pick(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]): pick([0, 1, 2, 1.5])},
            lambda: {"multipleOf": pick([1, 2, 0.5])},
            lambda: {pick(["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]):
                     pick([0, 1, 2])},
            lambda: {"pattern": pick(PATTERNS)},
            lambda: {"required": self.random.sample(KEYS, pick([1, 2]))},
            lambda: {"dependentRequired": {pick(KEYS): [pick(KEYS)]}},
            lambda: {"uniqueItems": pick([True, False])},
        ])()

    def keyword(self, depth):
        pick = self.random.choice
        return pick([
            lambda: {"properties": {key: self.schema(depth) for key in self.random.sample(KEYS, pick([1, 2, 3]))}},
            lambda: {"properties": {key: self.schema(depth) for key in self.random.sample(KEYS, pick([1, 2, 3]))}},
            lambda: {"patternProperties": {pick(PATTERNS): self.schema(depth)}},
            lambda: {"dependentSchemas": {pick(KEYS): self.schema(depth)}},
            lambda: {pick(["anyOf", "oneOf", "allOf", "prefixItems"]):
                     [self.schema(depth) for _ in range(pick([1, 2, 3]))]},
            # Not unevaluated…: python-jsonschema 4.10 fails on it.
            lambda: {pick(["additionalProperties", "propertyNames", "items", "contains", "not"]):
                     self.schema(depth)},
            lambda: {"if": self.schema(depth), "then": self.schema(depth), "else": self.schema(depth)},
        ])()


def run(command, lines):
    result = subprocess.run(command, input="\n".join(map(json.dumps, lines)) + "\n", capture_output=True, text=True,
                            check=False)
    answers = [json.loads(line) for line in result.stdout.split("\n") if line]
    if result.returncode != 0 or len(answers) != len(lines):
        sys.exit(f"{command}: exit status {result.returncode}, {len(answers)} answers to {len(lines)} lines: "
                 f"{result.stderr}")
    return answers


def is_valid(validator, document):
    """None: this schema refers to itself without an end, which nobody needed to know."""
    try:
        return validator.is_valid(document)
    except RecursionError:
        return None


def main():
    cases, samples = sys.argv[1:3]
    num_schemas = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    generator = Generator(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    documents = SCALARS + FIXED_DOCUMENTS + [generator.value(2) for _ in range(120)]
    texts = [text(document) for document in documents]
    schemas = [generator.document_schema() for _ in range(num_schemas)]
    judged = run([cases], [{"schema": schema, "documents": texts} for schema in schemas])
    written = run([samples, "5"], [{"schema": schema} for schema in schemas])
    refused = collections.Counter()
    faults = 0
    for schema, answer, sampled in zip(schemas, judged, written):
        validator = jsonschema.Draft202012Validator(schema)
        if "error" in answer:
            refused[answer["param"].rsplit(".", 1)[-1] or "(nothing matches)"] += 1
        accepted = answer.get("accepted", [False] * len(documents) if not answer.get("param") else [])
        wrong = [written for document, written, ours in zip(documents, texts, accepted)
                 if is_valid(validator, document) not in (None, ours)]
        wrong += [sample for sample in sampled.get("samples", []) if is_valid(validator, json.loads(sample)) is False]
        if wrong:
            faults += 1
            print(f"{json.dumps(schema)}: judged wrongly: {wrong[:3]}")
    compiled = num_schemas - sum(refused.values())
    print(f"{compiled} of {num_schemas} schemas compiled, {faults} of them wrong; refused: {dict(refused.most_common())}")
    sys.exit(1 if faults > 0 or compiled < num_schemas // 2 else 0)


if __name__ == "__main__":
    main()
