"""Settings and placements that several families have in common."""

from typing import Any

from tests.families.family import (
    DIM,
    HEADS,
    HIDDEN,
    LAYERS,
    VOCABULARY,
    WIDTH,
    below,
    fused,
    in_heads,
    rows,
    transposed,
)

TWO_MATRIX = below("mlp", up="up_proj", down="down_proj")
SHARED_EXPERTS = below("mlp.shared_experts", gate="gate_proj", up="up_proj", down="down_proj")
LATENT = below("self_attn", q_a="q_a_proj", q_b="q_b_proj", kv_a="kv_a_proj_with_mqa", kv_b="kv_b_proj", o="o_proj")
GATE_UP = {
    **fused("mlp.gate_up_proj", [rows(0, HIDDEN), rows(HIDDEN, 2 * HIDDEN)], ["gate", "up"]),
    "down": "mlp.down_proj",
}
MOE = {"moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}
MLA = {
    "q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6,
    "num_key_value_heads": HEADS,
}  # fmt: skip
DEEPSEEK_MOE = {"moe_intermediate_size": 24, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2,
                "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1}  # fmt: skip
GPT2 = {"vocab_size": VOCABULARY, "n_positions": 128, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS,
        "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
THIRDS = [rows(0, WIDTH), rows(WIDTH, 2 * WIDTH), rows(2 * WIDTH, 3 * WIDTH)]
PER_HEAD = [in_heads(0), in_heads(1), in_heads(2)]
MULTI_QUERY = [rows(0, WIDTH), rows(WIDTH, WIDTH + DIM), rows(WIDTH + DIM, WIDTH + 2 * DIM)]
CONV_MLP = {"up": ("mlp.c_fc", transposed()), "down": ("mlp.c_proj", transposed())}
MEGATRON_MLP = below("mlp", up="dense_h_to_4h", down="dense_4h_to_h")
FALCON = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
          "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
FALCON_ATTENTION = "self_attention.query_key_value"
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
QWEN_VISION = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": WIDTH,
               "patch_size": 4}  # fmt: skip
QWEN_TOKENS = {"image_token_id": 95, "video_token_id": 94, "vision_start_token_id": 93, "vision_end_token_id": 92}
IN_SECTIONS = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
READS_IMAGES: dict[str, Any] = {
    "layers": "model.language_model.layers", "kind": "separate; a vision tower", "common": False,
    "loaded_as": "AutoModelForImageTextToText",
}  # fmt: skip
