from ddpmcodec.cli.start import program

program()
