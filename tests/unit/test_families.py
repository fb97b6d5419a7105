from __future__ import annotations

import pytest

from dria_magpie.engines.prompts.families import find_family, find_family_of_template
from dria_magpie.engines.prompts.table import FAMILIES
from tests.unit.chat_templates import PHI_3_WITHOUT_SYSTEM, TEMPLATES

NAMES = {
    "llama-3": [
        "llama3",
        "llama3:8b-instruct-q4_0",
        "meta-llama/Meta-Llama-3-8B-Instruct",
        "Meta-Llama-3-70B-Instruct.Q4_K_M.gguf",
    ],
    "llama-3.1": [
        "llama3.1:8b",
        "llama3.2",
        "llama3.3:70b",
        "meta-llama/Llama-3.1-8B-Instruct",
        "meta-llama/Meta-Llama-3.1-405B-Instruct-FP8",
        "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
        "weights/Llama-3.3-70B-Instruct-Q4_K_M.gguf",
    ],
    "llama-2": ["llama2", "llama2:7b-chat", "meta-llama/Llama-2-7b-chat-hf"],
    "qwen-1.5": ["Qwen/Qwen1.5-7B-Chat", "codeqwen1.5:7b-chat"],
    "qwen-2": ["qwen2:7b", "Qwen/Qwen2-72B-Instruct", "Qwen/Qwen2-Math-7B-Instruct"],
    "qwen-2.5": [
        "qwen2.5:7b-instruct-q4_K_M",
        "qwen2.5-coder:7b",
        "Qwen/Qwen2.5-Math-72B-Instruct",
        "hf:Qwen/Qwen2.5-7B-Instruct-GGUF/qwen2.5-7b-instruct-q4_k_m.gguf",
        "hf:someone/Qwen2.5-7B-Instruct-GGUF/model.gguf",
    ],
    "qwen-3": ["qwen3:8b", "Qwen/Qwen3-4B-Instruct-2507", "Qwen_Qwen3-8B-Q4_K_M.gguf"],
    "smollm2": ["smollm2:135m-instruct-q4_1", "HuggingFaceTB/SmolLM2-1.7B-Instruct"],
    "chatml": ["teknium/OpenHermes-2.5-Mistral-7B", "NousResearch/Hermes-3-Llama-3.1-8B"],
    "yi-1.5": ["01-ai/Yi-1.5-34B-Chat", "yi:34b-v1.5"],
    "gemma-1.1": ["google/gemma-1.1-7b-it", "gemma:7b", "gemma:2b"],
    "gemma-2": ["gemma2", "gemma2:9b", "google/gemma-2-2b-it"],
    "gemma-3": ["gemma3:4b", "google/gemma-3-27b-it", "google_gemma-3-4b-it-Q4_K_M.gguf"],
    "phi-3": ["phi3:mini", "phi3.5", "microsoft/Phi-3.5-mini-instruct", "Phi-3-medium-4k-instruct"],
    "phi-3-small": ["microsoft/Phi-3-small-8k-instruct"],
    "mistral-7b-v0.1": ["mistralai/Mistral-7B-Instruct-v0.1"],
    "mistral-7b-v0.2": ["mistral:7b-instruct-v0.2-q4_0", "mistral-7b-instruct-v0.2.Q4_K_M.gguf"],
    "mistral-7b-v0.3": ["mistral", "mistral:7b", "mistralai/Mistral-7B-Instruct-v0.3"],
    "vicuna": ["lmsys/vicuna-7b-v1.5", "lmsys/vicuna-13b-delta-v1.1", "vicuna:13b"],
    "deepseek-coder-v2": ["deepseek-coder-v2:16b", "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"],
    "nous-hermes-llama-2": ["NousResearch/Nous-Hermes-llama-2-7b", "nous-hermes:7b"],
}


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, names in NAMES.items() for name in names]
)
def test_a_model_is_known_by_its_name(family, name):
    found = find_family(name)
    assert found is not None
    assert found.name == family


def test_each_family_has_a_name_to_be_known_by():
    assert {family.name for family in FAMILIES} == set(NAMES)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt-4o-mini",
        "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        "DeepSeek-R1-Distill-Qwen-7B",
        "meta-llama/Llama-4-Scout-17B",
        "meta-llama/Llama-2-7b-hf",
        "meta-llama/Llama-Guard-3-8B",
        "mistral-nemo",
        "mistral-small:24b",
        "mixtral:8x7b",
        "microsoft/Phi-3.5-MoE-instruct",
        "phi4",
        "HuggingFaceTB/SmolLM3-3B",
        "Qwen/Qwen-7B-Chat",
        "Qwen/Qwen3.5-9B",
        "gemma-4-31b-it",
        "lmsys/vicuna-13b-delta-v0",
        "/llama3/other.gguf",
    ],
)
def test_a_model_whose_prompts_are_not_known_has_no_family(name):
    assert find_family(name) is None


@pytest.mark.parametrize(
    "name", ["llama3:8b-text", "Qwen/Qwen2.5-7B-Base", "google/gemma-3-4b-pt", "qwen3:8b-base"]
)
def test_a_model_that_was_not_taught_to_converse_has_no_family(name):
    assert find_family(name) is None


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_known_by_its_text(name):
    found = find_family_of_template(TEMPLATES[name].text)
    assert found is not None
    assert found.name == name.replace("llama-3.2", "llama-3.1")


def test_the_first_template_of_phi_3_is_known_too():
    assert find_family_of_template(PHI_3_WITHOUT_SYSTEM).name == "phi-3"


@pytest.mark.parametrize("text", ["", "{{ messages }}", "### Instruction: ### Response:"])
def test_other_templates_have_no_family(text):
    assert find_family_of_template(text) is None
