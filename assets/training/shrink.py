"""MiniLM at smaller widths: principal directions of its states, singular vectors of its heads, its busiest neurons.

In the common basis P (wide, narrow) of the states h ≈ P z, every matrix that reads the states becomes W P, every matrix
that writes them Pᵀ W. Each head's QᵀK and O V are replaced by their best approximations of the narrow head's rank.
What this loses is for training to win back.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForPreTraining, BertModel, BertTokenizerFast
from transformers.models.bert.modeling_bert import BertAttention, BertLayer, BertSelfAttention

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True)
class Widths:
    """Of the small model; it keeps the layers, the heads and the positions of the wide one."""

    hidden: int = 192
    intermediate: int = 768


def cut_vocabulary(tokenizer: BertTokenizerFast, texts: list[str], at_least: int) -> tuple[BertTokenizerFast, Tensor]:
    """The wordpieces that occur so often, and all single characters; with their numbers in the wide vocabulary."""
    counts = Counter(index for ids in tokenizer(texts, add_special_tokens=False)["input_ids"] for index in ids)
    wide = tokenizer.get_vocab()
    pieces = sorted((token for token in wide if token not in SPECIAL), key=wide.__getitem__)
    kept = [token for token in pieces if counts[wide[token]] >= at_least or is_letter(token)]
    tokens = [*SPECIAL, *kept]
    narrow = {token: index for index, token in enumerate(tokens)}
    numbers = torch.tensor([wide[token] for token in tokens])
    return BertTokenizerFast(vocab=narrow, do_lower_case=True, model_max_length=512), numbers


def is_letter(token: str) -> bool:
    """One ASCII character, beginning or continuing a word: with these no English word is unknown."""
    return len(token.removeprefix("##")) == 1 and token.isascii()


def principal_basis(states: Tensor, width: int) -> Tensor:
    """The orthonormal directions that hold most of the states' energy, (wide, narrow)."""
    return torch.linalg.eigh((states.T @ states).double()).eigenvectors[:, -width:].flip(1).float()


