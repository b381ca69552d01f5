"""Judges: language models that answer prompts about examples, for the metrics of `gradprism.metrics.judged`.

`prompts` writes the prompts, `tags` and `difficulty` parse the answers; `endpoint` (with `client`, `faults`, `replies`
and `cache`) and `local` are the judges.
"""
