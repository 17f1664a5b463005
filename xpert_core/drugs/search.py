"""Finding drugs by what people type: names, synonyms, ids, mechanisms, targets, typing mistakes."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

from xpert_core.drugs.records import Drug

MAX_QUERY_CHARACTERS = 120
"""Longer texts are no drug names."""
MAX_PREFIX_MATCHES = 1000
"""Most names looked at for one beginning: "BRD-K" begins 25,000."""
MIN_SIMILARITY = 0.6
"""Share of characters a misspelled name must have right to be offered."""

NAME, SYNONYM, ID, PREFIX, LABEL, INSIDE = 100.0, 96.0, 95.0, 88.0, 80.0, 65.0
FUZZY = 60.0
"""Scores of the kinds of match; a fuzzy match has `FUZZY` times its similarity."""

SALT_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        acetate anhydrous benzoate besilate besylate bromide calcium chloride citrate dihydrate
        dihydrochloride dimesylate diphosphate disodium esilate esylate fumarate hcl hemihydrate
        hydrate hydrobromide hydrochloride iodide isethionate lactate lysine magnesium malate
        maleate meglumine mesilate mesylate monohydrate monosodium napsylate nitrate oxalate
        pamoate phosphate potassium salt sodium succinate sulfate sulphate tartrate tosilate
        tosylate trifluoroacetate trihydrate trihydrochloride tromethamine xinafoate
        """,
    )
)
_ACTION_WORDS = frozenset(
    re.findall(
        r"\w+", "activator agonist antagonist antibody blocker degrader inhibitor ligand modulator"
    )
)
_GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ω": "omega"}
_GREEK_TABLE = str.maketrans(_GREEK)
_NOT_ALNUM = re.compile(r"[\W_]+")
_NOT_ALNUM_ASCII = {code: None for code in range(128) if not chr(code).isalnum()}
_BROAD_ID = re.compile(r"BRD-[A-Z]\d{8}")


@dataclass(frozen=True)
class DrugHit:
    """One search result.

    Attributes
    ----------
    drug : Drug
    score : float
        0 to 100: 100 exact name, 96 synonym, 95 id, 88 beginning of a name, 80 target or
        mechanism, 65 part of a name, below 60 a similar spelling.
    matched_on : str
        What matched, e.g. ``"synonym GDC-0199"`` or ``"target EGFR"``.
    """

    drug: Drug
    score: float
    matched_on: str


class Match(NamedTuple):
    """One row of the library that answers a query: the score of `DrugHit` and what matched."""

    row: int
    score: float
    kind: str
    text: str
    other_salt: bool = False

    @property
    def matched_on(self) -> str:
        """Sentence for `DrugHit`."""
        return f"{self.kind} {self.text}" + (", another salt form" if self.other_salt else "")


def plain(text: str) -> str:
    """Letters and digits of a name, lower case: what two spellings of one name share."""
    if text.isascii():
        return text.lower().translate(_NOT_ALNUM_ASCII)
    return _NOT_ALNUM.sub("", unicodedata.normalize("NFKC", text).lower().translate(_GREEK_TABLE))


def without_salt(text: str) -> str:
    """`plain` form of a name without its salt words; "" when it has none or nothing is left."""
    words = [w for w in re.split(r"[\s\-_]+", text.lower()) if w]
    kept = [w for w in words if plain(w) not in SALT_WORDS]
    return plain("".join(kept)) if len(kept) < len(words) else ""


def _words(text: str) -> list[str]:
    """Words of a mechanism, lower case, without the plural."""
    words = (plain(w) for w in re.split(r"[\s\-_/]+", text))
    return [w[:-1] if len(w) > 4 and w.endswith("s") else w for w in words if w]


