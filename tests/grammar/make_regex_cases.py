#!/usr/bin/python3
"""Writes regex_cases.json: patterns, texts, and whether Python's re matches them.

    tests/grammar/make_regex_cases.py > tests/grammar/regex_cases.json

Where ECMA-262 and Python read the same characters differently (., $, \\s), Python is given what it
writes for the same meaning.
"""

import json
import random
import re

SPACES = "\\t\\n\\v\\f\\r \\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"

# Patterns with texts of interest; others are added.
WRITTEN = [
    ("", ["", "a"]),
    ("abc", ["abc", "xabcx", "ab"]),
    ("a|b|", ["a", "b", "", "ab"]),
    ("^a|b$", ["a", "ab", "ba", "cb", "bc", "ac", "ca", "c"]),
    ("(^|x)a", ["a", "xa", "ya", "yxa", "ba"]),
    ("a($|x)", ["a", "ax", "ay", "axy", "ba"]),
    ("^^a$$", ["a", "aa", ""]),
    ("^$", ["", "a", "\n"]),
    ("$^", ["", "a"]),
    ("a^b", ["ab", "b", "a"]),
    ("a$b", ["ab", "b", "a"]),
    ("(a|^)*b", ["b", "ab", "aab", "cb"]),
    ("(?:^a)*b", ["b", "ab", "aab", "xb", "xab"]),
    ("(?:a$)?", ["", "a", "aa", "b"]),
    ("(a*)*", ["", "aaa", "b"]),
    ("(a*)+b", ["b", "aab", "c"]),
    ("(?:){3}a", ["a", ""]),
    ("(a?){3}", ["", "a", "aaa", "aaaa"]),
    ("a{3}", ["aa", "aaa", "aaaa"]),
    ("^a{2,}$", ["a", "aa", "aaaaa"]),
    ("^a{2,4}$", ["a", "aa", "aaaa", "aaaaa"]),
    ("^a{0}$", ["", "a"]),
    ("^(?:ab){0,2}c$", ["c", "abc", "ababc", "abababc"]),
    ("a+?b*?c??", ["a", "ab", "abc", "c"]),
    ("^.$", ["a", "\n", "\r", "\u2028", "\u2029", "é", "\U0001F600", ""]),
    ("^[\\s\\S]$", ["a", "\n", "\u2028", "", "ab"]),
    ("^\\d+$", ["0", "0123456789", "\u0663", "a", ""]),
    ("^\\D+$", ["0", "\u0663", "a"]),
    ("^\\w+$", ["azAZ09_", "é", "-", ""]),
    ("^\\W$", ["é", "_", "-", " "]),
    ("^\\s$", [" ", "\t", "\u00a0", "\ufeff", "\u200b", "\u3000", "\x1c", "\x85", "x"]),
    ("^\\S$", [" ", "\ufeff", "\x1c", "\x85", "x"]),
    ("^[a-c-]+$", ["a-c", "d", "-"]),
    ("^[-a]+$", ["-a", "b"]),
    ("^[^a-c]$", ["a", "d", "\n", "", "\U0010FFFF"]),
    ("^[\\^\\]\\\\-]+$", ["^]\\-", "a"]),
    ("^[\\d\\-x]+$", ["1-x", "y"]),
    ("^[+--]$", ["+", ",", "-", "."]),
    ("^[\\b]$", ["\b", "b"]),
    ("^[a^]$", ["a", "^", "b"]),
    ("^[$.|(){}*+?]$", ["$", ".", "|", "(", "}", "*", "a"]),
    ("\\.\\*\\+\\?\\^\\$\\|\\(\\)\\[\\]\\{\\}\\/\\\\", [".*+?^$|()[]{}/\\", "x"]),
    ("^\\t\\n\\r\\f\\v\\0\\x41\\u0042\\cJ$", ["\t\n\r\f\v\0AB\n", "x"]),
    ("^\\u{1F600}$", ["\U0001F600", "\u1F60"]),
    ("^\\uD83D\\uDE00+$", ["\U0001F600", "\U0001F600\U0001F600", "x"]),
    ("^[\\uD83D\\uDE00-\\uD83D\\uDE4F]$", ["\U0001F600", "\U0001F64F", "\U0001F650"]),
    ("^[\U0001F600-\U0001F64F]{2}$", ["\U0001F600\U0001F64F", "\U0001F600"]),
    ("^é+ü?$", ["é", "éüü", "éü"]),
    ("^[à-ÿ]$", ["é", "a", "ÿ", "Ā"]),
    ("^(?<year>[0-9]{4})-(?<month>[0-9]{2})$", ["2024-01", "2024-1", "x2024-01"]),
    ("^(\\([0-9]{3}\\))?[0-9]{3}-[0-9]{4}$", ["555-1212", "(888)555-1212", "(888)555-1212 ext. 5"]),
    ("^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\\.[a-zA-Z]{2,}$", ["a@b.co", "a.b+c@d-e.org", "a@b", "@b.co"]),
    ("^#(?:[0-9a-fA-F]{3}){1,2}$", ["#fff", "#A1b2C3", "#ffff", "fff"]),
    ("^(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)(?:\\.(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)){3}$",
     ["1.2.3.4", "255.255.255.255", "256.1.1.1", "1.2.3"]),
    ("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
     ["123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"]),
    ("^v?(0|[1-9]\\d*)\\.(0|[1-9]\\d*)\\.(0|[1-9]\\d*)(?:-[\\da-z-]+)?$",
     ["1.0.0", "v10.2.3-rc-1", "01.0.0", "1.0"]),
    ("^(?:[01]\\d|2[0-3]):[0-5]\\d(?::[0-5]\\d)?$", ["00:00", "23:59:59", "24:00", "1:00"]),
    ("^[A-Z][a-z]*(?: [A-Z][a-z]*)*$", ["Ada", "Ada Lovelace", "ada", "Ada  L"]),
    ("^(a|b)*a(a|b){5}$", ["aaaaaa", "abbbbb", "bbbbbb", "babbbbb"]),
    ("(foo|bar)+baz", ["foobaz", "barfoobaz", "baz"]),
    ("}a]", ["}a]", "a"]),
    ("^x{a}$", ["x{a}", "x"]),
    ("^{\"a\":1}$", ["{\"a\":1}", "a"]),
    ("\\-\\_\\@\\ \\\"\\'\\,\\:", ["-_@ \"',:", "x"]),
]


