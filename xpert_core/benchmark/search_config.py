"""What a hyperparameter search tries, read from YAML; unknown keys are refused."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from xpert_core.benchmark.config import WRONG, XPERT, BenchmarkConfig, ModelSpec
from xpert_core.benchmark.models import make_model, recipe_document, recipe_of
from xpert_core.errors import DataError, XPertError
from xpert_core.learning.config import TrainConfig
from xpert_core.model.config import ModelConfig
from xpert_core.model.losses import LossWeights

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SAMPLERS = ("random", "tpe")
PRUNERS = ("median", "none")
MOST_DRAWS = 100
"""Settings drawn for one trial until some can be built."""
_FIXED = (
    "name",
    "data",
    "seed",
    "threads",
    "split_seed",
    "valid",
    "test",
    "targets",
    "model",
    "loss",
)
_FIX = "Compare with training/configs/search-smoke.yaml."


@dataclass(frozen=True)
class Range:
    """What one setting may be: one of `choices`, or a number from `low` to `high`.

    Attributes
    ----------
    choices : tuple
        Text, numbers, or true and false.
    low, high : int or float
        Both included. Two whole numbers (written without a point) give whole numbers.
    step : int or float, optional
    log : bool
        Drawn evenly on a logarithmic scale.
    """

    choices: tuple[Any, ...] = ()
    low: float = math.nan
    high: float = math.nan
    step: float | None = None
    log: bool = False

    @classmethod
    def read(cls, values: Any) -> Range:
        """Build from a list of choices or a mapping.

        Raises
        ------
        ValueError, TypeError
            On what is no range.
        """
        if isinstance(values, list):
            values = {"choices": values}
        values = dict(values)
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"unknown keys {', '.join(unknown)}")
        if "choices" in values:
            if set(values) != {"choices"} or not values["choices"]:
                raise ValueError("choices stand alone, at least one")
            return cls(choices=tuple(values["choices"]))
        numbers: dict[str, Any] = {
            k: _number(values[k]) for k in ("low", "high", "step") if k in values
        }
        found = cls(**numbers, log=bool(values.get("log", False)))
        if not found.low < found.high or (found.log and (found.low <= 0 or found.step)):
            raise ValueError(f"no range: {values}")
        return found

    def distribution(self) -> BaseDistribution:
        """The same for Optuna."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.choices:
            return CategoricalDistribution(self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def document(self) -> list[Any]:
        """What tells it from another range, as JSON keeps it."""
        return list(self.choices) or [{"low": self.low, "high": self.high}, self.step, self.log]

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(map(str, self.choices))
        step = f", in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{step}{' (log)' if self.log else ''}"


def _number(value: Any) -> float:
    # YAML reads 1e-3, without a point, as text.
    return value if isinstance(value, int) else float(value)


@dataclass(frozen=True)
class SearchConfig:
    """A search.

    Attributes
    ----------
    bench : BenchmarkConfig
        Data, scenarios with read-outs and folds, splits, workers, and one model: the base.
    space : dict of str to Range
        Ranges by key path into the model's settings, such as ``lr`` or ``model.d_model``.
    trials : int
        With the first, which is the base itself.
    seed : int
        Settings and training of trial n depend on this and on n.
    sampler : str
        ``"random"`` (as in the paper) or ``"tpe"``.
    pruner : str
        ``"median"``: a trial ends when its best scores so far are below the median of finished
        trials at the same point; ``"none"``.
    min_epochs : int
        Of each fold, before an epoch's score can end a trial.
    round_size : int
        Trials are proposed and pruned from what earlier rounds found, never from their own: so
        the number of workers changes no result.
    """

    bench: BenchmarkConfig
    space: dict[str, Range]
    trials: int = 30
    seed: int = 0
    sampler: str = "random"
    pruner: str = "median"
    min_epochs: int = 3
    round_size: int = 8

    @property
    def base(self) -> ModelSpec:
        """The model that is searched around."""
        return self.bench.models[0]

    @classmethod
    def load(cls, path: Path) -> SearchConfig:
        """Read a YAML file.

        Raises
        ------
        DataError
            When it cannot be read, has unknown keys, or names what does not exist.
        """
        path = Path(path)
        try:
            found = cls._read(yaml.safe_load(path.read_text(encoding="utf-8")), path.parent)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, *WRONG) as error:
            raise DataError(
                "The search's configuration cannot be used.",
                where=f"{path.name}: {str(error)[:200]}",
                fix=_FIX,
            ) from error
        found.bench.check(path.name)
        found._check(path.name)
        return found

    @classmethod
    def _read(cls, values: dict[str, Any], base: Path) -> SearchConfig:
        values = dict(values)
        model = dict(values.pop("model"))
        model.setdefault("name", model["kind"])
        space = {str(k): Range.read(v) for k, v in values.pop("space").items()}
        pruner = values.pop("pruner", "median")
        pruner = {"kind": pruner} if isinstance(pruner, str) else dict(pruner)
        own: dict[str, Any] = {k: int(values.pop(k)) for k in ("trials", "seed") if k in values}
        if "round" in values:
            own["round_size"] = int(values.pop("round"))
        if "min_epochs" in pruner:
            own["min_epochs"] = int(pruner.pop("min_epochs"))
        own["sampler"] = values.pop("sampler", "random")
        own["pruner"] = pruner.pop("kind", "median")
        if pruner:
            raise ValueError(f"unknown keys of the pruner: {', '.join(pruner)}")
        bench = BenchmarkConfig.from_values({**values, "models": [model]}, base)
        return cls(bench, space, **own)

    def _check(self, where: str) -> None:
        wrong = [
            *([f"sampler {self.sampler}"] if self.sampler not in SAMPLERS else []),
            *([f"pruner {self.pruner}"] if self.pruner not in PRUNERS else []),
            *(f"space {key}" for key in self.space if not self._known(key)),
            *([f"drug {self.base.drug}"] if self.base.drug != "true" else []),
            *(["graph vectors of each fold"] if self.base.of_each_fold else []),
            *(
                f"{self.base.kind} in {s.name}"
                for s in self.bench.scenarios
                if not self.base.applies(s.name)
            ),
        ]
        if not self.space:
            wrong.append("no space")
        if not wrong and self.base.kind != XPERT:
            first = {k: r.choices[0] if r.choices else r.low for k, r in self.space.items()}
            try:
                make_model(spec_of(self, first), self.bench.base, 0)
            except TypeError as error:
                wrong.append(f"space: {error}")
        if min(self.trials, self.round_size, self.bench.workers, self.min_epochs) < 1:
            wrong.append("trials, round, workers and min_epochs must be at least 1")
        if wrong:
            raise DataError(
                f"The search's configuration cannot be used: {', '.join(wrong)}.",
                where=where,
                fix=_FIX,
            )

    def _known(self, key: str) -> bool:
        """Whether the model has such a setting; of a baseline its signature says so, see `draw`."""
        part, dot, name = key.rpartition(".")
        if self.base.kind != XPERT:
            return not dot
        tables = {"": TrainConfig, "model": ModelConfig, "loss": LossWeights}
        names = {f.name for f in fields(tables[part])} if part in tables else set()
        return name in names and (bool(part) or name not in _FIXED)

    def identity(self, data_digest: str, splits: dict[str, str]) -> dict[str, Any]:
        """Everything the trials depend on but their number, as JSON keeps it.

        Parameters
        ----------
        data_digest : str
        splits : dict of str to str
            Hash of the split file of each scenario.
        """
        from xpert_core import __version__

        recipe = recipe_document(self.base, self.bench.base)
        return {
            "data": data_digest,
            "splits": splits,
            "folds": {s.name: [s.readout, *s.folds] for s in self.bench.scenarios},
            "space": {key: r.document() for key, r in self.space.items()},
            "model": {"kind": self.base.kind, "settings": self.base.settings, **recipe},
            "seed": self.seed,
            "sampler": self.sampler,
            "pruner": [self.pruner, self.min_epochs],
            "round": self.round_size,
            "version": __version__,
        }


