"""Which language a text could be in, by the script of its letters and frequent words: enough for an instruction."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

SCRIPTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ar": ("ARABIC",), "fa": ("ARABIC",), "ur": ("ARABIC",),
        "hi": ("DEVANAGARI",), "mr": ("DEVANAGARI",), "ne": ("DEVANAGARI",),
        "bn": ("BENGALI",), "pa": ("GURMUKHI",), "gu": ("GUJARATI",), "ta": ("TAMIL",), "te": ("TELUGU",),
        "kn": ("KANNADA",), "ml": ("MALAYALAM",), "th": ("THAI",), "ko": ("HANGUL",), "he": ("HEBREW",),
        "ja": ("HIRAGANA", "KATAKANA", "CJK"), "zh": ("CJK",), "el": ("GREEK",), "ka": ("GEORGIAN",),
        "hy": ("ARMENIAN",), "ru": ("CYRILLIC",), "uk": ("CYRILLIC",), "bg": ("CYRILLIC",),
    }
)  # fmt: skip
"""Languages told by their script; languages of one script are not told apart."""

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "en": "the and of to in is that it was for with as are on be this",
        "de": "der die das und ist nicht ein eine ich zu den mit auf für sich auch",
        "fr": "le la les et est une des que dans pour qui sur pas avec au du",
        "es": "el los las y que en una por con para es del se como su al",
        "it": "il che di e la un una per è non sono con del della gli i",
        "pt": "o os as que e em um uma para não com por do da dos é",
        "nl": "de het een en van ik te dat niet zijn op voor met die aan er",
        "sv": "och att det som en på är av för inte med den till har ett jag",
        "fi": "ja on ei se että oli hän mutta kun niin ovat myös mitä joka tämä voi",
        "pl": "i w nie na się z do to jest że jak ale co od po za",
        "tr": "ve bir bu için ile da de çok ne gibi olarak daha ama en var mi",
        "vi": "và của là có không được cho người những trong một các với này tôi đã",
        "sw": "na ya wa kwa ni za katika la hii kuwa kama ambayo watu yake cha pia",
        "id": "yang dan di ini dengan untuk itu tidak dari pada adalah dalam akan saya ke juga",
    }
)  # fmt: skip
"""Languages of the Latin script told by their most frequent words."""

LEAST_SHARE = 0.5


def could_be(text: str, language: str) -> bool:
    """Whether most letters are of its script and, in Latin script, no other language's words are more frequent.

    A language that is neither listed by script nor by words could be any text's.
    """
    letters = Counter(_script(char) for char in text if char.isalpha())
    total = letters.total()
    if not total:
        return True
    if language in SCRIPTS:
        return sum(letters[script] for script in SCRIPTS[language]) >= LEAST_SHARE * total
    if language not in WORDS:
        return True
    if letters["LATIN"] < LEAST_SHARE * total:
        return False
    words = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    counts = {known: sum(words[word] for word in frequent.split()) for known, frequent in WORDS.items()}
    return counts[language] == max(counts.values())


def _script(char: str) -> str:
    return unicodedata.name(char, "?").partition(" ")[0]
