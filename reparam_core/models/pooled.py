"""A sentence encoder's classifier: transformers has none that reads the mean of the states, as MiniLM was trained to."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.bert.modeling_bert import BertPreTrainedModel


class MeanPooler(nn.Module):
    """tanh of a linear map of the states' mean: BERT's pooler, which reads the first state only, for all of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States (B, T, width) with a mask (B, T) of what is no padding → (B, width)."""
        weights = mask.unsqueeze(-1).to(states.dtype)
        return torch.tanh(self.dense((states * weights).sum(1) / weights.sum(1)))


class MeanPooledBertForSequenceClassification(BertPreTrainedModel):
    """BERT with a classifier on the mean of its states (Reimers and Gurevych, 2019)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.bert = BertModel(config, add_pooling_layer=False)
        self.pooler = MeanPooler(config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **told: object
    ) -> SequenceClassifierOutput:
        """Logits (B, labels), with whatever else the encoder was told to give."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        found = self.bert(input_ids=input_ids, attention_mask=mask, **told)
        logits = self.classifier(self.pooler(found.last_hidden_state, mask))
        return SequenceClassifierOutput(logits=logits, hidden_states=found.hidden_states, attentions=found.attentions)
