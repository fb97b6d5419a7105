"""What is known of the families: the pieces that their own chat templates write.

They serve where no template can be had, and to tell when a template and its model do not belong
together.
"""

from __future__ import annotations

from dria_magpie.engines.prompts.family import Family

_CHATML = Family(
    name="chatml",
    pattern=r"(nous-|open)?hermes-?[23]|openhermes|dolphin|.*chatml",
    markers=("<|im_start|>", "<|im_end|>"),
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    user=("<|im_start|>user\n", "<|im_end|>\n"),
    assistant=("<|im_start|>assistant\n", "<|im_end|>\n"),
    stop=("<|im_end|>", "<|im_start|>", "<|endoftext|>"),
)
_LLAMA_3 = Family(
    name="llama-3",
    pattern=r"(meta-)?llama-?3(?![.\d])",
    markers=("<|start_header_id|>", "<|eot_id|>"),
    bos="<|begin_of_text|>",
    system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
    user=("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
    assistant=("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
    stop=("<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    trims=frozenset({"system", "user", "assistant"}),
)
# Its template writes this header before every conversation; the second date is its own
_LLAMA_31_HEADER = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
_GEMMA_2 = Family(
    name="gemma-2",
    pattern=r"gemma-?2(-|$)",
    markers=("<start_of_turn>", "System role not supported"),
    bos="<bos>",
    user=("<start_of_turn>user\n", "<end_of_turn>\n"),
    assistant=("<start_of_turn>model\n", "<end_of_turn>\n"),
    stop=("<end_of_turn>", "<start_of_turn>", "<eos>", "<bos>"),
    trims=frozenset({"user", "assistant"}),
)
_PHI_3 = Family(
    name="phi-3",
    pattern=r"phi-?3(\.5)?(?![.\d])(?!.*(vision|moe))",
    markers=("<|user|>", "<|end|>"),
    system=("<|system|>\n", "<|end|>\n"),
    user=("<|user|>\n", "<|end|>\n"),
    assistant=("<|assistant|>\n", "<|end|>\n"),
    stop=("<|end|>", "<|endoftext|>", "<|assistant|>", "<|user|>", "<|system|>"),
)
_MISTRAL_3 = Family(
    name="mistral-7b-v0.3",
    pattern=r"mistral-7b.*v0\.3|mistral(-latest|-7b)?(-instruct)?$",
    markers=('"[INST] "', '"[/INST]"'),
    bos="<s>",
    system=("", "\n\n"),
    place="last user message",
    user=("[INST] ", "[/INST]"),
    assistant=(" ", "</s>"),
    stop=("[/INST]", "</s>", "[INST]", "<s>"),
    trims=frozenset({"assistant"}),
)

_MISTRAL_2 = _MISTRAL_3.evolve(
    name="mistral-7b-v0.2",
    pattern=r"mistral-(7b-)?.*v0\.2(?!\d)",
    markers=("'[INST] '", "' [/INST]'"),
    system=None,
    place="own message",
    user=("[INST] ", " [/INST]"),
    assistant=("", "</s>"),
    trims=frozenset(),
)

# A family comes before those whose names or markers its own contain
FAMILIES: tuple[Family, ...] = (
    _LLAMA_3.evolve(
        name="llama-3.1",
        pattern=r"(meta-)?llama-?3\.[123](?!\d)",
        markers=("<|start_header_id|>", "Cutting Knowledge Date"),
        system=(f"<|start_header_id|>system<|end_header_id|>\n\n{_LLAMA_31_HEADER}", "<|eot_id|>"),
        default_system="",
    ),
    _LLAMA_3,
    _CHATML.evolve(
        name="smollm2",
        pattern=r"smollm-?2",
        markers=("<|im_start|>", "named SmolLM, trained by Hugging Face<|im_end|>"),
        default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    ),
    _CHATML.evolve(
        name="qwen-2.5",
        pattern=r"qwen-?2\.5(?!\d)",
        markers=("<|im_start|>", "You are Qwen, created by Alibaba Cloud."),
        default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    ),
    _CHATML.evolve(
        name="qwen-3",
        pattern=r"qwen-?3(?![.\d])",
        markers=("<|im_start|>", "last_query_index"),
    ),
    _CHATML.evolve(
        name="qwen-2",
        pattern=r"qwen-?2(?![.\d])",
        markers=("<|im_start|>", "You are a helpful assistant.<|im_end|>"),
        default_system="You are a helpful assistant.",
    ),
    _CHATML.evolve(
        name="qwen-1.5",
        pattern=r"(code)?qwen-?1\.5(?!\d)",
        markers=("<|im_start|>", "You are a helpful assistant<|im_end|>"),
        default_system="You are a helpful assistant",
    ),
    # As in Yi-1.5-6B-Chat's tokenizer_config.json and SGLang's lang/chat_template.py
    _CHATML.evolve(
        name="yi-1.5",
        pattern=r"yi-1\.5.*chat|yi-.*v1\.5",
        markers=("<|im_start|>user", "system_message is defined"),
        system=("", ""),
        stop=("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|startoftext|>"),
    ),
    # The first turn is as its model card has it, and further ones as alpaca.jinja in
    # chujiezheng/chat_templates
    Family(
        name="nous-hermes-llama-2",
        pattern=r"nous-hermes-(llama-?2|\d+b)",
        markers=(),
        user=("### Instruction:\n", "\n\n"),
        assistant=("### Response:\n", "</s>\n\n"),
        stop=("\n\n### Response:", "### Instruction:", "</s>"),
    ),
    _CHATML,
    _GEMMA_2.evolve(
        name="gemma-3",
        pattern=r"gemma-?3n?(-|$)",
        markers=("<start_of_turn>", "first_user_prefix"),
        system=("", "\n\n"),
        place="first user message",
    ),
    _GEMMA_2,
    _GEMMA_2.evolve(name="gemma-1.1", pattern=r"gemma(-1\.1)?(-[27]b|$)"),
    _PHI_3.evolve(
        name="phi-3-small",
        pattern=r"phi-?3-small",
        markers=("<|end|>", "'<|' + message['role'] + '|>'", "bos_token"),
        bos="<|endoftext|>",
    ),
    _PHI_3,
    Family(
        name="llama-2",
        pattern=r"llama-2-.*chat|llama2(-|$)",
        markers=("[INST]", "<<SYS>>"),
        bos="<s>",
        system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        place="first user message",
        user=("[INST] ", " [/INST]"),
        # Each pair of question and answer is a sequence of its own
        assistant=(" ", " </s><s>"),
        stop=("[/INST]", "</s>", "[INST]", "<s>"),
        trims=frozenset({"user", "assistant"}),
    ),
    _MISTRAL_3,
    _MISTRAL_2.evolve(
        name="mistral-7b-v0.1",
        pattern=r"mistral-(7b-)?.*v0\.1(?!\d)",
        markers=("'[INST] '", "' [/INST]'", "eos_token + ' '"),
        assistant=("", "</s> "),
    ),
    _MISTRAL_2,
    # vicuna_v1.1 in FastChat's conversation.py, also for later weights; v0 has other separators
    Family(
        name="vicuna",
        pattern=r"vicuna(?!.*-v0)",
        markers=("USER: ", "ASSISTANT:"),
        system=("", " "),
        default_system=(
            "A chat between a curious user and an artificial intelligence assistant. The "
            "assistant gives helpful, detailed, and polite answers to the user's questions."
        ),
        user=("USER: ", " "),
        assistant=("ASSISTANT: ", "</s>"),
        stop=("ASSISTANT:", "USER:", "</s>"),
    ),
    Family(
        name="deepseek-coder-v2",
        pattern=r"deepseek-coder-v2",
        markers=("'User: '", "'Assistant: '"),
        bos="<\uff5cbegin▁of▁sentence\uff5c>",
        system=("", "\n\n"),
        user=("User: ", "\n\n"),
        assistant=("Assistant: ", "<\uff5cend▁of▁sentence\uff5c>"),
        stop=(
            "\n\nAssistant:",
            "<\uff5cend▁of▁sentence\uff5c>",
            "<\uff5cbegin▁of▁sentence\uff5c>",
            "<|EOT|>",
            "<\uff5cUser\uff5c>",
            "<\uff5cAssistant\uff5c>",
        ),
    ),
)
