"""GradPrism: what each training example does to a language model, read from its layer-wise gradients.

The public names, each loaded on first use so that `import gradprism` stays cheap; `__init__.pyi` says from where:

- `spectra`: the main job; the gradient spectrum of every layer for every example of a data set -> `Run`
- `score`: quality metrics of every example into a run; and each metric alone, as a table: `ifd`, `instag`,
  `difficulty`, `reward`, `length`, `loss`, `perplexity`
- `influence`: the gradients of a run's rows compared with those of target rows
- `metric_values`: any number of a run's examples by its name, such as `ifd` or `effective_rank:q@10-19`
- `corpus_tags`: how often each tag occurs in a set
- `compare`: groups of examples, raw and length-controlled -> `Comparison`; `open_comparison` reads a saved one
- `correlate`: metrics and measures of a run with each other; `draw_figures`, `write_report`: of comparisons and runs
- `diversity`: how diverse the gradients of a set are, its sources, and what each row adds -> `Diversity`
- `import_paper`: published gradient statistics into a run; `export_paper`: a run into such a file;
  `export_table`: its numbers as CSV, Parquet or scores for other tools
- `select`: subsets of a run or of data, by any metric
- `ablate`: does training on a selection beat training on random rows at equal tokens -> `Ablation`; `open_ablation`
- `push`, `open_hub`: a run or a selection to the hub as a data set, and a run from there
- `open_run`, `Run`: read a run directory
- `SpectraCallback`: measures inside a training of transformers or TRL; `open_steps`, `Steps`: read what it wrote
- `GradientAnalyzer`: the same measures on a model and tokenizer one already holds
- `singular_values`: of the gradient Dᵀ X, from the two factors
- `nuclear_norm`, `effective_rank`, `frobenius_norm`, `spectral_norm`, `stable_rank`: of singular values
- `GradPrismError`: the one exception type
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("gradprism")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
