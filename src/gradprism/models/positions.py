"""Number of positions that a model has, read from its configuration before any weights are loaded."""

from typing import Any

_NAMES = ("max_position_embeddings", "max_seq_len", "max_target_positions")  # of MPT; of Whisper's decoder

# Their first token has the position behind the padding token's id, and that many positions are never used.
_BEHIND_PADDING = {
    "altclip_text_model", "bridgetower_text_model", "camembert", "clap_text_model", "data2vec-text", "esm", "ibert",
    "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
}  # fmt: skip


def position_limit(config: Any) -> int | None:
    """Return the most tokens that a model of this configuration (of transformers) can read; None without a limit."""
    find = getattr(config, "get_text_config", None)
    config = find() if find else config
    known = (getattr(config, name, None) for name in _NAMES)
    limit = next((number for number in known if isinstance(number, int) and number > 1), None)
    if limit is None or getattr(config, "model_type", None) not in _BEHIND_PADDING:
        return limit
    if getattr(config, "position_embedding_type", None) == "rotary":  # ESM's later models
        return limit
    return limit - 1 - (config.pad_token_id or 0)
