import random

import numpy as np
import torch

from gradprism.models.random_numbers import random_numbers_kept


def test_the_random_states_of_the_process_are_put_back() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), float(np.random.rand()), torch.rand(1).item()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    with random_numbers_kept(accelerators=True):
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)
    assert (random.random(), float(np.random.rand()), torch.rand(1).item()) == expected
