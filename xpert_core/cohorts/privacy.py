"""Sample names that look as if they identify a person."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SHAPES = (
    (
        "a date",
        re.compile(
            r"(?:19|20)\d\d[-./]?[01]\d[-./]?[0-3]\d|[0-3]?\d[-./][01]?\d[-./](?:19|20)\d\d"
        ),
    ),
    (
        "a medical record number",
        re.compile(r"(?:mrn|mr|nhs)[\s#:_-]*\d{5,}|\d{7,10}|\d{3}-\d{2}-\d{4}", re.I),
    ),
    ("a person's name", re.compile(r"[A-Z][a-zà-ÿ'-]+(?:,\s*|\s+)[A-Z][a-zà-ÿ'-]{2,}")),
)


def identity_warnings(identifiers: Iterable[str]) -> tuple[str, ...]:
    """One sentence for each kind of identifying name among patient or sample ids."""
    distinct = list(dict.fromkeys(identifiers))
    warnings = []
    for what, shape in _SHAPES:
        found = [i for i in distinct if shape.fullmatch(i.strip())]
        if found:
            verb = "looks" if len(found) == 1 else "look"
            warnings.append(
                f"{len(found):,} patient or sample {'name' if len(found) == 1 else 'names'} {verb} "
                f"like {what}. Replace them by study codes before you store or share results."
            )
    return tuple(warnings)
