"""Interpret texts that are read before the command line is imported, and again by the command line."""

BOOLEAN_LITERALS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def is_prompt(text: str) -> bool:
    """Return whether a first argument can be a prompt: it contains a character that no command and no path has."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # undecodable bytes
        return False
    if text.isascii() and not any(letter.isalnum() for letter in text):  # ?
        return False
    return any(not (letter.isascii() and (letter.isalnum() or letter in "-_./\\")) for letter in text)
