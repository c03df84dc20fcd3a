"""What runs on a board besides the agent: keys, first boot, updates."""
