"""Families with routed experts, which are not measured."""

from tests.families.family import HIDDEN, Family, below
from tests.families.shared import DEEPSEEK_MOE, MOE, SHARED_EXPERTS

EXPERTS = (
    Family("mixtral", "MixtralConfig", settings={"num_local_experts": 4, "head_dim": 16}, mlp={}, experts=True),
    Family(
        "qwen2_moe",
        "Qwen2MoeConfig",
        settings=MOE | {"shared_expert_intermediate_size": 40},
        mlp=below("mlp.shared_expert", gate="gate_proj", up="up_proj", down="down_proj"),
        experts=True,
    ),
    Family(
        "qwen3_moe",
        "Qwen3MoeConfig",
        settings=MOE | {"head_dim": 16, "mlp_only_layers": [1]},
        mlp_layers=(1,),
        experts=True,
        remark="qk-norm",
    ),
    Family("olmoe", "OlmoeConfig", settings={"num_experts": 4, "num_experts_per_tok": 2}, mlp={}, experts=True),
    Family("phimoe", "PhimoeConfig", settings={"num_local_experts": 4}, mlp={}, experts=True),
    Family(
        "llama4_text",
        "Llama4TextConfig",
        settings={"num_local_experts": 4, "head_dim": 8, "intermediate_size": 24, "intermediate_size_mlp": HIDDEN},
        mlp=below("feed_forward.shared_expert", gate="gate_proj", up="up_proj", down="down_proj"),
        experts=True,
        remark="qk-norm, chunked attention",
    ),
    Family(
        "granitemoe",
        "GraniteMoeConfig",
        settings={"num_local_experts": 4, "num_experts_per_tok": 2},
        mlp={},
        experts=True,
    ),
    Family(
        "gpt_oss",
        "GptOssConfig",
        settings={"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16, "sliding_window": 8},
        mlp={},
        experts=True,
        remark="sinks, sliding window, biases",
    ),
    Family(
        "ernie4_5_moe",
        "Ernie4_5_MoeConfig",
        settings={
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 24,
            "moe_layer_start_index": 1,
            "moe_num_shared_experts": 0,
        },
        mlp_layers=(0,),
        experts=True,
    ),
    Family(
        "glm4_moe",
        "Glm4MoeConfig",
        settings=DEEPSEEK_MOE | {"head_dim": 8, "first_k_dense_replace": 0},
        mlp=SHARED_EXPERTS,
        experts=True,
    ),
    Family(
        "minimax_m2",
        "MiniMaxM2Config",
        settings={"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
        mlp={},
        experts=True,
        remark="qk-norm",
    ),
)