def to_python(pattern):
    """The same pattern for Python, whose ., $ and \\s mean something else."""
    out, i, in_class = [], 0, False
    while i < len(pattern):
        c = pattern[i]
        two = pattern[i:i + 2]
        pair = re.match(r"\\u(D[89AB]..)\\u(D[C-F]..)", pattern[i:])
        braces = re.match(r"\\u\{([0-9A-F]+)\}", pattern[i:])
        if pair:
            high, low = (int(x, 16) for x in pair.groups())
            out.append("\\U%08X" % (0x10000 + ((high - 0xD800) << 10) + low - 0xDC00))
            i += pair.end()
        elif braces:
            out.append("\\U%08X" % int(braces[1], 16))
            i += braces.end()
        elif two == "\\c":
            out.append("\\x%02X" % (ord(pattern[i + 2]) & 31))
            i += 3
        elif two == "\\s":
            out.append(SPACES if in_class else f"[{SPACES}]")
            i += 2
        elif two == "\\S" and not in_class:
            out.append(f"[^{SPACES}]")
            i += 2
        elif c == "\\":
            out.append(two)
            i += 2
        elif pattern.startswith("(?<", i) and not in_class:
            out.append("(?P<")
            i += 3
        else:
            if c == "[" and not in_class:
                in_class = True
            elif c == "]":
                in_class = False
            elif c == "." and not in_class:
                c = "[^\\n\\r\\u2028\\u2029]"
            elif c == "$" and not in_class:
                c = "\\Z"
            elif c == "[" and in_class:
                c = "\\["
            out.append(c)
            i += 1
    return "".join(out)


ALPHABET = "abc-1é\n\U0001F600"


def random_atom(rng, depth):
    kind = rng.randrange(10 if depth > 0 else 6)
    if kind < 3:
        return rng.choice("abc1é\U0001F600")
    if kind == 3:
        return rng.choice([".", "\\d", "\\w", "\\W", "\\D", "\\s", "\\S", "-"])
    if kind == 4:
        members = "".join(rng.choice(["a", "b", "a-c", "\\d", "1", "é", "\\-", "\\n"])
                          for _ in range(rng.randint(1, 3)))
        return "[" + rng.choice(["", "", "^"]) + members + "]"
    if kind == 5:
        return rng.choice(["ab", "abc", "ca"])
    opening = rng.choice(["(", "(?:"])
    return opening + random_choice(rng, depth - 1) + ")"


def random_term(rng, depth):
    if rng.random() < 0.08:
        return rng.choice("^$")
    atom = random_atom(rng, depth)
    if atom in ("ab", "abc", "ca") or rng.random() < 0.55:
        return atom
    return atom + rng.choice(["*", "+", "?", "{2}", "{1,}", "{0,2}", "{2,3}", "*?", "+?", "??", "{1,2}?"])


def random_choice(rng, depth):
    options = ["".join(random_term(rng, depth) for _ in range(rng.randint(0, 3)))
               for _ in range(rng.choice([1, 1, 2, 3]))]
    return "|".join(options)


def random_texts(rng, pattern, count):
    letters = [c for c in pattern if c not in "\\()[]{}*+?|^$.:"] + list(ALPHABET)
    return ["".join(rng.choice(letters) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 3, 4, 5, 6])))
            for _ in range(count)]


def main():
    rng = random.Random(7)
    patterns = [(p, t, 6) for p, t in WRITTEN]
    while len(patterns) < 600:
        patterns.append((random_choice(rng, rng.choice([0, 1, 1, 2, 2, 3])), [], 14))
    cases = []
    for pattern, texts, more in patterns:
        compiled = re.compile(to_python(pattern), re.ASCII)
        texts = sorted(set(texts + random_texts(rng, pattern, more)))
        cases.append({
            "pattern": pattern,
            "texts": texts,
            "whole": "".join("01"[compiled.fullmatch(t) is not None] for t in texts),
            "search": "".join("01"[compiled.search(t) is not None] for t in texts),
        })
    print("[\n" + ",\n".join(json.dumps(c, ensure_ascii=True) for c in cases) + "\n]")


main()
