"""Mathematics of Ho, Jain & Abbeel 2020: schedules, Gaussians, plans, samplers, the bound. No bytes, no files."""
