"""Quality metrics of examples: IFD, InsTag, Difficulty, Reward, length, loss, perplexity."""