def spec_of(search: SearchConfig, params: dict[str, Any]) -> ModelSpec:
    """The model with some settings changed; keys are paths such as ``model.d_model``."""
    settings = dict(search.base.settings)
    for key, value in params.items():
        part, _, name = key.rpartition(".")
        if part:
            settings[part] = {**settings.get(part, {}), name: value}
        else:
            settings[name] = value
    return replace(search.base, settings=settings)


def check_params(search: SearchConfig, params: dict[str, Any]) -> None:
    """Refuse settings that no model can be built from, such as a width its heads do not divide.

    Raises
    ------
    XPertError
        With the reason.
    """
    spec = spec_of(search, params)
    if spec.kind == XPERT:
        ModelConfig.from_dict(TrainConfig.from_dict(recipe_of(spec, search.bench.base)).model)
        return
    try:
        make_model(spec, search.bench.base, 0)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{spec.kind} cannot be made: {error}.",
            where=f"settings of the base and of this trial: {spec.settings}"[:300],
            fix="Name in 'base' and 'space' only settings that it has, within their range "
            "(xpert_core/baselines).",
        ) from error


def seed_of(search: SearchConfig, number: int) -> int:
    """Seed of a trial's training; the base keeps no seed of its own either."""
    return int(np.random.default_rng([search.seed, number, 1]).integers(2**31))


def draw(search: SearchConfig, number: int, earlier: list[Any]) -> tuple[dict[str, Any], str]:
    """Settings of one trial: of the search's seed, the number and earlier rounds alone.

    Parameters
    ----------
    search : SearchConfig
    number : int
        From 0, which is the base itself and changes nothing.
    earlier : list of optuna.trial.FrozenTrial
        Trials of earlier rounds in the order of their numbers; random search looks at none.

    Returns
    -------
    params : dict
    reason : str
        Why none can be built, after `MOST_DRAWS` attempts; "" as a rule.
    """
    if number == 0:
        return {}, ""
    import optuna

    seed = int(np.random.default_rng([search.seed, number, 0]).integers(2**32))
    samplers = optuna.samplers
    sampler = (samplers.TPESampler if search.sampler == "tpe" else samplers.RandomSampler)(
        seed=seed
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(earlier)
    space = {key: r.distribution() for key, r in search.space.items()}
    reason = ""
    for _ in range(MOST_DRAWS):
        params = study.ask(space).params
        try:
            check_params(search, params)
        except XPertError as error:
            reason = error.what
        else:
            return params, ""
    return params, f"none of {MOST_DRAWS} draws can be built: {reason}"


def need_optuna() -> None:
    """Refuse to go on without Optuna; keep it quiet.

    Raises
    ------
    DataError
        When it is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise DataError("A search needs Optuna.", fix='Install it: pip install "xpert[search]".')
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