@contextmanager
def recorded(modules: list[nn.Module]) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """What those modules read and write in the last forward pass, a row a token."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = (inputs[0].flatten(0, -2), output.flatten(0, -2))

    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def halves(product: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """left (…, m, r) and right (…, r, n) whose product is the best of that rank, the singular values shared evenly."""
    left, values, right = torch.linalg.svd(product, full_matrices=False)
    root = values[..., :rank].sqrt()
    return left[..., :rank] * root.unsqueeze(-2), root.unsqueeze(-1) * right[..., :rank, :]


def write_linear(module: nn.Linear | nn.LayerNorm, weight: Tensor, bias: Tensor) -> None:
    module.weight.data.copy_(weight)
    module.bias.data.copy_(bias)


class Shrinking:
    """One wide model, the small one being filled, and what the wide one does on a sample of text."""

    def __init__(self, wide: BertModel, small: BertForPreTraining, sample: Tensor):
        self.wide, self.small = wide, small
        self.heads = wide.config.num_attention_heads
        norms = [module for module in wide.modules() if isinstance(module, nn.LayerNorm)]
        neurons = [layer.intermediate for layer in wide.encoder.layer]
        with torch.no_grad(), recorded([*norms, *neurons]) as self.seen:
            wide(input_ids=sample)
        self.basis = principal_basis(torch.cat([self.seen[norm][1] for norm in norms]), small.config.hidden_size)

    @torch.no_grad()
    def fill(self, numbers: Tensor) -> None:
        self.fill_embeddings(numbers)
        for wide, small in zip(self.wide.encoder.layer, self.small.bert.encoder.layer, strict=True):
            self.fill_scores(wide.attention.self, small.attention.self)
            self.fill_values(wide.attention, small.attention)
            self.fill_neurons(wide, small)
            self.fill_norm(wide.attention.output.LayerNorm, small.attention.output.LayerNorm)
            self.fill_norm(wide.output.LayerNorm, small.output.LayerNorm)
        dense = self.small.cls.predictions.transform.dense
        write_linear(dense, torch.eye(dense.in_features), torch.zeros(dense.in_features))

    def fill_embeddings(self, numbers: Tensor) -> None:
        wide, small = self.wide.embeddings, self.small.bert.embeddings
        small.word_embeddings.weight.copy_(wide.word_embeddings.weight[numbers] @ self.basis)
        small.position_embeddings.weight.copy_(wide.position_embeddings.weight @ self.basis)
        small.token_type_embeddings.weight.copy_(wide.token_type_embeddings.weight @ self.basis)
        self.fill_norm(wide.LayerNorm, small.LayerNorm)

    def fill_scores(self, wide: BertSelfAttention, small: BertSelfAttention) -> None:
        """Queries and keys with their biases as one more column."""
        query, key = (
            torch.cat([module.weight @ self.basis, module.bias[:, None]], 1).unflatten(0, (self.heads, -1))
            for module in (wide.query, wide.key)
        )  # (heads, d_head, narrow + 1)
        rank = self.basis.shape[1] // self.heads
        product = query.transpose(1, 2) @ key * sqrt(rank / query.shape[1])  # softmax divides by √d_head
        left, right = halves(product, rank)
        for module, columns in ((small.query, left.transpose(1, 2).flatten(0, 1)), (small.key, right.flatten(0, 1))):
            write_linear(module, columns[:, :-1], columns[:, -1])

    def fill_values(self, wide: BertAttention, small: BertAttention) -> None:
        """Attention weights sum to one, so that the values' bias is a constant and moves behind them."""
        value, out = wide.self.value, wide.output.dense
        values = (value.weight @ self.basis).unflatten(0, (self.heads, -1))  # (heads, d_head, narrow)
        outs = (self.basis.T @ out.weight).unflatten(1, (self.heads, -1)).transpose(0, 1)  # (heads, narrow, d_head)
        left, right = halves(outs @ values, self.basis.shape[1] // self.heads)
        write_linear(small.self.value, right.flatten(0, 1), torch.zeros(self.basis.shape[1]))
        write_linear(
            small.output.dense, left.transpose(0, 1).flatten(1), self.basis.T @ (out.weight @ value.bias + out.bias)
        )

    def fill_neurons(self, wide: BertLayer, small: BertLayer) -> None:
        """The neurons that move the states most; of the others their mean."""
        up, down = wide.intermediate.dense, wide.output.dense
        active, writes = self.seen[wide.intermediate][1], self.basis.T @ down.weight
        effect = active.square().mean(0) * writes.square().sum(0)
        kept = effect.topk(small.intermediate.dense.out_features).indices.sort().values
        mean = active.mean(0).index_fill(0, kept, 0.0)
        write_linear(small.intermediate.dense, up.weight[kept] @ self.basis, up.bias[kept])
        write_linear(small.output.dense, writes[:, kept], self.basis.T @ down.bias + writes @ mean)

    def fill_norm(self, wide: nn.LayerNorm, small: nn.LayerNorm) -> None:
        """Gain and shift that bring the normalized narrow states nearest to the wide ones: a regression a direction."""
        before, after = self.seen[wide]
        narrow = nn.functional.layer_norm(before @ self.basis, list(small.normalized_shape))
        target = after @ self.basis
        middle, centre = narrow.mean(0), target.mean(0)
        gain = ((narrow - middle) * (target - centre)).sum(0) / (narrow - middle).square().sum(0)
        write_linear(small, gain, centre - gain * middle)


def small_config(wide: BertConfig, widths: Widths, vocabulary: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=widths.hidden,
        intermediate_size=widths.intermediate,
        num_hidden_layers=wide.num_hidden_layers,
        num_attention_heads=wide.num_attention_heads,
        max_position_embeddings=wide.max_position_embeddings,
        pad_token_id=0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def shrink(wide: BertModel, numbers: Tensor, sample: Tensor, widths: Widths) -> tuple[BertForPreTraining, Tensor]:
    """The small model over that part of the vocabulary, and the basis P (wide, narrow)."""
    small = BertForPreTraining(small_config(wide.config, widths, len(numbers)))
    shrinking = Shrinking(wide, small, numbers[sample])
    shrinking.fill(numbers)
    return small, shrinking.basis
