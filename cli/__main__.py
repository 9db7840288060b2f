from ddpmcodec.cli.app import program

program()
