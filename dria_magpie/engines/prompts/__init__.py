"""Raw prompts for open user turns: chat templates, and what is known of families of models."""

from __future__ import annotations
