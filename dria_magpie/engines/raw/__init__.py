"""Raw prompts: text that an endpoint continues, instead of messages that it answers."""
