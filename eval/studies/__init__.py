"""Studies, each one question, one script, one result: `python -m ddpmcodec.eval.studies.NAME`."""
