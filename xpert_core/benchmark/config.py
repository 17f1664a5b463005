"""What a benchmark runs, read from YAML; unknown keys are refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from xpert_core.baselines import registry
from xpert_core.errors import DataError
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.folds import SCENARIOS

XPERT = "xpert"
DRUG_INPUTS = ("true", "zeroed", "shuffled")
READOUT_CHOICES = ("both", "level 3", "level 5")
_FIX = "Compare with training/configs/smoke.yaml."


@dataclass(frozen=True)
class ModelSpec:
    """One model of the tables.

    Attributes
    ----------
    name : str
        What the tables call it.
    kind : str
        ``"xpert"`` or the name of a baseline.
    settings : dict
        Of a baseline: keyword arguments. Of XPert: fields of `TrainConfig` that differ from
        `recipe`; ``graph`` may be a template with ``{scenario}`` and ``{fold}``, so that each
        fold has vectors of its own.
    recipe : str
        Of XPert: a training configuration, relative to the benchmark's file.
    drug : str
        ``"true"``; ``"zeroed"`` and ``"shuffled"`` take the drug's structure away, or exchange it
        with others, and its place in the graph away, in training too.
    keep_predictions : bool
        Whether predictions of test and validation rows stay on disk: for figures of single genes.
    average_seeds : bool
        Whether the mean prediction over all seeds (that still have their predictions) is scored
        as a model of its own; keeps the predictions.
    scenarios : tuple of str
        Scenarios it takes part in; () = all that can ask it.
    folds, seeds : tuple of int
        Of these scenarios; () = as the benchmark says. An ablation may run on fewer.
    against : str
        Of another form of XPert: the one it is compared with; "" = the main model.
    """

    name: str
    kind: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""
    drug: str = "true"
    keep_predictions: bool = False
    average_seeds: bool = False
    scenarios: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    against: str = ""

    @property
    def keeps(self) -> bool:
        """Whether predictions stay on disk."""
        return self.keep_predictions or self.average_seeds

    @property
    def of_each_fold(self) -> bool:
        """Whether its graph vectors are named by a template, see `benchmark.models.of_fold`."""
        return self.kind == XPERT and "{" in str(self.settings.get("graph", ""))

    @property
    def seeded(self) -> bool:
        """Whether its numbers depend on a seed."""
        return (
            self.kind == XPERT or self.drug == "shuffled" or registry.available()[self.kind].seeded
        )

    @property
    def splits_again(self) -> bool:
        """Whether it splits its training rows itself, and asks what is held out as a whole."""
        if self.kind == XPERT:
            return bool(self.settings.get("residual"))
        return registry.available()[self.kind].grouped

    def applies(self, scenario: str) -> bool:
        """Whether the scenario asks it, and can."""
        if self.scenarios and scenario not in self.scenarios:
            return False
        return self.kind == XPERT or registry.available()[self.kind].applies(scenario)

    def seeds_of(self, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Seeds it runs with, when the benchmark's are `seeds`."""
        own = self.seeds or seeds
        return own if self.seeded else own[:1]


@dataclass(frozen=True)
class ScenarioSpec:
    """One scenario of the tables.

    Attributes
    ----------
    name : str
    readout : str
        Rows that take part: ``"both"``, ``"level 3"`` or ``"level 5"``.
    folds : tuple of int
        Folds that run, from 1; all five are drawn whichever run.
    longer : int
        So many times their most epochs and patience are given to all networks: where few rows are
        trained on, an epoch is few steps.
    """

    name: str
    readout: str = "both"
    folds: tuple[int, ...] = (1, 2, 3, 4, 5)
    longer: int = 1


