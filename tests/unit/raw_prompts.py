"""Prompts of open user turns, by family, written out.

``@`` stands where the user's message is to begin at turns 1, 2 and 3: the prompt of a turn is what
comes before its mark, without the earlier marks.
"""

from __future__ import annotations

WITHOUT_SYSTEM = {
    "llama-3.1": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge "
        "Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@Hi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@Oh<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nAh<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@"
    ),
    "llama-3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n@Hi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@Oh<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nAh<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@"
    ),
    "smollm2": (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "qwen-2.5": (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
        "assistant.<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "qwen-3": (
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "qwen-2": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "qwen-1.5": (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "yi-1.5": (
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "nous-hermes-llama-2": (
        "### Instruction:\n@Hi\n\n### Response:\nYes?</s>\n\n### Instruction:\n@Oh\n\n### "
        "Response:\nAh</s>\n\n### Instruction:\n@"
    ),
    "chatml": (
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "gemma-3": (
        "<bos><start_of_turn>user\n@Hi<end_of_turn>\n"
        "<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\n@Oh<end_of_turn>\n"
        "<start_of_turn>model\nAh<end_of_turn>\n"
        "<start_of_turn>user\n@"
    ),
    "gemma-2": (
        "<bos><start_of_turn>user\n@Hi<end_of_turn>\n"
        "<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\n@Oh<end_of_turn>\n"
        "<start_of_turn>model\nAh<end_of_turn>\n"
        "<start_of_turn>user\n@"
    ),
    "gemma-1.1": (
        "<bos><start_of_turn>user\n@Hi<end_of_turn>\n"
        "<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\n@Oh<end_of_turn>\n"
        "<start_of_turn>model\nAh<end_of_turn>\n"
        "<start_of_turn>user\n@"
    ),
    "phi-3-small": (
        "<|endoftext|><|user|>\n@Hi<|end|>\n"
        "<|assistant|>\nYes?<|end|>\n"
        "<|user|>\n@Oh<|end|>\n"
        "<|assistant|>\nAh<|end|>\n"
        "<|user|>\n@"
    ),
    "phi-3": (
        "<|user|>\n@Hi<|end|>\n"
        "<|assistant|>\nYes?<|end|>\n"
        "<|user|>\n@Oh<|end|>\n"
        "<|assistant|>\nAh<|end|>\n"
        "<|user|>\n@"
    ),
    "llama-2": ("<s>[INST] @Hi [/INST] Yes? </s><s>[INST] @Oh [/INST] Ah </s><s>[INST] @"),
    "mistral-7b-v0.3": ("<s>[INST] @Hi[/INST] Yes?</s>[INST] @Oh[/INST] Ah</s>[INST] @"),
    "mistral-7b-v0.1": ("<s>[INST] @Hi [/INST]Yes?</s> [INST] @Oh [/INST]Ah</s> [INST] @"),
    "mistral-7b-v0.2": ("<s>[INST] @Hi [/INST]Yes?</s>[INST] @Oh [/INST]Ah</s>[INST] @"),
    "vicuna": (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: @Hi "
        "ASSISTANT: Yes?</s>USER: @Oh ASSISTANT: Ah</s>USER: @"
    ),
    "deepseek-coder-v2": (
        "<\uff5cbegin▁of▁sentence\uff5c>User: @Hi\n\nAssistant: "
        "Yes?<\uff5cend▁of▁sentence\uff5c>User: @Oh\n\nAssistant: "
        "Ah<\uff5cend▁of▁sentence\uff5c>User: @"
    ),
}

WITH_SYSTEM = {
    "llama-3.1": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge "
        "Date: December 2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@Hi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@Oh<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nAh<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@"
    ),
    "llama-3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@Hi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@Oh<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nAh<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n@"
    ),
    "smollm2": (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "qwen-2.5": (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "qwen-3": (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "qwen-2": (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "qwen-1.5": (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "yi-1.5": (
        "Be brief.<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n@Hi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\n@Oh<|im_end|>\n"
        "<|im_start|>assistant\nAh<|im_end|>\n"
        "<|im_start|>user\n@"
    ),
    "gemma-3": (
        "<bos><start_of_turn>user\nBe brief.\n\n@Hi<end_of_turn>\n"
        "<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\n@Oh<end_of_turn>\n"
        "<start_of_turn>model\nAh<end_of_turn>\n"
        "<start_of_turn>user\n@"
    ),
    "phi-3-small": (
        "<|endoftext|><|system|>\nBe brief.<|end|>\n"
        "<|user|>\n@Hi<|end|>\n"
        "<|assistant|>\nYes?<|end|>\n"
        "<|user|>\n@Oh<|end|>\n"
        "<|assistant|>\nAh<|end|>\n"
        "<|user|>\n@"
    ),
    "phi-3": (
        "<|system|>\nBe brief.<|end|>\n"
        "<|user|>\n@Hi<|end|>\n"
        "<|assistant|>\nYes?<|end|>\n"
        "<|user|>\n@Oh<|end|>\n"
        "<|assistant|>\nAh<|end|>\n"
        "<|user|>\n@"
    ),
    "llama-2": (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n@Hi [/INST] Yes? </s><s>[INST] @Oh [/INST] "
        "Ah </s><s>[INST] @"
    ),
    "vicuna": ("Be brief. USER: @Hi ASSISTANT: Yes?</s>USER: @Oh ASSISTANT: Ah</s>USER: @"),
    "deepseek-coder-v2": (
        "<\uff5cbegin▁of▁sentence\uff5c>Be brief.\n\nUser: @Hi\n\nAssistant: "
        "Yes?<\uff5cend▁of▁sentence\uff5c>User: @Oh\n\nAssistant: "
        "Ah<\uff5cend▁of▁sentence\uff5c>User: @"
    ),
}

# Its template moves the system prompt to the last user message, so no prompt begins the next one
MISTRAL_WITH_SYSTEM = (
    "<s>[INST] Be brief.\n\n",
    "<s>[INST] Hi[/INST] Yes?</s>[INST] Be brief.\n\n",
    "<s>[INST] Hi[/INST] Yes?</s>[INST] Oh[/INST] Ah</s>[INST] Be brief.\n\n",
)


def prompt(marked: str, turn: int) -> str:
    """The prompt of a turn, counted from 1."""
    return "".join(marked.split("@")[:turn])
