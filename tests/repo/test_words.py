"""Words that must not come back: each confused readers who know PyTorch, ONNX Runtime and TensorRT; the reason says what to write.

Names and prose of core, adapters, extensions, benchmarks and docs, and the names in tests.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WORDS = {
    r"\bpictures?\b": "image",
    r"\bhonesty\b|\b(?:dis)?honest\b": "batch invariance, valid",
    r"\bsteadiness\b": "stability",
    r"\bown jump\b": "reference_instability",
    r"\bcompanions?\b": "other items in the batch",
    r"\btyped onnx\b|\btyped graph": "reduce_precision, reduced-precision graph",
    r"\bprecision receipts?\b": "precision report",
    r"\bcannot have size 0\b": "Axis size must be at least 1; got 0",
    r"\byardstick\b": "baseline",
    r"\bpretended\b": "simulated",
    r"\bround instead\b": "emulate_low_precision",
    r"\btraps? of tracing\b|\btracing traps\b": "tracing hazards",
    r"\bkeep places\b": "annotate_sources",
    r"\bfor place(?:, \w+)? in (?:range|enumerate)\(|\blow places\b": "index, position",
    r"\bframeworks kept off stdout\b": "redirect_stdout_to_stderr",
    r"\bwords of trtexec\b": "trtexec syntax",
    r"\bgrave(?:r|st)\b": "more severe, most severe",
    r"\bof (?:its|their) own\b": "separate; or drop it",
    r"\btold\b": "reported, printed, notified; or drop it",
    r"\bwish(?:es|ed)?\b": "option, request",
    r"\bgraft(?:s|ed|ing)?\b": "rebuild",
    r"\broads?\b": "way, pipeline",
    r"\bwithout a word\b": "silently",
    r"\bsaid something unreadable\b": "Unexpected output from the build process",
    r"\bLast words\b": "Last stderr line",
    r"(?:behavi|col|flav|neighb|fav|hon)our(?!glass)|cent(?:re|red|res)\b|catalogue|licence|\bgrey|\bartefact|\blabell|\bmodell|\bcancelled|\bcancelling": "American spelling",
    r"(?:normal|quant|initial|serial|synchron|optim|recogn|organ|summar|minim|maxim|visual|general)is(?:e|es|ed|er|ing|ation)\b": "-ize, -ization",
    r"\bheld against\b": "compared with, matched against",
    r"\bis no (?:file|folder|JSON|image|regular expression)\b": "is not a file, is not valid JSON",
    r"\bcannot be\.": "state the valid range: crop_fraction must be in (0, 1]; got 1.2",
    r"\bnobody\b|\bwhoever\b": "name the subject: no plugin, a plugin that, users",
    r"\bas sure\b": "with the same confidence",
    r"\bend-to-end road\b": "the framework's own inference pipeline",
    r"\bAsked last registered first\b": "Called in reverse registration order",
    r"\bis left out\b": "skipping X, X is skipped",
    r"\bNothing is proved\b": "Verification skipped",
    r"\bcompares nothing\b": "has no outputs to compare",
    r"\bTell more\b": "Verbose output",
    r"\bMend\b": "Fix",
}
"""Regular expression, in any case and with spaces for underscores, to what to write instead."""

PHRASES = {
    r"(?<!there )\b(?:is|are|be) no (?!longer\b|more\b|less\b|fewer\b|faster\b|slower\b)\w+": "is not a file, is not an index",
    r"\bleave\b[^.\n\"]{0,30}\bout\b": "Remove the option, omit the value",
    r"\b(?:is|are|was|were) left out\b": "X is skipped, X is ignored",
    r"\brepeats? itself\b": "The model is not deterministic",
    r"\bgives? (?:only )?NaN\b": "returns NaN",
    r"\basks? for more\b": "but --require verified is set",
    r"\bdefined by nothing\b|\bwhich nothing defines\b": "is undefined",
    r"\bwas to be\b": "was requested as",
    r"\bhow sure\b": "the confidence that",
    r"\bcontradict each other\b": "conflict",
    r"\btakes? no image\b": "has no image input",
    r"\bthere (?:is|are) no (?:option|hook|known)\b": "Unknown option 'x'",
    r"\b(?:has|have) a partner\b": "has a match",
    r"\bparts of the sides\b": "relative to the image size",
    r"\bthis adaptrt\b": "this version of adaptrt",
    r"\bin a process of its own\b": "in a separate process",
    r"\bdecides in Python\b": "Python code depends on an input value",
    r"\bof the form module\b": "must have the form module:attribute",
    r"\bwants? to import\b": "imports",
    r"\bone (?:\w+ )?a line\b": "one per line",
    r"hint=f?\"(?:Give|Leave|Put) ": "start with Specify, Pass, Remove or Copy",
    r"\b(?:image|file)s?\b[^.\n]{0,40}\b(?:is|are) a row\b": "becomes a row",
    r"\bof your own\b|\bof yours\b": "your own library",
    r"\btruth values?\b": "booleans",
    r"\bwritten as for\b": "have the same form as for",
    r"\bmade-up\b": "synthetic, generated",
    r"\b(?:polygon|keypoints|box|class|path) a line\b": "per line",
    r"\bNew is that\b|\bReturned are\b": "name the subject first: it returns the other columns",
    r"\bto see inside\b": "to read internal tensors",
    r"\bpatch(?:es)? (?:its|their|the) source\b": "patches their code during the export",
}
"""The same, in what users read: core, adapters, extensions and docs."""

EXEMPT = {
    "tests/repo/test_words.py": "says them",
    "CHANGELOG.md": "names what was renamed",
}
OLD_NAMES = {
    ("core/adaptrt/report_versions.py", "pictures"): "the key of old reports, which are read",
    ("core/adaptrt/request.py", "typed graph"): "the old name of an attribute is an error that says the new one",
    ("core/adaptrt/hookspecs.py", "typed onnx"): "the old name of a hook is an error that says the new one",
}
SUFFIXES = {".py", ".md", ".toml", ".html", ".jinja", ".j2", ".css"}
READ = ("core/", "adapters/", "extensions/", "docs/", "README.md")
NAME = re.compile(r"\s*(?:async )?(?:def|class) (\w+)")
FOLDERS = (
    "core",
    "adapters",
    "extensions",
    "benchmarks",
    "docs",
    "tests",
    "tools",
    "README.md",
    "CONTRIBUTING.md",
    "plugins.toml",
    "pyproject.toml",
)


@cache
def texts() -> list[tuple[str, str]]:
    """Name and text of every file, underscores as spaces; of tests their names only."""
    done = subprocess.run(["git", "ls-files", "-z", "--", *FOLDERS], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, done.stdout.split("\0")):
        path = ROOT / name
        if path.suffix not in SUFFIXES or not path.is_file() or name in EXEMPT:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        if name.startswith("tests/"):
            lines = [match[1] if (match := NAME.match(line)) else "" for line in lines]
        lines[:1] = [f"{name} {''.join(lines[:1])}"]
        found.append((name, "\n".join(lines).replace("_", " ")))
    return found


@pytest.mark.parametrize("word", WORDS)
def test_a_word_stays_away(word: str) -> None:
    pattern = re.compile(word, re.IGNORECASE)
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in texts()
        for match in pattern.finditer(text)
        if (name, match[0]) not in OLD_NAMES
    ]
    assert not found, f"write {WORDS[word]!r} instead:\n" + "\n".join(found)


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_stays_away(phrase: str) -> None:
    pattern = re.compile(phrase, re.IGNORECASE)
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in texts()
        if name.startswith(READ)
        for match in pattern.finditer(text)
    ]
    assert not found, f"write {PHRASES[phrase]!r} instead:\n" + "\n".join(found)


def test_a_command_in_a_hint_has_the_path_of_its_file() -> None:
    """The name alone is found only in the current folder."""
    commands = r"adopt|build|clean|compare|convert|engine \w+|evaluate|inspect|lint|predict|quantize|run|tune"
    found = [
        f"{name}: {match[0]}"
        for name, text in texts()
        if name.endswith(".py")
        for match in re.finditer(rf"adaptrt (?:{commands}) [^\"\n]*\{{[\w.]+\.name\}}", text)
    ]
    assert not found, "use in_shell(path):\n" + "\n".join(found)


def test_a_message_names_no_page_by_its_path() -> None:
    """An installed package has no folder docs. A page is named by its title, which exists."""
    titles = {
        path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for path in (ROOT / "docs").rglob("*.md")
    }
    found = []
    for name, _ in texts():
        if name.endswith(".py") and name.startswith(("core/", "adapters/", "extensions/")):
            text = (ROOT / name).read_text(encoding="utf-8")
            found += [f"{name}: {match[0]}" for match in re.finditer(r"[^`\n]\bdocs/[\w/-]+\.md", text)]
            named = re.findall(r"the page '([^'\n]+)' of the documentation", text)
            found += [f"{name}: no page {title!r}" for title in named if title not in titles]
    assert not found, "name the page's title:\n" + "\n".join(found)