@dataclass(frozen=True)
class BenchmarkConfig:
    """A benchmark.

    Attributes
    ----------
    name : str
    data : Path
        Prepared training data; relative paths start from the configuration file.
    scenarios : tuple of ScenarioSpec
    models : tuple of ModelSpec
    seeds : tuple of int
        Of models that depend on one; others run once.
    n_folds, split_seed : int
    workers : int
        Processes; each uses one thread.
    subset : str
        Mechanism or target of the drugs whose most variable genes the report shows by themselves.
    base : Path
        Folder of the configuration file.
    splits : Path, optional
        Folder with split files of the data, as ``xpert data prepare tensors`` writes them next to
        published splits; they are used in place of drawn ones. Relative paths start from the
        configuration file.
    """

    name: str
    data: Path
    scenarios: tuple[ScenarioSpec, ...]
    models: tuple[ModelSpec, ...]
    seeds: tuple[int, ...] = (0,)
    n_folds: int = 5
    split_seed: int = 0
    workers: int = 2
    subset: str = "EGFR inhibitor"
    base: Path = Path()
    splits: Path | None = None

    @classmethod
    def load(cls, path: Path) -> BenchmarkConfig:
        """Read a YAML file.

        Raises
        ------
        DataError
            When it cannot be read, has unknown keys, or names what does not exist.
        """
        path = Path(path)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            found = cls.from_values(values, path.parent)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, *WRONG) as error:
            raise DataError(
                "The benchmark's configuration cannot be used.",
                where=f"{path.name}: {str(error)[:200]}",
                fix=_FIX,
            ) from error
        found.check(path.name)
        return found

    @classmethod
    def from_values(cls, values: dict[str, Any], base: Path) -> BenchmarkConfig:
        """Build from what a YAML file in the folder `base` holds; not yet checked.

        Raises
        ------
        KeyError, TypeError, ValueError, AttributeError
            When a key is missing, unknown or of another kind.
        """
        values = dict(values)
        scenarios = tuple(_record(ScenarioSpec, v) for v in values.pop("scenarios"))
        models = tuple(_record(ModelSpec, v) for v in values.pop("models"))
        data = base / values.pop("data")
        values["seeds"] = tuple(values.get("seeds", (0,)))
        if "splits" in values:
            values["splits"] = base / values["splits"]
        return cls(data=data, scenarios=scenarios, models=models, base=base, **values)

    def check(self, where: str) -> None:
        """Refuse what names no scenario, read-out, fold or model.

        Raises
        ------
        DataError
            Naming everything that is wrong, and the file `where` it stands.
        """
        names, asked = ([x.name for x in part] for part in (self.models, self.scenarios))
        forms = {m.name for m in self.models if m.kind == XPERT}
        wrong = [
            *(["subset without a name"] if not str(self.subset).strip() else []),
            *(f"scenario {s.name}" for s in self.scenarios if s.name not in SCENARIOS),
            *(f"readout {s.readout}" for s in self.scenarios if s.readout not in READOUT_CHOICES),
            *(f"fold {f}" for s in self.scenarios for f in s.folds if not 1 <= f <= self.n_folds),
            *(f"longer {s.longer}" for s in self.scenarios if not _counts(s.longer)),
            *(
                f"model kind {m.kind}"
                for m in self.models
                if m.kind != XPERT and m.kind not in registry.available()
            ),
            *(
                f"{m.name} in scenario {s}"
                for m in self.models
                for s in m.scenarios
                if s not in {s.name for s in self.scenarios}
            ),
            *(f"drug {m.drug}" for m in self.models if m.drug not in DRUG_INPUTS),
            *(f"two of scenario {n}" for n in sorted(set(asked)) if asked.count(n) > 1),
            *(f"two models named {n}" for n in sorted(set(names)) if names.count(n) > 1),
            *(f"graph {m.settings['graph']} of {m.name}" for m in self.models if not _fits(m)),
            *(f"{m.name} against {m.against}" for m in self.models if not _compares(m, forms)),
            *(
                f"{m.name} without a recipe"
                for m in self.models
                if m.kind == XPERT and not m.recipe
            ),
        ]
        if not (self.scenarios and self.models and self.seeds):
            wrong.append("no scenario, model or seed")
        if wrong:
            raise DataError(
                f"The benchmark's configuration cannot be used: {', '.join(wrong)}.",
                where=where,
                fix=_FIX,
            )


