"""A tiny random model of each family, and where its weights hold q, k, v, o and gate, up, down.

The table is written from each family's own modelling code in `transformers`, by hand and without the package under
test: a path of a weight, and for a fused one how the family's `forward` cuts it. `python -m tests.families` writes
the table of docs/families.md from it.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

WIDTH, HIDDEN, HEADS, KV_HEADS, LAYERS, VOCABULARY = 32, 48, 4, 2, 3, 96
DIM = WIDTH // HEADS
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "max_position_embeddings": 128,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

Cut = Callable[[Tensor], Tensor]
Place = str | tuple[str, Cut]
"""A weight's path below a layer, and which part of its gradient (d_out, d_in) is the projection's."""


def whole(gradient: Tensor) -> Tensor:
    return gradient


def rows(first: int, last: int) -> Cut:
    return lambda gradient: gradient[first:last]


def in_heads(which: int, heads: int = HEADS, parts: int = 3) -> Cut:
    """`view(..., heads, 3, head_dim)[..., which, :]`, as BLOOM, Persimmon and Falcon RW write it."""
    return lambda gradient: gradient.view(heads, parts, -1, gradient.shape[1])[:, which].flatten(0, 1)


def in_groups(which: str) -> Cut:
    """Falcon's `view(..., kv_heads, heads // kv_heads + 2, head_dim)`: queries `[:-2]`, key `[-2]`, value `[-1]`."""
    taken = {"q": slice(None, -2), "k": slice(-2, -1), "v": slice(-1, None)}[which]
    return lambda gradient: gradient.view(KV_HEADS, HEADS // KV_HEADS + 2, -1, gradient.shape[1])[:, taken].flatten(
        0, 2
    )


def on_cores(which: int) -> Cut:
    """CodeGen: `reshape(..., mp_num=4, -1)`, then `query, value, key = split(local_dim)` in each of the four."""
    return lambda gradient: gradient.view(4, 3, -1, gradient.shape[1])[:, which].flatten(0, 1)


def transposed(cut: Cut = whole) -> Cut:
    """`Conv1D` holds (d_in, d_out)."""
    return lambda gradient: cut(gradient.T.contiguous())


def fused(path: str, cuts: Sequence[Cut], names: str = "qkv") -> dict[str, Place]:
    return {name: (path, cut) for name, cut in zip(names, cuts, strict=True)}


def below(path: str, **names: str) -> dict[str, Place]:
    return {name: f"{path}{'.' if path else ''}{child}" for name, child in names.items()}


