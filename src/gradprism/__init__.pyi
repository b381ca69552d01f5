from .ablation.api import ablate, open_ablation
from .comparison.api import compare
from .comparison.comparison_files import open_comparison
from .core.errors import GradPrismError
from .correlation.api import correlate
from .figures.api import draw_figures
from .hub.api import open_hub, push
from .interop.exporting import export_paper
from .interop.importing import import_paper
from .interop.score_tables import export_table
from .measurement.api import spectra
from .prism.analyzer import GradientAnalyzer
from .prism.norms_and_ranks import effective_rank, frobenius_norm, nuclear_norm, spectral_norm, stable_rank
from .prism.spectrum import singular_values
from .report.api import write_report
from .runs.integrity import check
from .runs.run import Run, open_run
from .runs.score_summary import corpus_tags
from .runs.steps import Steps, open_steps
from .runs.values import metric_values
from .scoring.api import score
from .scoring.in_memory import difficulty, ifd, instag, length, loss, perplexity, reward
from .selection.api import select
from .set_diversity.api import diversity
from .targets.api import influence
from .training.callback import SpectraCallback

__version__: str
__all__ = [
    "GradPrismError",
    "GradientAnalyzer",
    "Run",
    "SpectraCallback",
    "Steps",
    "ablate",
    "check",
    "compare",
    "corpus_tags",
    "correlate",
    "difficulty",
    "diversity",
    "draw_figures",
    "effective_rank",
    "export_paper",
    "export_table",
    "frobenius_norm",
    "ifd",
    "import_paper",
    "influence",
    "instag",
    "length",
    "loss",
    "metric_values",
    "nuclear_norm",
    "open_ablation",
    "open_comparison",
    "open_hub",
    "open_run",
    "open_steps",
    "perplexity",
    "push",
    "reward",
    "score",
    "select",
    "singular_values",
    "spectra",
    "spectral_norm",
    "stable_rank",
    "write_report",
]
