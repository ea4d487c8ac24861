"""The texts of the golden files."""

import random

PLAIN = (
    "The printing press changed how knowledge travelled. Before it, a scribe needed months to copy one book; "
    "after it, a workshop could make hundreds in a week. Three consequences followed. First,"
)

CHAT = [
    {"role": "system", "content": "You are a careful assistant. Answer in one short paragraph."},
    {"role": "user", "content": "My test fails with 'index out of bounds: the len is 3 but the index is 3'. Why?"},
    {"role": "assistant", "content": "Indices start at 0, so a slice of length 3 has the indices 0, 1 and 2."},
    {"role": "user", "content": "So how do I read the last element safely in Rust?"},
]

UNICODE = (
    "Übersetze: „Straße“ → street; naïve café – 北京的天气怎么样？ 東京タワーは333メートルです。 "
    "Привет, мир! Γειά σου Κόσμε. مرحبا بالعالم 🙂👩‍👩‍👧‍👦🇫🇷 e\u0301 ∑ᵢ xᵢ² ≤ ∞, and in English:"
)

# Texts that trip tokenisers. Each is tokenised twice: special tokens as text, and parsed.
TRICKY = [
    "",
    " ",
    "  ",
    "\n",
    "\n\n\n",
    "a  b   c    d",
    "   leading and trailing   ",
    "tabs\tand\t\tmore\r\nwindows\r\n\r\nlines",
    "0 1 12 123 1234 12345 3.14159 1,000,000 0x1F -7",
    "x1y22z333",
    "½ ² ٣ Ⅷ 五 ১২৩",
    "I'll they've we're you'd he's it's I'm can't DON'T 'sup '' 'tis",
    "snake_case camelCase kebab-case SCREAMING_CASE __init__ a.b.c() -> Result<(), Error> { x += 1; }",
    "!!! ??? ... --- === *** #include <stdio.h> \\n \\t",
    "https://example.org/path?query=1&other=%20#fragment",
    "日本語と中文和한국어",
    "שלום עולם مرحبا नमस्ते สวัสดี",
    "e\u0301 é ñ Å \u212b ﬁ",
    "🙂 🙃🙂 👩‍👩‍👧‍👦 🇫🇷🇩🇪 👍🏽 \U0001f9d1\u200d\U0001f680",
    "zero\u200bwidth non\u00a0breaking \u3000ideographic \u2028line \u2029paragraph \u0085next",
    "\ufeffbyte order mark",
    "control \x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x1b\x1f\x7f",
    "<|im_start|>user\nhi<|im_end|>\n",
    "text with <|endoftext|> inside, <|im_end|><|im_end|> twice, and <|im_end without its end",
    "<repo_name>a<file_sep>b<filename>c<gh_stars>d<issue_start>e",
    " <|im_start|> spaces around <|im_end|> ",
    "<|im_start|>" * 3,
    "<|IM_START|> <|im_start |> < |im_start|>",
    "the quick brown fox jumps over the lazy dog " * 8,
    "a" * 300,
    "\U0010ffff \U000e0041 \U0001d400",
]


def long_text():
    """Pages of an agent's session: tool calls, listings and remarks, from a fixed seed."""
    rng = random.Random(20)
    verbs = ["load", "parse", "merge", "split", "render", "verify", "encode", "prune", "retry", "flush"]
    nouns = ["config", "index", "buffer", "session", "token", "packet", "report", "cache", "table", "queue"]
    lines = ["You are a coding agent. Below is the session so far; continue it.\n"]
    for turn in range(1, 60):
        verb, noun, line = rng.choice(verbs), rng.choice(nouns), rng.randrange(1, 400)
        lines.append(f"\n## Turn {turn}\nThe {noun} fails when we {verb} it twice, so I look at the source.\n")
        lines.append(f"$ sed -n {line},{line + 6}p src/{noun}/{verb}.py\n")
        lines.append(f"def {verb}_{noun}(self, {rng.choice(nouns)}, limit={rng.randrange(2, 5000)}):\n")
        lines.append(f"    if self.{noun} is None or len(self.{noun}) > limit:\n")
        lines.append(f"        raise ValueError(f\"cannot {verb} the {noun}: {{limit}}\")\n")
        lines.append(f"    return [{rng.choice(verbs)}(item) for item in self.{noun}]\n")
        lines.append(f"$ pytest -q tests/test_{noun}.py\n")
        failed, passed = rng.randrange(0, 4), rng.randrange(5, 90)
        lines.append(f"{failed} failed, {passed} passed in {rng.uniform(0.2, 30):.2f}s\n")
    return "".join(lines)
