"""What training each model took, what it was allowed to take, and who ended at that limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from xpert_core.baselines import registry
from xpert_core.benchmark.config import XPERT, BenchmarkConfig, ModelSpec, longer
from xpert_core.benchmark.markdown import Section, table
from xpert_core.benchmark.models import recipe_of
from xpert_core.benchmark.runner import Finished, trained_on
from xpert_core.learning.config import TrainConfig


@dataclass(frozen=True)
class Budget:
    """What the training of a model may take.

    Attributes
    ----------
    max_epochs, patience : int
        Training ends after `max_epochs`, or after `patience` epochs without a better validation
        score.
    gene_share, judged_share : float
        Of the genes: what a training step sees, and what an epoch is judged on.
    best : bool
        Whether its tasks store the best epoch (XPert) or the last (baselines).
    cut : bool
        Whether settings give a baseline fewer epochs, less patience or fewer genes, to train or to
        be judged on, than it has by itself.
    """

    max_epochs: int
    patience: int
    gene_share: float
    judged_share: float
    best: bool
    cut: bool

    def last(self, epochs: int) -> int:
        """The epoch at which a task ended, from the one it stores."""
        return min(epochs + self.patience, self.max_epochs) if self.best else epochs

    def at_cap(self, epochs: int) -> bool:
        """Whether a task ended because no epoch was left, while its patience was not over."""
        if self.best:
            return epochs + self.patience > self.max_epochs
        return epochs >= self.max_epochs

    @property
    def words(self) -> str:
        """``at most 6 epochs, 0.125 of the genes a step, judged on 0.25``."""
        genes = f", {self.gene_share:g} of the genes a step" if self.gene_share < 1 else ""
        judged = f", judged on {self.judged_share:g}" if self.judged_share < 1 else ""
        return f"at most {self.max_epochs} epochs{genes}{judged}"


def budget_of(spec: ModelSpec, base: Path) -> Budget | None:
    """The budget of a model; None where it is not trained by epochs.

    Parameters
    ----------
    spec : ModelSpec
    base : Path
        Folder that its recipe starts from.
    """
    if spec.kind == XPERT:
        recipe = TrainConfig.from_dict(recipe_of(spec, base))
        limits = recipe.max_epochs, recipe.patience, recipe.gene_share, 1.0
        return Budget(*limits, best=True, cut=False)
    info = registry.available()[spec.kind]
    given = registry.create(spec.kind, **({} if info.grouped else spec.settings))
    if not hasattr(given, "max_epochs"):
        return None
    own = [_limits(model) for model in (given, registry.create(spec.kind))]
    cut = any(a < b for a, b in zip(*own, strict=True))
    return Budget(*own[0], best=False, cut=cut)


def _limits(model: Any) -> tuple[int, int, float, float]:
    shares = (getattr(model, name, 1.0) for name in ("gene_share", "judged_share"))
    return (model.max_epochs, model.patience, *shares)


def budget_words(
    config: BenchmarkConfig, finished: Sequence[Finished]
) -> dict[tuple[str, str], str]:
    """What must stand beside the name of a baseline that is said to be beaten.

    Returns
    -------
    dict of (str, str) to str
        By scenario and model: of baselines whose settings cut their training, and of those of which
        a task ended at its cap of epochs. Others are not in it.
    """
    found, done = {}, {f.facts["model"] for f in finished}
    for spec in config.models:
        if spec.kind == XPERT or spec.name not in done:
            continue
        for scenario in dict.fromkeys(str(f.facts["scenario"]) for f in finished):
            budget = budget_of(longer(spec, config.base, _times(config, scenario)), config.base)
            own = [
                f.facts["epochs"]
                for f in finished
                if (f.facts["model"], f.facts["scenario"]) == (spec.name, scenario)
            ]
            if budget is None or not own:
                continue
            capped = sum(budget.at_cap(epochs) for epochs in own)
            words = [budget.words] if budget.cut or capped else []
            words += [f"{capped} of {len(own)} trainings ended there"] if capped else []
            if words:
                found[scenario, spec.name] = ", ".join(words)
    return found


def _times(config: BenchmarkConfig, scenario: str) -> int:
    return next((s.longer for s in config.scenarios if s.name == scenario), 1)


def cost_section(config: BenchmarkConfig, finished: Sequence[Finished]) -> Section:
    """The section on what each model costs, and what it was allowed to cost."""
    timed = _timed(finished)
    costs = pd.DataFrame(
        {
            "model": [f.facts["model"] for f in timed],
            "fit": [f.facts["seconds"]["fit"] for f in timed],
            "predict": [1e3 * f.facts["seconds"]["predict"] / len(f.rows) for f in timed],
            "memory": [f.facts["memory_mib"] for f in timed],
        }
    )
    own = {
        name: all(f.facts.get("memory_own", False) for f in timed if f.facts["model"] == name)
        for name in costs["model"].unique()
    }
    said = "memory is the most a worker held while the task ran, program and data included"
    if not all(own.values()):
        said += "; of lines with *, the most that some of its workers had held by then"
    if any(map(_on_gpu, finished)):
        said += (
            "; of a model partly trained on a GPU, times and memory are those of its other "
            "trainings, and a GPU's own memory is never counted"
        )
    specs = {spec.name: spec for spec in config.models}
    lines = []
    for name, c in costs.groupby("model", sort=False).mean().iterrows():
        model = str(name)
        spec = specs.get(model)
        epochs = [
            (_times(config, f.facts["scenario"]), int(f.facts["epochs"]))
            for f in finished
            if f.facts["model"] == model
        ]
        settings = _settings(spec) + _elsewhere(spec, finished) if spec else ""
        lines.append(
            [model, settings, f"{c['fit']:.1f}", f"{c['predict']:.2f}",
             f"{c['memory']:.0f}{'' if own[model] else '*'}",
             *(_epochs(spec, config.base, epochs) if spec else [""] * 4)]
        )  # fmt: skip
    head = ["model", "settings", "fit (s)", "predict (ms a row)", "memory (MiB)", "genes a step",
            "epochs run", "most (patience)", "ended at most"]  # fmt: skip
    text = f"Means over tasks of one thread each; {said}. {_NOTE}{_lengthened(config)}"
    text += f"\n\n{table(head, lines)}"
    return Section("What each model costs", text)


def _epochs(spec: ModelSpec, base: Path, epochs: list[tuple[int, int]]) -> list[str]:
    """Share of genes, epochs that ran and at most could run, and how many tasks ended there.

    Of each task: how many times its scenario lengthens the training, and the epoch it stores.
    """
    plain = budget_of(spec, base)
    if plain is None:
        return [""] * 4
    known = {times: budget_of(longer(spec, base, times), base) or plain for times, _ in epochs}
    last = [known[times].last(e) for times, e in epochs]
    capped = sum(known[times].at_cap(e) for times, e in epochs)
    limit = f"{plain.max_epochs} ({plain.patience})"
    ran = f"{sum(last) / len(last):.0f}"
    return [f"{plain.gene_share:g}", ran, limit, f"{capped} of {len(epochs)}"]


def _lengthened(config: BenchmarkConfig) -> str:
    """Which scenarios give networks more epochs than the table says."""
    places: dict[int, list[str]] = {}
    for scenario in config.scenarios:
        if scenario.longer > 1:
            places.setdefault(scenario.longer, []).append(scenario.name)
    if not places:
        return ""
    words = [f"{times} times these in {', '.join(names)}" for times, names in places.items()]
    return f" Most epochs and patience are {' and '.join(words)}, where an epoch is few steps."


def _on_gpu(task: Finished) -> bool:
    return trained_on(task) != "cpu"


def _timed(finished: Sequence[Finished]) -> list[Finished]:
    """Tasks whose times count: not those on a GPU, where the model also ran on the processor.

    A mean over both would be of nothing that anybody can have.
    """
    on_cpu = {f.facts["model"] for f in finished if not _on_gpu(f)}
    return [f for f in finished if not (_on_gpu(f) and f.facts["model"] in on_cpu)]


def _elsewhere(spec: ModelSpec, finished: Sequence[Finished]) -> str:
    """How many tasks ran on a GPU, and of a model that asks for bfloat16, how many without it."""
    own = [f for f in finished if f.facts["model"] == spec.name]
    plain = [f.facts.get("trained_in") for f in own].count("float32")
    on_gpu = sum(map(_on_gpu, own))
    words = [f"{plain} of {len(own)} in float32"] if plain and spec.settings.get("bf16") else []
    if on_gpu:
        left_out = ", not timed" if on_gpu < len(own) else ""
        words.append(f"{on_gpu} of {len(own)} on a GPU{left_out}")
    return f" ({'; '.join(words)})" if words else ""


def _settings(spec: ModelSpec) -> str:
    """Settings that the configuration gives a model; ``model.raw_values: True``."""
    flat: dict[str, Any] = {}
    for key, value in spec.settings.items():
        inner = value if isinstance(value, dict) else {"": value}
        flat |= {f"{key}.{k}" if k else key: v for k, v in inner.items()}
    words = [f"{k}: {Path(v).name if '/' in str(v) else v}" for k, v in flat.items()]
    return ", ".join([Path(spec.recipe).name, *words] if spec.recipe else words)


def origins_section(config: BenchmarkConfig) -> Section | None:
    """Where the baselines of the configuration differ from what is published; None of nothing."""
    statements = [
        f"- {info.label}: {info.differs}"
        for name, info in registry.available().items()
        if info.differs and any(m.kind == name for m in config.models)
    ]
    if not statements:
        return None
    return Section("Where the baselines differ from the originals", "\n".join(statements))


_NOTE = """\
Training ends after the most epochs, or after `patience` of them without a better validation score;
the best epoch's weights are used. A model that ended at the most might have gone on: what beats it
here beat it within this budget. (XPert's learning rate falls to 0 at its most epochs, so that it
ends there by design.) Settings are those of the configuration, beside the recipe of XPert; a mean
over seeds has those of its seeds."""
