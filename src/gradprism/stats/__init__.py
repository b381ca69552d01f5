"""Pure functions of statistics: most take a matrix (n examples, features) and return a value for each feature.

| file | what |
|---|---|
| `missing` | missing values: NaN in, NaN out, and never a zero in between |
| `bootstrap` | resampled means, BCa intervals of them and of statistics of them, percentile intervals |
| `drawn` | AUC and quantiles of resamples that are given as counts of how often each value is drawn |
| `permutation` | p of a difference of two groups, and of paired differences, by relabelling |
| `effect_size` | probability that one group exceeds the other, its interval, Cliff's delta |
| `multiplicity` | p adjusted for the number of tests |
| `least_squares` | the design and solution of every regression, group means adjusted for covariates |
| `regression` | effect of a group beside covariates, with robust errors |
| `rank_correlation` | Spearman correlation, also given other variables, also without each row in turn |
| `prediction` | gain in predicting each row from all others when one more variable is known |
| `length_match` | pairs of rows of two groups that agree in length, and when two groups have lengths in common |
| `overlap_weights` | effect of a group with lengths controlled by overlap weights and regression |
| `given_length` | place of each row by what is left of a variable once length is taken out |
| `ranking` | rows in the order of a metric, equal values in a seeded order |
| `vendi` | diversity of a set of vectors: the exponential of the entropy of the eigenvalues of their cosines |
| `sketch_noise` | that entropy before vectors were sketched, and what a sketch leaves uncertain |
| `subset_diversity` | standard error of a diversity by random halves, and random subsets of one size or tokens |
| `leave_one_out` | how much the diversity of a set falls without each row, exactly |
| `neighbours` | nearest rows by cosine, near-duplicates, and k-means clusters, by FAISS |
| `diverse_order` | rows that differ and are good, by lazy greedy choice of the largest log-determinant |
| `principal_components` | the directions in which rows differ most, and the share of the variance along each |
| `similar_pairs` | the pairs of rows with the largest cosines, of all pairs |
| `layer_curves` | total variation of a curve over layers, also by thirds of depth, and relative difference of two |

A feature that has too few finite values gets NaN, never an exception and never 0. `missing`, `least_squares`,
`length_match` but for its optimal pairs, `given_length`, `ranking`, `layer_curves`, `drawn`, `permutation`,
`similar_pairs` and those of diversity but for `diverse_order` need no scipy, which is of the extras `gradprism[report]`
and `gradprism[diversity]`; `neighbours` needs FAISS, of the latter.
"""
