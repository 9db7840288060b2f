"""Many files at once: folders, batches, processes, and what is done already. May import what `codec` may, and it."""
