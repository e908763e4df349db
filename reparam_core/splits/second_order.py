"""What the model's loss makes of a change of one matrix: a second-order estimate from its inputs and its gradients."""

import torch
from torch import Tensor

from reparam_core.parametrizations import Statistics


def second_order(change: Tensor, statistics: Statistics, sequences: int = 1, answers: int = 1) -> float:
    """½ Σ_o (F_o / tr G) δ_o G δ_oᵀ: the loss that a change of the matrix's rows adds, in nats an answer.

    K-FAC's independence of inputs and gradients (Martens and Grosse, 2015): an answer's part of row o's Hessian is
    E[d_o²] E[x xᵀ]. A sequence's loss is the mean over its answers: a language model gives one a token, a classifier one
    in all. So over S sequences of A answers F_o = Σ_s ‖g_so‖² is about S E[d_o²] tr(E[x xᵀ]) / A where the answers'
    gradients are independent. Both counts are the same for every matrix of a model: left out, the order stays.
    """
    assert statistics.fisher is not None
    gram = statistics.gram.float()
    energy = float(gram.diagonal().sum(dtype=torch.float64))
    if energy <= 0:
        return 0.0
    rows = ((change @ gram) * change).sum(1, dtype=torch.float64)
    return float(0.5 * answers / sequences * (statistics.fisher.double() * rows).sum() / energy)
