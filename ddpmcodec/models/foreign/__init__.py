"""Other people's models: what diffusers saves, as ε-models. Configurations are read without torch."""
