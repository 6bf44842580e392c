#!/usr/bin/python3
"""Renders many templates with Jinja2 and with tetrad and compares every byte.

Usage: differential.py RENDER_CASES
RENDER_CASES is the program of render_cases.cpp. Jinja2 is set up as transformers sets it up for
chat templates. A template that Jinja2 refuses must be refused by tetrad too.
"""

import json
import pathlib
import subprocess
import sys
from datetime import datetime

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
LEAST_PAIRS = 300


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}: its body is rendered as a block of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("render_body")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def render_body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def reference_environment():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return environment


def all_cases():
    """Yields (name, template, context)."""
    for path in sorted((HERE / "cases").glob("*.json")):
        cases = json.loads(path.read_text(encoding="utf-8"))
        for number, template in enumerate(cases["templates"]):
            yield f"{path.name}[{number}]", template, cases["context"]
    conversations = json.loads((HERE / "conversations.json").read_text(encoding="utf-8"))
    ours = (HERE.parent.parent / "models").glob("*/chat_template.jinja")
    for path in sorted((HERE / "templates").glob("*.jinja")) + sorted(ours):
        template = path.read_bytes().decode("utf-8")
        for name, context in conversations.items():
            yield f"{path.name} × {name}", template, context


def reference(environment, template, context):
    """The text, or None and why there is none."""
    try:
        text = environment.from_string(template).render(**context)
        text.encode("utf-8")
        return text, None
    except Exception as error:  # whatever Python raises, the template is refused
        return None, f"{type(error).__name__}: {error}"


def main():
    (program,) = sys.argv[1:]
    environment = reference_environment()
    cases = list(all_cases())
    lines = [json.dumps({"template": t, "context": c}, ensure_ascii=False) for _, t, c in cases]
    run = subprocess.run(
        [program], input="\n".join(lines) + "\n", stdout=subprocess.PIPE, text=True,
        encoding="utf-8", check=True,
    )
    answers = [json.loads(line) for line in run.stdout.rstrip("\n").split("\n")]
    if len(answers) != len(cases):
        sys.exit(f"{len(cases)} cases, but {len(answers)} answers")

    rendered = refused = wrong = 0
    for (name, template, context), answer in zip(cases, answers):
        expected, reason = reference(environment, template, context)
        # Feature cases must render in Jinja2, error cases must not; conversations may do either.
        may_fail = name.startswith("errors.json") or " × " in name
        may_render = not name.startswith("errors.json")
        is_sound = may_fail if expected is None else may_render
        if expected == answer.get("rendered") and is_sound:
            rendered += expected is not None
            refused += expected is None
            continue
        wrong += 1
        print(f"--- {name}\n{template if len(template) < 400 else '(long template)'}")
        print(f"Jinja2: {expected!r}" if reason is None else f"Jinja2 refuses: {reason}")
        print(f"tetrad: {answer}")
    print(f"{len(cases)} pairs: {rendered} rendered alike, {refused} refused by both, {wrong} wrong")
    if wrong or len(cases) < LEAST_PAIRS:
        sys.exit(1)


if __name__ == "__main__":
    main()
