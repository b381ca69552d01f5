"""Families with multi-head latent attention."""

from tests.families.family import LAYERS, Family, below
from tests.families.shared import DEEPSEEK_MOE, LATENT, MLA, SHARED_EXPERTS

WITH_LATENT = (
    Family(
        "deepseek_v2",
        "DeepseekV2Config",
        settings=MLA | DEEPSEEK_MOE | {"first_k_dense_replace": 0},
        attention=LATENT,
        mlp=SHARED_EXPERTS,
        kind="latent",
        experts=True,
    ),
    Family(
        "deepseek_v2 (Lite)",
        "DeepseekV2Config",
        settings=MLA | DEEPSEEK_MOE | {"q_lora_rank": None, "first_k_dense_replace": 9},
        attention=below("self_attn", q="q_proj", kv_a="kv_a_proj_with_mqa", kv_b="kv_b_proj", o="o_proj"),
        kind="latent",
        remark="q without a bottleneck",
    ),
    Family(
        "deepseek_v3",
        "DeepseekV3Config",
        settings=MLA | DEEPSEEK_MOE | {"first_k_dense_replace": 0},
        attention=LATENT,
        mlp=SHARED_EXPERTS,
        kind="latent",
        experts=True,
    ),
    Family("minicpm3", "MiniCPM3Config", settings=MLA, attention=LATENT, kind="latent"),
    Family("youtu", "YoutuConfig", settings=MLA, attention=LATENT, kind="latent"),
    Family(
        "glm4_moe_lite",
        "Glm4MoeLiteConfig",
        settings=MLA | DEEPSEEK_MOE | {"mlp_layer_types": ["sparse"] * LAYERS},
        attention=LATENT,
        mlp=SHARED_EXPERTS,
        kind="latent",
        experts=True,
    ),
)
