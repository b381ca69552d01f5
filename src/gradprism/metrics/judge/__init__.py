"""Metrics that a language model judges: how many intents an instruction has (InsTag), and how difficult it is.

`metrics` has both and the tags of a set; `prompts` asks and `parse` reads; `endpoint` (with `client`, `faults`,
`replies` and `cache`) and `local` are the judges.
"""
