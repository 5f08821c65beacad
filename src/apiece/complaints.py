"""What jsonargparse complains about, over several lines and in Python's words, as one sentence in the user's."""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches

from apiece import methods

KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "names with values",
}
"""Python's types in the user's words."""


def sentence(message: str, known: Iterable[str], spelled: Callable[[str], str]) -> str:
    """A complaint in one sentence, without its full stop.

    Args:
        known: names of all options; those of groups with dots.
        spelled: a name -> how the user writes it.
    """
    keys = re.findall(r'Parser key "(.+?)"', message) + re.findall(r"Group '(.+?)' does not", message)
    key = "".join(f"{name}." for name in keys)
    spare = re.search(r"unrecognized arguments: (\S+)", message)
    unknown = re.search(r"(?:unrecognized arguments: --|[Oo]ption ')([\w.]+)", message)
    if unknown:
        name = key + unknown[1]
        near = get_close_matches(name, [other for other in known if other.count(".") == name.count(".")], 1)
        asked = f" (did you mean {spelled(near[0])}?)" if near else ""
        return f"there is no option {spelled(name)}{asked}"
    if spare:
        return f"{spare[1]!r} is one word too many"
    given = "".join(f" {value}" for value in re.findall(r"(?:Got value|Given value): (.*)", message)[:1])
    option = f"{spelled(key[:-1])}{given}"
    if "dot import path" in message:
        return f"{option}: there is none of that name; there are {', '.join(methods.PLACES)}"
    wanted = [kind for kind in re.findall(r"Expected an? (.+?)(?:\. Got value|$)", message, re.M) if "None" not in kind]
    if key and wanted:
        return f"{option}: must be {' or '.join(dict.fromkeys(map(_kind, wanted)))}"
    return re.sub(r'^Parser key "(.+?)":', lambda found: f"{spelled(found[1])}:", " ".join(message.split())).rstrip(".")


def _kind(kind: str) -> str:
    """A type as Python prints it, in words."""
    if kind.startswith("tuple"):
        return kind.replace("tuple", "a list")
    choices = re.findall(r"'([^']*)'", kind) if "Literal" in kind else []
    name = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)
    return f"one of {', '.join(choices)}" if choices else KINDS.get(name, name)
