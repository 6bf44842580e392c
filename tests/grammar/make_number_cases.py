#!/usr/bin/python3
"""Writes number_cases.json: sets of numbers, texts, and which of the texts are in a set by Python's
exact decimals.

    tests/grammar/make_number_cases.py > tests/grammar/number_cases.json

A case: integer, min, max, multiple_of (JSON values or null), exclusive_min, exclusive_max; texts;
allowed, a 0 or 1 a text. Next to an exclusive bound of numbers that are not integers, a text is
allowed if the double that it reads back as is on the right side.
"""

import json
import math
import random
import re
from decimal import Decimal, getcontext

getcontext().prec = 1000
PLAIN = re.compile(r"-?(0|[1-9][0-9]{0,39})(\.[0-9]{1,20})?")
INTEGER = re.compile(r"0|-?[1-9][0-9]{0,39}")
BOUNDS = [0, 1, -1, 5, 10, -10, 99, 100, 12345, -12345, 2**53, 2**63 - 1, -2**63, 2**64 - 1, 0.1, 0.5,
          -0.25, 1e-3, 1.5, -1.5, 99.99, 1e3, -1e3, 1e20, 1e300, -1e300, 5e-324, 1e-20, 1e-21, 0.3,
          0.30000000000000004, 123.456, -0.001]
MULTIPLES = [1, 2, 3, 5, 7, 10, 12, 100, 1000, 997, 0.1, 0.01, 0.5, 0.25, 0.05, 1.5, 2.5, 0.0001, 1e3]
FIXED = ["0", "-0", "0.0", "-0.0", "00", "01", "1.", ".5", "-", "", "+1", "1e3", "1E3", "- 1", "1.0", "-1",
         "1", "10", "0.1", "0.10", "0.100000000000000005", "99", "100", "100.0", "99.99999999999999999999",
         "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616",
         "1" + "0" * 39, "1" + "0" * 40, "0." + "0" * 19 + "1", "0." + "0" * 20 + "1", "0." + "0" * 20,
         "-0.00000000000000000001"]


def exact(value):
    return Decimal(json.dumps(value))


def allowed(case, text):
    if not (INTEGER if case["integer"] else PLAIN).fullmatch(text):
        return False
    value = Decimal(text)
    if text.startswith("-") and value == 0:
        return False
    for name, sign in (("min", 1), ("max", -1)):
        bound = case[name]
        if bound is None:
            continue
        if case["exclusive_" + name] and not case["integer"]:
            end = Decimal(repr(math.nextafter(float(bound), sign * math.inf)))
            if sign * (value - end) < 0:
                return False
            assert sign * (float(text) - float(bound)) > 0
        elif case["exclusive_" + name]:
            if sign * (value - exact(bound)) <= 0:
                return False
        elif sign * (value - exact(bound)) < 0:
            return False
    return case["multiple_of"] is None or value % exact(case["multiple_of"]) == 0


def near(rng, case):
    """Texts about the bounds and multiples of a case."""
    values = [exact(case[n]) for n in ("min", "max") if case[n] is not None] or [Decimal(0)]
    step = exact(case["multiple_of"]) if case["multiple_of"] is not None else Decimal(1)
    texts = []
    for _ in range(24):
        value = rng.choice(values)
        kind = rng.randrange(5)
        if kind == 0:
            value = (value // step + rng.randint(-3, 3)) * step
        elif kind == 1:
            value += rng.choice([-1, 1]) * Decimal(10) ** -rng.randint(0, 20)
        elif kind == 2:
            value += Decimal(rng.randint(-10**6, 10**6)) / 10 ** rng.randint(0, 6)
        elif kind == 3:
            value = step * rng.randint(-10**rng.randint(0, 9), 10**rng.randint(0, 9))
        text = format(value, "f")
        if "." in text and rng.random() < 0.5:
            text = text.rstrip("0").rstrip(".")
        elif rng.random() < 0.2:
            text += "0" if "." in text else ".0"
        texts.append(text)
    return texts


def main():
    rng = random.Random(11)
    cases = []
    while len(cases) < 250:
        pick = lambda values, chance: rng.choice(values) if rng.random() < chance else None
        case = {"integer": rng.random() < 0.5, "min": pick(BOUNDS, 0.6), "max": pick(BOUNDS, 0.6),
                "multiple_of": pick(MULTIPLES, 0.4), "exclusive_min": rng.random() < 0.4,
                "exclusive_max": rng.random() < 0.4}
        if not case["integer"] and all(case[n] is None for n in ("min", "max", "multiple_of")):
            continue
        texts = sorted(set(FIXED + near(rng, case)))
        cases.append(case | {"texts": texts, "allowed": "".join("01"[allowed(case, t)] for t in texts)})
    print("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]")


main()