LLAMA_ATTENTION = below("self_attn", q="q_proj", k="k_proj", v="v_proj", o="o_proj")
LLAMA_MLP = below("mlp", gate="gate_proj", up="up_proj", down="down_proj")
TWO_MATRIX = below("mlp", up="up_proj", down="down_proj")
SHARED_EXPERTS = below("mlp.shared_experts", gate="gate_proj", up="up_proj", down="down_proj")
LATENT = below("self_attn", q_a="q_a_proj", q_b="q_b_proj", kv_a="kv_a_proj_with_mqa", kv_b="kv_b_proj", o="o_proj")
GATE_UP = {
    **fused("mlp.gate_up_proj", [rows(0, HIDDEN), rows(HIDDEN, 2 * HIDDEN)], ["gate", "up"]),
    "down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Family:
    """A family of `transformers`: the settings of a tiny model, and where its projections are."""

    name: str
    config: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    attention: Mapping[str, Place] = field(default_factory=lambda: LLAMA_ATTENTION)
    mlp: Mapping[str, Place] = field(default_factory=lambda: LLAMA_MLP)
    layers: str = "model.layers"
    n_layers: int = LAYERS
    attention_layers: tuple[int, ...] = tuple(range(LAYERS))
    mlp_layers: tuple[int, ...] | None = None  # all, where the family has an `mlp`
    borrowing_layers: tuple[int, ...] = ()  # with the keys and values of a lower one
    kind: str = "separate"
    remark: str = ""
    common: bool = True  # whether its configuration takes the sizes of all
    in_fp64: bool = True  # whether its code runs in fp64
    loaded_as: str = "AutoModelForCausalLM"

    def make(self, seed: int = 0) -> Any:
        """A random model, with weights large enough for gradients well above rounding."""
        import transformers as hf

        config = getattr(hf, self.config)(**((SIZES if self.common else {}) | dict(self.settings)))
        torch.manual_seed(seed)
        model = getattr(hf, self.loaded_as).from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim >= 2:
                    parameter.normal_(0.0, 0.15)
                elif not parameter.any():  # biases, and norms that scale by 1 + w: nothing may hide behind a zero
                    parameter.normal_(0.0, 0.05)
        return model

    def in_truth(self, model: Any) -> Any:
        """The same model in fp64, where its code can do that."""
        model = copy.deepcopy(model)
        if not self.in_fp64:
            return model
        if "experts" in self.kind:
            model.set_experts_implementation("eager")  # the default has no fp64
        return model.double()

    def places(self) -> dict[tuple[str, int], tuple[str, Cut]]:
        """(projection, layer) -> full name of the weight, and the cut of its gradient."""
        found: dict[tuple[str, int], tuple[str, Cut]] = {}
        mlp_layers = range(self.n_layers) if self.mlp_layers is None else self.mlp_layers
        for parts, layers in ((self.attention, self.attention_layers), (self.mlp, mlp_layers)):
            for name, place in parts.items():
                path, cut = (place, whole) if isinstance(place, str) else place
                for layer in layers:
                    if name in "kv" and layer in self.borrowing_layers:
                        continue
                    found[name, layer] = f"{self.layers}.{layer}.{path}.weight", cut
        return found


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

FAMILIES = (
    Family("llama", "LlamaConfig", {"head_dim": 16, "attention_bias": True}, remark="grouped query, biases"),
    Family("qwen2", "Qwen2Config", {}, remark="biases on q, k, v"),
    Family("qwen3", "Qwen3Config", {"head_dim": 16}, remark="qk-norm"),
    Family("mistral", "MistralConfig", {"sliding_window": 8, "head_dim": 16}, remark="sliding window"),
    Family("ministral3", "Ministral3Config", {"head_dim": 16}),
    Family("gemma", "GemmaConfig", {"head_dim": 16}),
    Family("gemma2", "Gemma2Config", {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
           remark="soft caps, sliding window"),
    Family("gemma3", "Gemma3TextConfig", {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
           remark="qk-norm, sliding window"),
    Family("vaultgemma", "VaultGemmaConfig", {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16}),
    Family("olmo", "OlmoConfig", {"clip_qkv": 2.0}, remark="q, k, v clipped in place"),
    Family("olmo2", "Olmo2Config", {}, remark="norm after attention, qk-norm"),
    Family("olmo3", "Olmo3Config", {"sliding_window": 8}, remark="sliding window"),
    Family("stablelm", "StableLmConfig", {"use_qkv_bias": True}, remark="partial rotary, biases on q, k, v"),
    Family("starcoder2", "Starcoder2Config", {"use_bias": True}, mlp=below("mlp", up="c_fc", down="c_proj")),
    Family("cohere", "CohereConfig", {}, remark="attention and MLP in parallel, scaled logits"),
    Family("cohere2", "Cohere2Config", {"sliding_window": 8}, remark="in parallel, scaled logits, sliding window"),
    Family("granite", "GraniteConfig", {"logits_scaling": 3.0, "residual_multiplier": 0.5}, remark="scaled logits"),
    Family("glm", "GlmConfig", {"head_dim": 8}, mlp=GATE_UP, kind="separate; gate and up fused"),
    Family("glm4", "Glm4Config", {"head_dim": 8}, mlp=GATE_UP, kind="separate; gate and up fused"),
    Family("smollm3", "SmolLM3Config", {}, remark="layers without positions"),
    Family("exaone4", "Exaone4Config", {"sliding_window": 8, "sliding_window_pattern": 2}, remark="qk-norm"),
    Family("ernie4_5", "Ernie4_5Config", {"head_dim": 16}),
    Family("seed_oss", "SeedOssConfig", {"head_dim": 16}),
    Family("helium", "HeliumConfig", {"head_dim": 8}),
    Family("nemotron", "NemotronConfig", {"head_dim": 8}, mlp=TWO_MATRIX, remark="no gate"),
    Family("arcee", "ArceeConfig", {}, mlp=TWO_MATRIX, remark="no gate"),
    Family("apertus", "ApertusConfig", {}, mlp=TWO_MATRIX, remark="no gate, qk-norm"),
    Family("diffllama", "DiffLlamaConfig", {}, remark="differential attention"),
    Family("hunyuan_v1_dense", "HunYuanDenseV1Config", {"head_dim": 8}),
    Family("nanochat", "NanoChatConfig", {}, mlp=below("mlp", up="fc1", down="fc2"), remark="soft cap"),
    Family("phi", "PhiConfig", {"qk_layernorm": True}, below("self_attn", q="q_proj", k="k_proj", v="v_proj",
           o="dense"),
           below("mlp", up="fc1", down="fc2"), remark="in parallel, biases"),
    Family("gptj", "GPTJConfig", GPT2 | {"rotary_dim": 4}, below("attn", q="q_proj", k="k_proj", v="v_proj",
           o="out_proj"),
           below("mlp", up="fc_in", down="fc_out"), "transformer.h", remark="in parallel", common=False),
    Family("gpt_neo", "GPTNeoConfig",
           {"vocab_size": VOCABULARY, "max_position_embeddings": 128, "hidden_size": WIDTH, "num_layers": 2,
            "num_heads": HEADS, "attention_types": [[["global", "local"], 1]], "window_size": 8},
           below("attn.attention", q="q_proj", k="k_proj", v="v_proj", o="out_proj"),
           below("mlp", up="c_fc", down="c_proj"), "transformer.h", 2, (0, 1), remark="local window", common=False),
    Family("opt", "OPTConfig",
           {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "ffn_dim": HIDDEN, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "max_position_embeddings": 128, "word_embed_proj_dim": WIDTH},
           below("self_attn", q="q_proj", k="k_proj", v="v_proj", o="out_proj"), below("", up="fc1", down="fc2"),
           "model.decoder.layers", remark="learned positions", common=False),
    Family("biogpt", "BioGptConfig", {}, below("self_attn", q="q_proj", k="k_proj", v="v_proj", o="out_proj"),
           below("", up="fc1", down="fc2"), "biogpt.layers"),
    Family("xglm", "XGLMConfig",
           {"vocab_size": VOCABULARY, "d_model": WIDTH, "ffn_dim": HIDDEN, "num_layers": LAYERS,
           "attention_heads": HEADS,
            "max_position_embeddings": 128},
           below("self_attn", q="q_proj", k="k_proj", v="v_proj", o="out_proj"), below("", up="fc1", down="fc2"),
           remark="code without fp64: held against autograd in fp32, within 3e-5", common=False, in_fp64=False),
    Family("modernbert-decoder", "ModernBertDecoderConfig", {"local_attention": 8, "head_dim": 8},
           below("attn", q="q_proj", k="k_proj", v="v_proj", o="Wo"),
           {**fused("mlp.Wi", [rows(0, HIDDEN), rows(HIDDEN, 2 * HIDDEN)], ["gate", "up"]), "down": "mlp.Wo"},
           kind="separate; gate and up fused", remark="local window"),
    Family("gemma4", "Gemma4TextConfig",
           {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 8,
            "head_dim": 8, "global_head_dim": 16, "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCABULARY},
           n_layers=4, attention_layers=(0, 1, 2, 3), borrowing_layers=(2, 3),
           remark="qk-norm, sliding window; upper layers reuse k and v"),
    Family("gemma3n", "Gemma3nTextConfig",
           {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 8,
            "head_dim": 8, "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8, "laurel_rank": 4,
            "vocab_size_per_layer_input": VOCABULARY, "activation_sparsity_pattern": [0.0] * 4,
            "intermediate_size": [HIDDEN] * 4},
           n_layers=4, attention_layers=(0, 1, 2, 3), borrowing_layers=(2, 3),
           remark="qk-norm, sliding window; upper layers reuse k and v"),
    # fused
    Family("phi3", "Phi3Config", {},
           {**fused("self_attn.qkv_proj", [rows(0, 32), rows(32, 48), rows(48, 64)]), "o": "self_attn.o_proj"}, GATE_UP,
           kind="fused, contiguous; gate and up fused", remark="grouped query"),
    Family("gpt2", "GPT2Config", GPT2,
           {**fused("attn.c_attn", [transposed(cut) for cut in THIRDS]), "o": ("attn.c_proj", transposed())}, CONV_MLP,
           "transformer.h", kind="fused, contiguous", remark="transposed weights", common=False),
    Family("openai-gpt", "OpenAIGPTConfig", GPT2,
           {**fused("attn.c_attn", [transposed(cut) for cut in THIRDS]), "o": ("attn.c_proj", transposed())}, CONV_MLP,
           "transformer.h", kind="fused, contiguous", remark="transposed weights", common=False),
    Family("gpt_bigcode", "GPTBigCodeConfig", GPT2 | {"multi_query": True},
           {**fused("attn.c_attn", MULTI_QUERY), "o": "attn.c_proj"}, below("mlp", up="c_fc", down="c_proj"),
           "transformer.h", kind="fused, contiguous", remark="multi query", common=False),
    Family("gpt_bigcode (multi head)", "GPTBigCodeConfig", GPT2 | {"multi_query": False},
           {**fused("attn.c_attn", PER_HEAD), "o": "attn.c_proj"}, below("mlp", up="c_fc", down="c_proj"),
           "transformer.h", kind="fused, per head", common=False),
    Family("gpt_neox", "GPTNeoXConfig", {"rotary_pct": 0.5},
           {**fused("attention.query_key_value", PER_HEAD), "o": "attention.dense"}, MEGATRON_MLP, "gpt_neox.layers",
           kind="fused, per head", remark="in parallel, biases"),
    Family("gpt_neox_japanese", "GPTNeoXJapaneseConfig", {"intermediate_multiple_size": 2},
           {**fused("attention.query_key_value", PER_HEAD), "o": "attention.dense"}, MEGATRON_MLP,
           "gpt_neox_japanese.layers", kind="fused, per head"),
    Family("bloom", "BloomConfig", {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS},
           {**fused("self_attention.query_key_value", PER_HEAD), "o": "self_attention.dense"}, MEGATRON_MLP,
           "transformer.h", kind="fused, per head", remark="ALiBi, biases", common=False),
    Family("persimmon", "PersimmonConfig", {"num_key_value_heads": HEADS},
           {**fused("self_attn.query_key_value", PER_HEAD), "o": "self_attn.dense"}, MEGATRON_MLP,
           kind="fused, per head", remark="qk-norm, biases"),
    Family("falcon", "FalconConfig", FALCON | {"new_decoder_architecture": True, "num_kv_heads": KV_HEADS,
           "alibi": False},
           {**fused(FALCON_ATTENTION, [in_groups(name) for name in "qkv"]), "o": "self_attention.dense"}, MEGATRON_MLP,
           "transformer.h", kind="fused, grouped", remark="40B and later: grouped query, in parallel", common=False),
    Family("falcon (7B)", "FalconConfig", FALCON | {"new_decoder_architecture": False, "multi_query": True,
           "alibi": False},
           {**fused(FALCON_ATTENTION, MULTI_QUERY), "o": "self_attention.dense"}, MEGATRON_MLP,
           "transformer.h", kind="fused, contiguous", remark="multi query, in parallel", common=False),
    Family("falcon (RW)", "FalconConfig",
           FALCON | {"new_decoder_architecture": False, "multi_query": False, "alibi": True, "bias": True},
           {**fused(FALCON_ATTENTION, PER_HEAD), "o": "self_attention.dense"}, MEGATRON_MLP,
           "transformer.h", kind="fused, per head", remark="ALiBi, biases", common=False),
    Family("mpt", "MptConfig",
           {"vocab_size": VOCABULARY, "d_model": WIDTH, "n_heads": HEADS, "n_layers": LAYERS, "max_seq_len": 128,
            "expansion_ratio": 2},
           {**fused("attn.Wqkv", THIRDS), "o": "attn.out_proj"}, below("ffn", up="up_proj", down="down_proj"),
           "transformer.blocks", kind="fused, contiguous", remark="ALiBi", common=False),
    Family("codegen", "CodeGenConfig", GPT2 | {"rotary_dim": 4},
           {**fused("attn.qkv_proj", [on_cores(0), on_cores(2), on_cores(1)]), "o": "attn.out_proj"},
           below("mlp", up="fc_in", down="fc_out"), "transformer.h", kind="fused, q, v, k in 4 blocks",
           remark="in parallel", common=False),
    Family("dbrx", "DbrxConfig",
           {"vocab_size": VOCABULARY, "d_model": WIDTH, "n_heads": HEADS, "n_layers": LAYERS, "max_seq_len": 128,
            "attn_config": {"kv_n_heads": KV_HEADS, "clip_qkv": 2.0, "rope_theta": 1e4},
            "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": WIDTH}},
           {**fused("norm_attn_norm.attn.Wqkv", [rows(0, 32), rows(32, 48), rows(48, 64)]),
            "o": "norm_attn_norm.attn.out_proj"}, {}, "transformer.blocks", kind="fused, contiguous; experts",
           remark="grouped query, clipped", common=False),
    # mixtures of experts
    Family("mixtral", "MixtralConfig", {"num_local_experts": 4, "head_dim": 16}, mlp={}, kind="separate; experts"),
    Family("qwen2_moe", "Qwen2MoeConfig", MOE | {"shared_expert_intermediate_size": 40},
           mlp=below("mlp.shared_expert", gate="gate_proj", up="up_proj", down="down_proj"), kind="separate; experts"),
    Family("qwen3_moe", "Qwen3MoeConfig", MOE | {"head_dim": 16, "mlp_only_layers": [1]}, mlp_layers=(1,),
           kind="separate; experts", remark="qk-norm"),
    Family("olmoe", "OlmoeConfig", {"num_experts": 4, "num_experts_per_tok": 2}, mlp={}, kind="separate; experts"),
    Family("phimoe", "PhimoeConfig", {"num_local_experts": 4}, mlp={}, kind="separate; experts"),
    Family("granitemoe", "GraniteMoeConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}, mlp={},
           kind="separate; experts"),
    Family("gpt_oss", "GptOssConfig", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16,
                                       "sliding_window": 8}, mlp={}, kind="separate; experts",
           remark="sinks, sliding window, biases"),
    Family("ernie4_5_moe", "Ernie4_5_MoeConfig", {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24,
                                                  "moe_layer_start_index": 1, "moe_num_shared_experts": 0},
                                                  mlp_layers=(0,),
           kind="separate; experts"),
    Family("glm4_moe", "Glm4MoeConfig", DEEPSEEK_MOE | {"head_dim": 8, "first_k_dense_replace": 0}, mlp=SHARED_EXPERTS,
           kind="separate; experts"),
    Family("minimax_m2", "MiniMaxM2Config", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16}, mlp={},
           kind="separate; experts", remark="qk-norm"),
    # multi-head latent attention
    Family("deepseek_v2", "DeepseekV2Config", MLA | DEEPSEEK_MOE | {"first_k_dense_replace": 0}, LATENT, SHARED_EXPERTS,
           kind="latent; experts"),
    Family("deepseek_v2 (Lite)", "DeepseekV2Config", MLA | DEEPSEEK_MOE | {"q_lora_rank": None,
           "first_k_dense_replace": 9},
           below("self_attn", q="q_proj", kv_a="kv_a_proj_with_mqa", kv_b="kv_b_proj", o="o_proj"), kind="latent",
           remark="q without a bottleneck"),
    Family("deepseek_v3", "DeepseekV3Config", MLA | DEEPSEEK_MOE | {"first_k_dense_replace": 0}, LATENT, SHARED_EXPERTS,
           kind="latent; experts"),
    Family("minicpm3", "MiniCPM3Config", MLA, LATENT, kind="latent"),
    Family("youtu", "YoutuConfig", MLA, LATENT, kind="latent"),
    Family("glm4_moe_lite", "Glm4MoeLiteConfig", MLA | DEEPSEEK_MOE | {"mlp_layer_types": ["sparse"] * LAYERS}, LATENT,
           SHARED_EXPERTS, kind="latent; experts"),
    # hybrids
    Family("jamba", "JambaConfig",
           {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
            "expert_layer_offset": 1, "num_experts": 4, "mamba_d_state": 4, "mamba_dt_rank": 4,
            "use_mamba_kernels": False},
           mlp=below("feed_forward", gate="gate_proj", up="up_proj", down="down_proj"), n_layers=4,
           attention_layers=(1, 3), mlp_layers=(0, 2), kind="hybrid; experts", remark="Mamba"),
    Family("bamba", "BambaConfig", {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8,
           "mamba_d_state": 8,
                                    "mamba_n_groups": 1},
           mlp=below("feed_forward", gate="gate_proj", up="up_proj", down="down_proj"), attention_layers=(1,),
           kind="hybrid", remark="Mamba 2"),
    Family("falcon_h1", "FalconH1Config", {"head_dim": 8, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8,
                                           "mamba_d_state": 8, "mamba_n_groups": 1},
           mlp=below("feed_forward", gate="gate_proj", up="up_proj", down="down_proj"), kind="hybrid",
           remark="attention and Mamba 2 side by side"),
    Family("granitemoehybrid", "GraniteMoeHybridConfig",
           {"layer_types": ["mamba", "attention", "mamba"], "num_local_experts": 0, "shared_intermediate_size": HIDDEN,
            "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1},
           mlp={**fused("shared_mlp.input_linear", [rows(0, HIDDEN), rows(HIDDEN, 2 * HIDDEN)], ["gate", "up"]),
                "down": "shared_mlp.output_linear"}, attention_layers=(1,), kind="hybrid; gate and up fused",
           remark="Mamba 2"),
    Family("recurrent_gemma", "RecurrentGemmaConfig",
           {"attention_window_size": 8, "lru_width": WIDTH, "block_types": ["recurrent", "recurrent", "attention"],
            "intermediate_size": 2 * HIDDEN},
           below("temporal_block", q="q_proj", k="k_proj", v="v_proj", o="o_proj"),
           below("mlp_block", gate="gate_proj", up="up_proj", down="down_proj"), attention_layers=(2,), kind="hybrid",
           remark="RG-LRU"),
    Family("lfm2", "Lfm2Config", {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
           below("self_attn", q="q_proj", k="k_proj", v="v_proj", o="out_proj"),
           below("feed_forward", gate="w1", up="w3", down="w2"), attention_layers=(1,), kind="hybrid",
           remark="short convolutions, qk-norm"),
    Family("qwen3_next", "Qwen3NextConfig",
           MOE | {"head_dim": 16, "layer_types": ["linear_attention", "linear_attention", "full_attention"],
                  "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
                  "linear_value_head_dim": 8, "shared_expert_intermediate_size": 40},
           LLAMA_ATTENTION | {"q": ("self_attn.q_proj", in_heads(0, parts=2))},
           below("mlp.shared_expert", gate="gate_proj", up="up_proj", down="down_proj"), attention_layers=(2,),
           kind="hybrid; experts", remark="gated delta net; q shares its weight with an output gate"),
    Family("qwen3_5", "Qwen3_5TextConfig",
           {"head_dim": 16, "layer_types": ["linear_attention", "linear_attention", "full_attention"],
            "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8},
           LLAMA_ATTENTION | {"q": ("self_attn.q_proj", in_heads(0, parts=2))}, attention_layers=(2,), kind="hybrid",
           remark="gated delta net; q shares its weight with an output gate"),
    Family("kimi_linear", "KimiLinearConfig",
           MLA | DEEPSEEK_MOE | {"q_lora_rank": None, "layer_types": ["linear_attention", "linear_attention",
           "full_attention"],
                  "linear_head_dim": 8, "linear_num_heads": 4, "mlp_layer_types": ["dense"] * LAYERS},
           below("self_attn", q="q_proj", kv_a="kv_a_proj_with_mqa", kv_b="kv_b_proj", o="o_proj"),
           attention_layers=(2,), kind="latent, hybrid", remark="delta attention"),
    Family("minimax", "MiniMaxConfig", {"head_dim": 8, "num_local_experts": 4,
           "layer_types": ["full_attention", "linear_attention", "full_attention"]}, mlp={}, attention_layers=(0, 2),
           kind="hybrid; experts", remark="lightning attention"),
    Family("olmo_hybrid", "OlmoHybridConfig",
           {"layer_types": ["linear_attention", "full_attention", "full_attention"], "linear_num_key_heads": 4,
            "linear_num_value_heads": 4, "linear_key_head_dim": 6, "linear_value_head_dim": 12},
           attention_layers=(1, 2), kind="hybrid", remark="gated delta net"),
    Family("nemotron_h", "NemotronHConfig",
           {"layers_block_type": ["mamba", "attention", "mlp"], "head_dim": 8, "mamba_num_heads": 8,
           "mamba_head_dim": 8,
            "ssm_state_size": 8, "n_groups": 1},
           below("mixer", q="q_proj", k="k_proj", v="v_proj", o="o_proj"),
           below("mixer", up="up_proj", down="down_proj"),
           attention_layers=(1,), mlp_layers=(2,), kind="hybrid", remark="Mamba 2; attention or MLP, a layer each"),
    # with other towers or other attentions
    Family("gemma3 (with vision)", "Gemma3Config",
           {"text_config": {**SIZES, "head_dim": 16, "sliding_window": 8},
            "vision_config": VISION | {"image_size": 16, "patch_size": 8, "model_type": "siglip_vision_model"},
            "mm_tokens_per_image": 4},
           layers="model.language_model.layers", kind="separate; a vision tower", common=False),
    Family("mllama", "MllamaConfig",
           {"text_config": {**SIZES, "cross_attention_layers": [1],
                            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
            "vision_config": VISION | {"num_global_layers": 1, "image_size": 16, "patch_size": 8,
            "attention_heads": 2}},
           attention_layers=(0, 2), mlp_layers=(0, 2), kind="separate; a layer with cross-attention alone",
           common=False),
    Family("mistral3", "Mistral3Config",
           {"text_config": {**SIZES, "model_type": "mistral", "head_dim": 16},
            "vision_config": VISION | {"model_type": "pixtral", "image_size": 16, "patch_size": 8, "head_dim": 8},
            "image_token_index": VOCABULARY - 1},
           **READS_IMAGES),
    Family("llava", "LlavaConfig",
           {"text_config": {**SIZES, "model_type": "llama"},
            "vision_config": VISION | {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8},
            "image_token_index": VOCABULARY - 1},
           **READS_IMAGES),
    Family("qwen2_5_vl", "Qwen2_5_VLConfig",
           {"text_config": {**SIZES, "rope_parameters": IN_SECTIONS},
            "vision_config": QWEN_VISION | {"fullatt_block_indexes": [1]}, **QWEN_TOKENS},
           **READS_IMAGES, remark="biases on q, k, v"),
    Family("qwen3_vl", "Qwen3VLConfig",
           {"text_config": {**SIZES, "head_dim": 8, "rope_parameters": IN_SECTIONS},
            "vision_config": QWEN_VISION | {"deepstack_visual_indexes": [0], "num_position_embeddings": 16},
            **QWEN_TOKENS},
           **READS_IMAGES, remark="qk-norm"),
)  # fmt: skip


# (tokens, of them the response's): fewer tokens than any side of a weight, and more than most
LENGTHS = ((9, 4), (45, 30))
MEASURES = ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm", "stable_rank")


def examples() -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Token ids and response masks of random text."""
    random = torch.Generator().manual_seed(1)
    ids = [tuple(torch.randint(3, VOCABULARY, (n,), generator=random).tolist()) for n, _ in LENGTHS]
    return [(ids[i], tuple(at >= n - scored for at in range(n))) for i, (n, scored) in enumerate(LENGTHS)]


def true_gradients(family: Family, model: Any, ids: Sequence[int], mask: Sequence[bool]) -> dict[tuple[str, int], Any]:
    """Autograd on the weights, of the mean response loss, in the type of the model; one example by itself."""
    places = family.places()
    parameters = dict(model.named_parameters())
    model.requires_grad_(False)
    for path, _ in places.values():
        parameters[path].requires_grad_(True)
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
    scored = torch.tensor(mask[1:])
    torch.nn.functional.cross_entropy(logits[scored], torch.tensor(ids[1:])[scored]).backward()
    found = {key: cut(parameters[path].grad).double().numpy().copy() for key, (path, cut) in places.items()}
    for path, _ in places.values():
        parameters[path].grad = None
    return found


_NAMES = ("q", "q_a", "q_b", "k", "v", "kv_a", "kv_b", "o", "gate", "up", "down")
_BEGIN, _END = "<!-- made by python -m tests.families -->", "<!-- end -->"


def table() -> str:
    """The families as a table of Markdown."""
    head = "| family | attention | measured | with `--projections` also | remarks |\n|---|---|---|---|---|"
    return "\n".join([head, *(_row(family) for family in FAMILIES)])


def _row(family: Family) -> str:
    measured = ", ".join(name for name in _NAMES if name in family.attention)
    more = ", ".join(name for name in _NAMES if name in family.mlp) or "–"
    attention = family.kind.replace("; gate and up fused", "").replace("; experts", "")
    remarks = [family.remark, "gate and up fused" if "gate and up" in family.kind else "", _experts(family)]
    return f"| {family.name} | {attention} | {measured} | {more} | {'; '.join(filter(None, remarks))} |"


def _experts(family: Family) -> str:
    if "experts" not in family.kind:
        return ""
    shared = any("shared" in (place if isinstance(place, str) else place[0]) for place in family.mlp.values())
    return "routed experts left out, " + ("shared ones measured" if shared else
                                          "dense layers measured" if family.mlp else "no other MLP")  # fmt: skip


def page(text: str) -> str:
    """docs/families.md with the table as it is now."""
    before, rest = text.split(_BEGIN)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{rest.split(_END)[1]}"


if __name__ == "__main__":
    from pathlib import Path

    path = Path(__file__).parents[1] / "docs" / "families.md"
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
