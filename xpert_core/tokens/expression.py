"""Expression values as tokens: bin edges are a data set's own (paper, "Binned expression values").

The same token must mean the same relative expression on L1000, microarray and RNA-seq, so edges
are fitted on the data set a profile comes from, never taken over from another one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpert_core.errors import DataError

EDGE_KINDS = ("equidistant", "quantile")


@dataclass(frozen=True)
class ExpressionBins:
    """Fitted bin edges of one data set.

    Attributes
    ----------
    kind : str
        ``"equidistant"``: edges evenly spaced from minimum to maximum, as in the paper.
        ``"quantile"``: edges at equal shares of the values, so a token is a rank in the data set.
    edges : ndarray of float64, shape (n_tokens - 1,)
        Non-decreasing edges; token = ``numpy.digitize(value, edges)``, 0 to n_tokens - 1.
    """

    kind: str
    edges: np.ndarray

    @property
    def n_tokens(self) -> int:
        """Number of value tokens; the missing token has this number as its id."""
        return len(self.edges) + 1

    @classmethod
    def fit(
        cls, values: np.ndarray, kind: str = "equidistant", n_tokens: int = 128
    ) -> ExpressionBins:
        """Fit edges on all measured values of a data set.

        Parameters
        ----------
        values : ndarray, any shape
            log2 expression; NaN (not measured) is left out.
        kind : str
            One of `EDGE_KINDS`.
        n_tokens : int
            Number of value tokens (paper: 128).

        Raises
        ------
        DataError
            If nothing is measured or all values are equal.
        """
        measured = values[np.isfinite(values)]
        if kind not in EDGE_KINDS:
            raise DataError(f"Bin edges '{kind}' are not known.", fix=f"Use one of {EDGE_KINDS}.")
        if measured.size == 0 or measured.min() == measured.max():
            raise DataError(
                "The expression values cannot be binned: they are all missing or all equal.",
                fix="Check that the file holds expression values.",
            )
        if kind == "equidistant":
            edges = np.linspace(measured.min(), measured.max(), n_tokens - 1)
        else:
            edges = np.quantile(measured, np.linspace(0, 1, n_tokens + 1)[1:-1])
        return cls(kind, edges.astype(np.float64))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Tokens of values; NaN becomes the missing token ``n_tokens``.

        Parameters
        ----------
        values : ndarray of float, any shape

        Returns
        -------
        ndarray of int64, same shape
        """
        tokens = np.digitize(values, self.edges)
        return np.where(np.isnan(values), self.n_tokens, tokens).astype(np.int64)
