#!/usr/bin/env python3
"""The JSON-Schema-Test-Suite against our grammars: a schema is refused by name, or exactly the documents
that the suite calls valid are accepted.

usage: json_schema_suite.py SCHEMA_CASES [SUITE]
"""

import collections
import decimal
import json
import pathlib
import subprocess
import sys

DEFAULT_SUITE = "/usr/share/json-schema-test-suite/tests"
DIALECTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
# Formats that constrain; others are remarks.
FORMATS = {"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
# What is not about validity here, and why.
SKIPPED = {
    "optional/bignum.json",  # numbers that no double holds
    "optional/content.json",  # contentMediaType and contentEncoding are remarks
    "optional/ecmascript-regex.json",  # the format "regex" is one too
    "optional/format.json",  # all formats in one file
    "optional/zeroTerminatedFloats.json",  # draft 4's difference between 1 and 1.0
}
# Groups that compile, at least; fewer: something is refused that was not.
MIN_COMPILED = {"draft4": 73, "draft6": 97, "draft7": 111}


def number_text(number):
    """As the grammars write numbers: without an exponent, whole ones without a point."""
    if isinstance(number, float):
        value = decimal.Decimal(repr(number))
        if value == value.to_integral_value() and abs(value) < 10**40:
            return str(int(value))
        if abs(value.adjusted()) < 20:
            return format(value, "f")
    return repr(number)


def text(value):
    if isinstance(value, dict):
        return "{" + ", ".join(json.dumps(k, ensure_ascii=False) + ": " + text(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(text(v) for v in value) + "]"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return json.dumps(value, ensure_ascii=False)


def groups(suite, draft):
    folder = suite / draft
    for path in sorted(folder.glob("**/*.json")):
        name = path.relative_to(folder)
        if "format" in name.parts[:-1] and path.stem not in FORMATS:
            continue
        if str(name) in SKIPPED:
            continue
        for group in json.loads(path.read_text()):
            schema = group["schema"]
            if isinstance(schema, dict) and "$schema" not in schema:
                schema = {"$schema": DIALECTS[draft], **schema}
            yield str(name), group["description"], schema, group["tests"]


def main():
    program = sys.argv[1]
    suite = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else DEFAULT_SUITE)
    if not suite.is_dir():
        sys.exit(f"{suite} is missing: install json-schema-test-suite")
    failed = False
    for draft in DIALECTS:
        if not (suite / draft).is_dir():
            continue
        cases = list(groups(suite, draft))
        lines = [json.dumps({"schema": schema, "documents": [text(test["data"]) for test in tests]})
                 for _, _, schema, tests in cases]
        run = subprocess.run([program], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"{draft}: exit status {run.returncode}: {run.stderr}")
        answers = [json.loads(line) for line in run.stdout.split("\n") if line]
        if len(answers) != len(cases):
            sys.exit(f"{draft}: {len(answers)} answers to {len(cases)} cases")
        failed = judge(draft, cases, answers) or failed
    sys.exit(1 if failed else 0)


def judge(draft, cases, answers):
    refused = collections.Counter()
    compiled = documents = disagreements = 0
    for (name, description, _, tests), answer in zip(cases, answers):
        valid = [test["valid"] for test in tests]
        if "error" in answer:
            # What no document satisfies is refused too.
            if not answer["param"] and any(valid):
                print(f"{draft} {name}: {description}: an error without a param: {answer['error']}")
                disagreements += 1
            refused[answer["param"].rsplit(".", 1)[-1] or "(nothing matches)"] += 1
            if "-v" in sys.argv:
                print(f"  refused {name}: {description}: {answer['error']}")
            continue
        compiled += 1
        for test, accepted in zip(tests, answer["accepted"]):
            documents += 1
            if accepted != test["valid"]:
                disagreements += 1
                print(f"{draft} {name}: {description}: {test['description']}: {text(test['data'])} is "
                      f"{'accepted' if accepted else 'not accepted'}")
    print(f"{draft}: {compiled} of {len(cases)} groups compiled, {documents} documents, {disagreements} "
          f"disagreements; refused: {dict(refused.most_common())}")
    if compiled < MIN_COMPILED.get(draft, 0):
        print(f"{draft}: fewer groups compiled than the {MIN_COMPILED[draft]} there were")
        return True
    return disagreements > 0


if __name__ == "__main__":
    main()
