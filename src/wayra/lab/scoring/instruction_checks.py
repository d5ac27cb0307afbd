"""Whether a text obeys an instruction that a program can check, by IFEval's names and arguments for them.

Counts are of plain text: a word is a run of letters, digits and underscores; a sentence ends with . ! or ? before a
space or the end. Where IFEval asks a trained detector which language it is, scripts and frequent words decide here.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

Arguments = Mapping[str, object]
Check = Callable[[str, Arguments], bool]

SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?:\s+|$)")
ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|[A-Z])\.$")


def count_words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def count_sentences(text: str) -> int:
    count, rest = 0, ""
    start = 0
    for end in SENTENCE_END.finditer(text):
        piece = text[start : end.end()].strip()
        if ABBREVIATION.search(piece) and end.end() < len(text):
            continue
        count += bool(re.search(r"\w", piece))
        start = end.end()
    rest = text[start:]
    return count + bool(re.search(r"\w", rest))


def _number(arguments: Arguments, name: str) -> int:
    return int(cast(float, arguments.get(name) or 0))


def _words(arguments: Arguments, name: str) -> Sequence[str]:
    found = arguments.get(name)
    return [str(word) for word in cast(Sequence[object], found)] if isinstance(found, Sequence) else []


def _compares(count: int, arguments: Arguments, relation: str, threshold: str) -> bool:
    limit = _number(arguments, threshold)
    return count < limit if arguments.get(relation) == "less than" else count >= limit


def _occurrences(text: str, word: str) -> int:
    return len(re.findall(re.escape(word), text, re.IGNORECASE))


def _keywords(text: str, arguments: Arguments) -> bool:
    return all(_occurrences(text, word) for word in _words(arguments, "keywords"))


def _keyword_frequency(text: str, arguments: Arguments) -> bool:
    return _compares(_occurrences(text, str(arguments.get("keyword", ""))), arguments, "relation", "frequency")


def _forbidden_words(text: str, arguments: Arguments) -> bool:
    return not any(
        re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in _words(arguments, "forbidden_words")
    )


def _letter_frequency(text: str, arguments: Arguments) -> bool:
    count = text.lower().count(str(arguments.get("letter", "")).lower() or "\x00")
    return _compares(count, arguments, "let_relation", "let_frequency")


def _sentences(text: str, arguments: Arguments) -> bool:
    return _compares(count_sentences(text), arguments, "relation", "num_sentences")


def _num_words(text: str, arguments: Arguments) -> bool:
    return _compares(count_words(text), arguments, "relation", "num_words")


def _paragraphs(text: str, arguments: Arguments) -> bool:
    """Separated by ***; an empty one between two others counts against it."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    parts = parts[1:] if not parts[0] else parts
    parts = parts[:-1] if parts and not parts[-1] else parts
    return all(parts) and len(parts) == _number(arguments, "num_paragraphs")


def _first_word(text: str, arguments: Arguments) -> bool:
    """The n-th of so many paragraphs (by empty lines) begins with a word."""
    paragraphs = text.split("\n\n")
    count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    place = _number(arguments, "nth_paragraph")
    if count != _number(arguments, "num_paragraphs") or not 1 <= place <= count:
        return False
    words = paragraphs[place - 1].split()
    first = re.split(r"[.,?!'\"]", words[0].lstrip("'\"").lower(), maxsplit=1)[0] if words else ""
    return bool(words) and first == str(arguments.get("first_word", "")).lower()


def _placeholders(text: str, arguments: Arguments) -> bool:
    return len(re.findall(r"\[[^\]\n]*\]", text)) >= _number(arguments, "num_placeholders")


def _postscript(text: str, arguments: Arguments) -> bool:
    marker = str(arguments.get("postscript_marker") or "P.S.")
    spaced = r"\s?".join(re.escape(part) for part in re.findall(r"\w\.?|\S", marker.lower()))
    return re.search(spaced, text.lower()) is not None


def _bullets(text: str, arguments: Arguments) -> bool:
    count = len(re.findall(r"^\s*(?:\*[^*\n]|-)", text, re.MULTILINE))
    return count == _number(arguments, "num_bullets")