class SearchIndex:
    """Look-up tables over the rows of the library, which stand in order of preference.

    Parameters
    ----------
    names, synonyms, ids : sequence of str, sequence of sequence of str
        For every row its name, its other names, and its other identifiers.
    labels : sequence of (kind, label) sequences
        For every row its targets and mechanisms, ``("target", "EGFR")``.
    groups : sequence of str
        For every row what identifies the same compound (stereoisomers): one hit a group.
    """

    def __init__(
        self,
        names: Sequence[str],
        synonyms: Sequence[Sequence[str]],
        ids: Sequence[Collection[str]],
        labels: Sequence[Sequence[tuple[str, str]]],
        groups: Sequence[str],
    ) -> None:
        self._groups = groups
        self._exact: dict[str, Match] = {}
        self._saltless: dict[str, Match] = {}
        self._spelled: dict[str, Match] = {}
        self._labels: dict[tuple[str, str], list[int]] = {}
        for row, name in enumerate(names):
            self._add(Match(row, NAME, "name", name))
            for label in labels[row]:
                self._labels.setdefault(label, []).append(row)
        for row, others in enumerate(synonyms):
            for synonym in others:
                self._add(Match(row, SYNONYM, "synonym", synonym))
            for identifier in ids[row]:
                self._exact.setdefault(plain(identifier), Match(row, ID, "identifier", identifier))
        self._exact.pop("", None)
        self._sorted_exact = sorted(self._exact)
        self._keys = sorted(self._spelled)
        self._label_words = {label: _words(label[1]) for label in self._labels}
        self._label_keys = {plain(label[1]): label for label in self._labels}

    def _add(self, match: Match) -> None:
        """Make a name or synonym findable: exactly, misspelled, and without its salt."""
        key = plain(match.text)
        if _BROAD_ID.fullmatch(match.text):
            self._exact.setdefault(key, Match(match.row, ID, "identifier", match.text))
            return
        self._exact.setdefault(key, match)
        if key and key not in self._spelled:
            self._spelled[key] = match
            if saltless := without_salt(match.text):
                salt = match._replace(score=SYNONYM, other_salt=True)
                self._saltless.setdefault(saltless, salt)

    def exact(self, text: str) -> Match | None:
        """Row whose name, synonym or identifier is `text`; salt words may differ."""
        if len(text) > MAX_QUERY_CHARACTERS:
            return None
        if batch := _BROAD_ID.match(text.upper()):
            text = batch[0]  # without the numbers of the salt and the batch
        key = plain(text)
        if key in self._exact:
            return self._exact[key]
        saltless = without_salt(text)
        if saltless in self._exact:
            return self._exact[saltless]._replace(score=SYNONYM, other_salt=True)
        return self._saltless.get(key) or self._saltless.get(saltless)

    def nearest(self, text: str, limit: int) -> list[str]:
        """Up to `limit` names spelled like `text`, best first, one a compound."""
        names: dict[str, str] = {}
        for key, _, _ in self._similar(plain(text[:MAX_QUERY_CHARACTERS]), 0.0, 2 * limit):
            match = self._spelled[key]
            names.setdefault(self._groups[match.row], match.text)
        return list(names.values())[:limit]

    def search(self, query: str, limit: int) -> list[Match]:
        """Best rows for a query, one a compound, highest score first."""
        key = plain(query)
        if not key or len(query) > MAX_QUERY_CHARACTERS:
            return []
        found: dict[str, Match] = {}
        for match in self._matches(query, key):
            found.setdefault(self._groups[match.row], match)
            if len(found) >= limit:
                break
        return list(found.values())

    def _matches(self, query: str, key: str) -> Iterator[Match]:
        exact = self.exact(query)
        if exact is not None:
            yield exact
        if ("target", query) in self._labels:  # capitals: MET is the gene, met begins metformin
            yield from self._carrying([("target", query)])
        yield from self._starting_with(key)
        yield from self._labelled(query)
        yield from self._containing(key)
        if len(key) >= 3:
            yield from self._misspelled(key)

    def _starting_with(self, key: str) -> Iterator[Match]:
        if len(key) < 2:
            return
        start = bisect_left(self._sorted_exact, key)
        stop = bisect_left(self._sorted_exact, key + "\uffff", lo=start)
        found = (self._exact[k] for k in self._sorted_exact[start:stop])
        # Names before synonyms before identifiers, then the order of preference of the rows.
        for match in nsmallest(MAX_PREFIX_MATCHES, found, key=lambda m: (-m.score, m.row)):
            yield match._replace(score=PREFIX - (NAME - match.score) / 10)

    def _labelled(self, query: str) -> Iterator[Match]:
        if len(query) >= 2:
            yield from self._carrying(self._matching_labels(query))

    def _carrying(self, labels: list[tuple[str, str]]) -> Iterator[Match]:
        rows: dict[int, Match] = {}
        for kind, text in labels:
            for row in self._labels[kind, text]:
                rows.setdefault(row, Match(row, LABEL, kind, text))
        yield from (rows[row] for row in sorted(rows))

    def _matching_labels(self, query: str) -> list[tuple[str, str]]:
        words = _words(query)
        gene = plain(" ".join(w for w in words if w not in _ACTION_WORDS))
        labels = [label for label, have in self._label_words.items() if _covers(have, words)]
        target = ("target", gene.upper())
        if target in self._labels and target not in labels:
            labels.append(target)
        if not labels and len(words) > 1:
            near = process.extractOne(
                plain(query),
                self._label_keys.keys(),
                scorer=OSA.normalized_similarity,
                score_cutoff=0.85,
            )
            labels = [self._label_keys[near[0]]] if near else []
        return labels

    def _containing(self, key: str) -> Iterator[Match]:
        if len(key) < 4:
            return
        found = [self._spelled[k] for k in self._keys if key in k]
        for match in sorted(found):
            yield match._replace(score=INSIDE)

    def _misspelled(self, key: str) -> Iterator[Match]:
        for spelled, similarity, _ in self._similar(key, MIN_SIMILARITY, 50):
            match = self._spelled[spelled]
            score = round(FUZZY * similarity, 1)
            yield match._replace(score=score, kind=f"similar {match.kind}")

    def _similar(self, key: str, cutoff: float, limit: int) -> list[tuple[str, float, int]]:
        return process.extract(
            key,
            self._keys,
            scorer=OSA.normalized_similarity,
            score_cutoff=cutoff,
            limit=limit,
        )


def _covers(have: list[str], wanted: list[str]) -> bool:
    """Whether every wanted word begins a word of the label."""
    return bool(wanted) and all(any(h.startswith(w) for h in have) for w in wanted)
