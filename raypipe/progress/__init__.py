"""How a run goes: for people who watch it, here or from elsewhere."""
