"""Statistics of many features at once: every function takes (n examples, features) and answers for each feature.

| file | what |
|---|---|
| `missing` | values that are not there: NaN in, NaN out, and never a zero in between |
| `bootstrap` | resampled means, BCa intervals of them and of what is computed from them, percentile intervals |
| `drawn` | AUC and quantiles of resamples that are given as how often each value is drawn |
| `permutation` | p of a difference of two groups, and of paired differences, by relabelling |
| `effect_size` | probability that one group exceeds the other, its interval, Cliff's delta |
| `multiplicity` | p corrected for how many were looked at |
| `regression` | effect of a group beside covariates, with robust errors |
| `rank_correlation` | Spearman correlation, also given other variables, also without each row in turn |
| `prediction` | how much better each row is predicted from all others when one more variable is known |

A feature that has too few finite values gets NaN, never an exception and never 0. Only these modules need scipy, of the
extra `gradprism[report]`.
"""
