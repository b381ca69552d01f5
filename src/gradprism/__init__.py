"""GradPrism: what each training example does to a language model, read from its layer-wise gradients.

The public names, each loaded on first use so that `import gradprism` stays cheap:

- `spectra`: the main job; the gradient spectrum of every layer for every example of a data set -> `Run`
- `score`: quality metrics of every example into a run; and each metric alone, as a table: `ifd`, `instag`,
  `difficulty`, `reward`, `length`, `loss`, `perplexity`
- `metric_values`: any number of a run's examples by its name, such as `ifd` or `effective_rank:q@10-19`
- `corpus_tags`: how often each tag occurs in a set
- `compare`: groups of examples, raw and at equal length -> `Comparison`; `open_comparison` reads a saved one
- `correlate`: metrics and measures of a run with each other; `draw_figures`, `write_report`: of comparisons and runs
- `import_paper`: published gradient statistics into a run; `export_paper`: a run into such a file
- `select`: subsets of a run or of data, by any metric
- `open_run`, `Run`: read a run directory
- `GradientAnalyzer`: the same measures on a model and tokenizer one already holds
- `singular_values`: of the gradient Dᵀ X, from the two factors
- `nuclear_norm`, `effective_rank`, `frobenius_norm`, `spectral_norm`, `stable_rank`: of singular values
- `GradPrismError`: the one exception type
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from gradprism.core.errors import GradPrismError

if TYPE_CHECKING:
    from gradprism.compare.api import compare
    from gradprism.compare.comparison_files import open_comparison
    from gradprism.correlate.api import correlate
    from gradprism.figures.api import draw_figures
    from gradprism.interop.exporting import export_paper
    from gradprism.interop.importing import import_paper
    from gradprism.measure.api import spectra
    from gradprism.report.api import write_report
    from gradprism.runs.run import Run, open_run
    from gradprism.runs.score_summary import corpus_tags
    from gradprism.runs.values import metric_values
    from gradprism.score.api import difficulty, ifd, instag, length, loss, perplexity, reward, score
    from gradprism.select.api import select
    from gradprism.spectra.analyzer import GradientAnalyzer
    from gradprism.spectra.measures import effective_rank, frobenius_norm, nuclear_norm, spectral_norm, stable_rank
    from gradprism.spectra.spectrum import singular_values

__version__ = version("gradprism")

_HOME = {
    "compare": "gradprism.compare.api",
    "correlate": "gradprism.correlate.api",
    "draw_figures": "gradprism.figures.api",
    "write_report": "gradprism.report.api",
    "export_paper": "gradprism.interop.exporting",
    "import_paper": "gradprism.interop.importing",
    "open_comparison": "gradprism.compare.comparison_files",
    "corpus_tags": "gradprism.runs.score_summary",
    "metric_values": "gradprism.runs.values",
    "GradientAnalyzer": "gradprism.spectra.analyzer",
    "Run": "gradprism.runs.run",
    "difficulty": "gradprism.score.api",
    "effective_rank": "gradprism.spectra.measures",
    "frobenius_norm": "gradprism.spectra.measures",
    "ifd": "gradprism.score.api",
    "instag": "gradprism.score.api",
    "length": "gradprism.score.api",
    "loss": "gradprism.score.api",
    "nuclear_norm": "gradprism.spectra.measures",
    "open_run": "gradprism.runs.run",
    "perplexity": "gradprism.score.api",
    "reward": "gradprism.score.api",
    "score": "gradprism.score.api",
    "select": "gradprism.select.api",
    "singular_values": "gradprism.spectra.spectrum",
    "spectra": "gradprism.measure.api",
    "spectral_norm": "gradprism.spectra.measures",
    "stable_rank": "gradprism.spectra.measures",
}

__all__ = [
    "GradPrismError",
    "GradientAnalyzer",
    "Run",
    "compare",
    "corpus_tags",
    "correlate",
    "difficulty",
    "draw_figures",
    "effective_rank",
    "export_paper",
    "frobenius_norm",
    "ifd",
    "import_paper",
    "instag",
    "length",
    "loss",
    "metric_values",
    "nuclear_norm",
    "open_comparison",
    "open_run",
    "perplexity",
    "reward",
    "score",
    "select",
    "singular_values",
    "spectra",
    "spectral_norm",
    "stable_rank",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'gradprism' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
