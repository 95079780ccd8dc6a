"""Text that comes from a data set: which names are the same, and how it may be printed."""

import unicodedata

# Categories of characters that a terminal obeys instead of showing them, or that a UTF-8 file
# cannot hold: control, format (such as right-to-left marks), surrogates, line and paragraph ends.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Characters of one name or cell that a message shows.
LONGEST = 200


def folded(name: str) -> str:
    """`name` in the one form in which names are compared: no outer blanks, any case, any form."""
    return unicodedata.normalize("NFC", name.strip()).casefold()


def printable(text: str) -> str:
    """Escape the characters that a terminal or a UTF-8 file should not receive."""
    if text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _UNPRINTABLE else character
        for character in text
    )


def shown(text: str, longest: int = LONGEST) -> str:
    """`text` as a message shows it: printable, and cut to at most `longest` characters."""
    # Only what is shown is escaped: a cell of a table may be long.
    text = printable(text[: longest + 1])
    return text if len(text) <= longest else text[: longest - 3] + "..."