def _compares(model: ModelSpec, forms: set[str]) -> bool:
    """Whether the model it is compared with is another form of XPert, as it is itself."""
    return not model.against or (model.name in forms and model.against in forms - {model.name})


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def longer(spec: ModelSpec, base: Path, times: int) -> ModelSpec:
    """The model with so many times its epochs and patience; others come back as they are.

    Parameters
    ----------
    spec : ModelSpec
    base : Path
        Folder that its recipe starts from.
    times : int
    """
    if times == 1:
        return spec
    if spec.kind == XPERT:
        own: Any = TrainConfig.load(base / spec.recipe)
    else:
        own = registry.create(spec.kind)
        if not hasattr(own, "max_epochs"):
            return spec
    limits = {n: times * spec.settings.get(n, getattr(own, n)) for n in ("max_epochs", "patience")}
    return replace(spec, settings={**spec.settings, **limits})


def _fits(model: ModelSpec) -> bool:
    """Whether a template of graph vectors, where there is one, gives each fold its own file."""
    if not model.of_each_fold:
        return True
    places = (("a", 1), ("a", 2), ("b", 1))
    try:
        found = {str(model.settings["graph"]).format(scenario=s, fold=f) for s, f in places}
    except (KeyError, IndexError, ValueError, AttributeError):
        return False
    return len(found) == len(places)


WRONG = (KeyError, TypeError, ValueError, AttributeError)
"""What a mapping of another shape raises while it is read."""


def _record(kind: type, values: Any) -> Any:
    values = {"name": values} if isinstance(values, str) else dict(values)
    unknown = sorted(set(values) - {f.name for f in fields(kind)})
    if unknown:
        raise ValueError(f"unknown keys {', '.join(unknown)}")
    if kind is ModelSpec:
        values.setdefault("kind", values["name"])
    for name in ("folds", "seeds"):
        if name in values:
            values[name] = tuple(int(v) for v in values[name])
    if "scenarios" in values:
        values["scenarios"] = tuple(str(v) for v in values["scenarios"])
    return kind(**values)


@dataclass(frozen=True)
class Task:
    """One model on one fold with one seed.

    Attributes
    ----------
    scenario : ScenarioSpec
    fold : int
        From 1.
    model : ModelSpec
    seed : int
    """

    scenario: ScenarioSpec
    fold: int
    model: ModelSpec
    seed: int

    @property
    def label(self) -> str:
        """For people: ``cold-drug, fold 1, ridge, seed 0``."""
        return f"{self.scenario.name}, fold {self.fold}, {self.model.name}, seed {self.seed}"

    def identity(self, data_digest: str, split_digest: str, recipe: dict[str, Any]) -> str:
        """Hash of everything its numbers depend on but the program itself."""
        from xpert_core import __version__

        scenario = {"name": self.scenario.name, "readout": self.scenario.readout}
        model = asdict(self.model)
        # What is kept, where else it runs and what it is compared with change no number.
        for name in (
            "keep_predictions", "average_seeds", "scenarios", "folds", "seeds", "against",
        ):  # fmt: skip
            del model[name]
        document = [
            scenario, self.fold, [model, self.model.keeps], self.seed,
            data_digest, split_digest, recipe, __version__,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def tasks(config: BenchmarkConfig) -> list[Task]:
    """Every task, the quick models first within a fold, in the order of the configuration."""
    return [
        Task(scenario, fold, longer(model, config.base, scenario.longer), seed)
        for scenario in config.scenarios
        for fold in scenario.folds
        for model in config.models
        if model.applies(scenario.name) and (not model.folds or fold in model.folds)
        for seed in model.seeds_of(config.seeds)
    ]