def _one_of_three(text: str, _arguments: Arguments) -> bool:
    return any(f"My answer is {answer}." in text for answer in ("yes", "no", "maybe"))


def _highlights(text: str, arguments: Arguments) -> bool:
    single = [found for found in re.findall(r"\*([^\n*]*)\*", text) if found.strip()]
    double = [found for found in re.findall(r"\*\*([^\n*]*)\*\*", text) if found.strip()]
    return len(single) + len(double) >= _number(arguments, "num_highlights")


def _sections(text: str, arguments: Arguments) -> bool:
    splitter = re.escape(str(arguments.get("section_spliter") or "Section"))
    return len(re.findall(rf"{splitter}\s?\d+", text)) >= _number(arguments, "num_sections")


def _json(text: str, _arguments: Arguments) -> bool:
    bare = re.sub(r"^```(?:json)?", "", text.strip(), flags=re.IGNORECASE).removesuffix("```").strip()
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, _arguments: Arguments) -> bool:
    return any(found.strip("<> ") for found in re.findall(r"<<[^\n]+?>>", text))


def _two_responses(text: str, _arguments: Arguments) -> bool:
    parts = [part.strip() for part in text.split("******")]
    if any(not part for part in parts[1:-1]):
        return False
    kept = [part for part in parts if part]
    return len(kept) == 2 and kept[0] != kept[1]


def _repeats_prompt(text: str, arguments: Arguments) -> bool:
    wanted = str(arguments.get("prompt_to_repeat", "")).strip().lower()
    return bool(wanted) and text.strip().lower().startswith(wanted)


def _ends_with(text: str, arguments: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(str(arguments.get("end_phrase", "")).strip().lower())


def _quotation(text: str, _arguments: Arguments) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare.startswith('"') and bare.endswith('"')


def _capital_words(text: str, arguments: Arguments) -> bool:
    count = sum(word.isupper() for word in re.findall(r"[\w'-]+", text))
    return _compares(count, arguments, "capital_relation", "capital_frequency")


def _language(text: str, arguments: Arguments) -> bool:
    from wayra.lab.scoring.languages import could_be

    return could_be(text, str(arguments.get("language", "")))


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "keywords:existence": _keywords,
        "keywords:frequency": _keyword_frequency,
        "keywords:forbidden_words": _forbidden_words,
        "keywords:letter_frequency": _letter_frequency,
        "language:response_language": _language,
        "length_constraints:number_sentences": _sentences,
        "length_constraints:number_paragraphs": _paragraphs,
        "length_constraints:number_words": _num_words,
        "length_constraints:nth_paragraph_first_word": _first_word,
        "detectable_content:number_placeholders": _placeholders,
        "detectable_content:postscript": _postscript,
        "detectable_format:number_bullet_lists": _bullets,
        "detectable_format:constrained_response": _one_of_three,
        "detectable_format:number_highlighted_sections": _highlights,
        "detectable_format:multiple_sections": _sections,
        "detectable_format:json_format": _json,
        "detectable_format:title": _title,
        "combination:two_responses": _two_responses,
        "combination:repeat_prompt": _repeats_prompt,
        "startend:end_checker": _ends_with,
        "startend:quotation": _quotation,
        "change_case:capital_word_frequency": _capital_words,
        "change_case:english_capital": lambda text, _: text.isupper(),
        "change_case:english_lowercase": lambda text, _: text.islower(),
        "punctuation:no_comma": lambda text, _: "," not in text,
    }
)


def obeys(text: str, instruction: str, arguments: Arguments) -> bool:
    """Strictly: the text as it is. An empty text obeys nothing."""
    return bool(text.strip()) and CHECKS[instruction](text, arguments)


def obeys_loosely(text: str, instruction: str, arguments: Arguments) -> bool:
    """Also when only its first line, its last line or its asterisks are in the way."""
    lines = text.split("\n")
    kept = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return any(obeys(one, instruction, arguments) for form in kept for one in (form, form.replace("*", "")))
