"""Families with other towers, or other attentions, than those that read text."""

from tests.families.family import SIZES, VOCABULARY, Family
from tests.families.shared import IN_SECTIONS, QWEN_TOKENS, QWEN_VISION, READS_IMAGES, VISION

WITH_OTHERS = (
    Family(
        "gemma3 (with vision)",
        "Gemma3Config",
        settings={
            "text_config": {**SIZES, "head_dim": 16, "sliding_window": 8},
            "vision_config": VISION | {"image_size": 16, "patch_size": 8, "model_type": "siglip_vision_model"},
            "mm_tokens_per_image": 4,
        },
        layers="model.language_model.layers",
        kind="separate; a vision tower",
        common=False,
    ),
    Family(
        "mllama",
        "MllamaConfig",
        settings={
            "text_config": {
                **SIZES,
                "cross_attention_layers": [1],
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            },
            "vision_config": VISION | {"num_global_layers": 1, "image_size": 16, "patch_size": 8, "attention_heads": 2},
        },
        attention_layers=(0, 2),
        mlp_layers=(0, 2),
        kind="separate; a layer with cross-attention alone",
        common=False,
    ),
    Family(
        "mistral3",
        "Mistral3Config",
        settings={
            "text_config": {**SIZES, "model_type": "mistral", "head_dim": 16},
            "vision_config": VISION | {"model_type": "pixtral", "image_size": 16, "patch_size": 8, "head_dim": 8},
            "image_token_index": VOCABULARY - 1,
        },
        **READS_IMAGES,
    ),
    Family(
        "llava",
        "LlavaConfig",
        settings={
            "text_config": {**SIZES, "model_type": "llama"},
            "vision_config": VISION | {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8},
            "image_token_index": VOCABULARY - 1,
        },
        **READS_IMAGES,
    ),
    Family(
        "qwen2_5_vl",
        "Qwen2_5_VLConfig",
        settings={
            "text_config": {**SIZES, "rope_parameters": IN_SECTIONS},
            "vision_config": QWEN_VISION | {"fullatt_block_indexes": [1]},
            **QWEN_TOKENS,
        },
        **READS_IMAGES,
        remark="biases on q, k, v",
    ),
    Family(
        "qwen3_vl",
        "Qwen3VLConfig",
        settings={
            "text_config": {**SIZES, "head_dim": 8, "rope_parameters": IN_SECTIONS},
            "vision_config": QWEN_VISION | {"deepstack_visual_indexes": [0], "num_position_embeddings": 16},
            **QWEN_TOKENS,
        },
        **READS_IMAGES,
        remark="qk-norm",
    ),
)
