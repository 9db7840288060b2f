"""Pictures, data sets and files that appear whole: what is read from and written to disks."""
